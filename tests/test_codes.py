"""What every code that is registered must do, and what is said when a part of it is forgotten."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from plans import plan_of
from registered import CODE_ACTIVATIONS, each_sparsity, each_training, with_a_beta

from sksae import SparseAutoencoderTransformer
from sksae.engine import codes
from sksae.engine.codes import check_complete, make_code
from sksae.engine.codes.code import Code
from sksae.model.codes import CODES, CodeFacts
from sksae.training.fit import train_plans

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BASE = {
    "n_components": 8,
    "rho": 0.25,
    "max_iter": 6,
    "batch_size": 16,
    "tol": 0.0,
    "dtype": "float64",
    "learning_rate_schedule": "constant",
    "random_state": 0,
}


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.random((60, 3)) @ rng.normal(size=(3, 8)) + 0.1 * rng.random((60, 8))


def make(sparsity, **params):
    return SparseAutoencoderTransformer(**BASE | {"sparsity": sparsity} | params)


# The table of names, and the files.


@pytest.mark.parametrize(("sparsity", "activation"), CODE_ACTIVATIONS)
def test_each_name_has_its_code(sparsity, activation):
    code = make_code(sparsity, activation)
    assert isinstance(code, Code)
    assert code.activation == activation
    assert type(code) is Code or type(code).__module__ == f"sksae.engine.codes.{sparsity}"


def test_no_file_without_a_name():
    files = {path.stem for path in Path(codes.__file__).parent.glob("*.py")}
    assert files - {"__init__", "code"} == {name for name in CODES if name is not None}


@pytest.mark.slow
def test_files_are_loaded_when_they_are_asked_for():
    program = (
        "import sys, sksae.engine.codes as codes; before = set(sys.modules); "
        "codes.make_code('l1', 'relu'); "
        "new = {m for m in set(sys.modules) - before if m.startswith('sksae.engine.codes.')}; "
        "assert new == {'sksae.engine.codes.l1'}, new"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("facts", "missing"),
    [
        (CodeFacts(), "row_penalty, row_gradient, law"),
        (CodeFacts(aims_at_mean=True), "mean_penalty, mean_gradient, activity, law"),
        (CodeFacts(has_penalty=False, counts_units=True), "select, active"),
    ],
    ids=["rows", "means", "exact"],
)
def test_a_forgotten_part_is_named(monkeypatch, facts, missing):
    monkeypatch.setitem(CODES, "new", facts)
    with pytest.raises(TypeError, match=f"'new' has no {missing}"):
        check_complete("new", type("New", (Code,), {}))


# In every estimator.


@each_training
def test_weights_count_as_repeated_rows_do(X, sparsity, solver):
    weight = np.random.default_rng(1).integers(1, 4, len(X))
    repeated = np.repeat(X, weight, axis=0)
    # One batch of all rows: else repeated ones would make other minibatches.
    params = {"solver": solver, "batch_size": 1000, "shuffle": False, "max_iter": 3}
    one = make(sparsity, **params).fit(X, sample_weight=weight)
    other = make(sparsity, **params).fit(repeated)
    assert_allclose(one.loss_, other.loss_, rtol=1e-7)
    assert_allclose(one.transform(X), other.transform(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@each_sparsity
def test_a_training_in_two_halves_is_that_of_one_piece(X, sparsity, solver):
    params = {"solver": solver} | with_a_beta(sparsity)
    whole = make(sparsity, **params).fit(X)
    half = make(sparsity, **params, max_iter=3, warm_start=True).fit(X)
    halves = pickle.loads(pickle.dumps(half)).fit(X)
    assert halves.loss_curve_ == whole.loss_curve_
    assert_array_equal(halves.transform(X), whole.transform(X))


@pytest.mark.each_once
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@each_sparsity
def test_passes_over_pieces_learn(X, sparsity, solver):
    model = make(sparsity, solver=solver)
    for _ in range(20):
        model.partial_fit(X)
    assert model.n_iter_ == 20
    assert model.loss_curve_[-1] < model.loss_curve_[0]


@each_training
def test_a_pickle_gives_the_same_codes(X, sparsity, solver):
    model = make(sparsity, solver=solver).fit(X)
    again, code = pickle.loads(pickle.dumps(model)), model.transform(X)
    assert_array_equal(again.transform(X), code)
    assert_array_equal(again.inverse_transform(code), model.inverse_transform(code))


@each_sparsity
def test_side_by_side_is_as_alone(X, sparsity):
    plans = [plan_of(make(sparsity, alpha=alpha), X) for alpha in (1e-4, 1e-2, 1e-1)]
    for plan, together in zip(plans, train_plans(plans, X, None), strict=True):
        (alone,) = train_plans([plan], X, None)
        assert_allclose(together.flat, alone.flat, rtol=1e-9, atol=1e-10)
        assert_allclose(together.loss_curve, alone.loss_curve, rtol=1e-9)


@each_training
def test_float32_is_float64_but_for_rounding(X, sparsity, solver):
    wide, narrow = (
        make(sparsity, solver=solver, dtype=dtype, max_iter=2).fit(X)
        for dtype in ("float64", "float32")
    )
    assert narrow.loss_ == pytest.approx(wide.loss_, rel=1e-4)


@each_sparsity
def test_chunks_and_single_rows_have_the_codes_of_all(X, sparsity):
    model = make(sparsity).fit(X)
    codes_of_all = model.transform(X)
    one_by_one = np.vstack([model.transform(row[None]) for row in X])
    assert_allclose(one_by_one, codes_of_all, rtol=1e-10, atol=1e-12)
