"""What benchmarks compare is comparable: one objective, one floor, one environment."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import sksae

BENCHMARKS = Path(__file__).resolve().parents[1] / "examples" / "benchmarks"

pytestmark = [
    pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="needs examples/, which is not installed"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


@pytest.fixture
def module(monkeypatch):
    """Return the function that imports a module of the benchmarks."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")  # the harness sets it where nobody has
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    return (0.2 + 0.6 * (rng.random((600, 2)) @ rng.random((2, 12))) / 2).astype(np.float32)


@pytest.mark.parametrize("output", ["sigmoid", "identity"])
@pytest.mark.parametrize("name", ["sksae", "skorch", "DataLoader loop"])
def test_alternatives_minimise_the_same_objective(name, output, module, X):
    if name == "skorch":
        pytest.importorskip("skorch")
    alternatives, harness = module("_alternatives"), module("_harness")
    penalty = alternatives.Penalty(rho=0.2, beta=0.1, alpha=1e-3)
    setting = alternatives.Setting(5, penalty, rate=0.01, epochs=100, output=output, batch=200)
    before = harness.objective(X, *setting.start(X, 0), **setting.of_objective)
    after = harness.objective(X, *alternatives.FITS[name](X, setting, 0), **setting.of_objective)
    assert after < 0.6 * before


@pytest.mark.parametrize("output", ["sigmoid", "identity"])
def test_the_objective_of_benchmarks_is_the_estimators(output, module, X):
    harness = module("_harness")
    penalty = {"rho": 0.2, "beta": 0.1, "alpha": 1e-3}
    model = sksae.SparseAutoencoderTransformer(
        5, **penalty, output_activation=output, scale_data=False, max_iter=3, random_state=0
    ).fit(X)
    J = harness.objective(X, *harness.weights_of(model), **penalty, output=output)
    assert model.loss_ == pytest.approx(J, rel=1e-5)


def test_both_libraries_multiply_the_same(module, monkeypatch):
    harness = module("_harness")
    written = {}

    def recording(multiply):
        def recorded(a, b, out):
            multiply(a, b, out=out)
            written.setdefault(multiply, []).append(np.asarray(out).copy())

        return recorded

    import torch

    by_torch, by_numpy = torch.mm, np.dot
    monkeypatch.setattr(torch, "mm", recording(by_torch))
    monkeypatch.setattr(harness.np, "dot", recording(by_numpy))
    products = harness.five_products(8, 6, 3)
    assert tuple(products) == harness.LIBRARIES
    for library in products.values():
        library()
    assert len(written[by_torch]) == 5
    for theirs, ours in zip(written[by_torch], written[by_numpy], strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)


def test_the_floor_is_the_library_with_the_smaller_median(module):
    harness = module("_harness")
    seconds = {"torch.mm": [3.0, 1.0, 3.0], "np.dot": [2.0, 2.0, 2.0], "sksae": [0.1, 0.1, 0.1]}
    assert harness.fastest(seconds) == "np.dot"


SETTINGS = """
import os
import _harness
print(os.environ["OMP_WAIT_POLICY"])
_harness.restore_wait_policy()
print(os.environ.get("OMP_WAIT_POLICY"))
"""


@pytest.mark.parametrize(
    ("users", "expected"), [(None, ["passive", "None"]), ("active", ["active", "active"])]
)
def test_threads_wait_passively_unless_the_user_says_otherwise(users, expected):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if users is not None:
        environment["OMP_WAIT_POLICY"] = users
    said = subprocess.run(
        [sys.executable, "-c", SETTINGS],
        cwd=BENCHMARKS,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    assert said.split() == expected


# --- dictionaries with k active units --------------------------------------------------------


@pytest.mark.parametrize("sparsity", ["topk", "batchtopk"])
def test_a_dictionary_is_read_as_the_estimator_reads_it(sparsity, module, X):
    figures, ours = module("_topk_figures"), module("_topk_ours")
    rows = module("_topk_data").Rows("test", X, X[:100])
    model = sksae.SparseAutoencoderTransformer(
        20, sparsity=sparsity, rho=3, batch_size=100, max_iter=5, random_state=0
    ).fit(X)
    dictionary = ours.dictionary_of(model, seconds=1.0)
    codes = figures.codes(dictionary, X, 3)
    np.testing.assert_allclose(codes.toarray(), model.transform(X), rtol=1e-3, atol=1e-4)
    rebuilt = codes @ dictionary.W_dec + dictionary.b_dec
    expected = model.inverse_transform(model.transform(X))
    np.testing.assert_allclose(rebuilt, expected, rtol=1e-3, atol=1e-4)
    assert figures.figures_of(dictionary, rows, (3, 1))["active"] <= 20


@pytest.mark.parametrize("codes", ["independent", "correlated", "hierarchical"])
def test_known_codes_are_as_active_as_they_are_said_to_be(codes, module):
    data = module("_topk_data")
    is_on = data.CODES[codes](np.random.default_rng(0), 20_000)
    assert is_on.sum(axis=1).mean() == pytest.approx(data.N_ACTIVE, rel=0.02)
    together = np.corrcoef(is_on[:, [0, 1, data.N_ATOMS // 4, data.N_ATOMS // 4 + 1]].T)
    assert (together[0, 1] > 0.1) == (codes == "correlated")
    assert (together[0, 2] > 0.1) == (codes == "hierarchical")
    if codes == "hierarchical":
        assert not np.any(is_on[:, data.N_ATOMS // 4] & ~is_on[:, 0])


def test_pursuits_are_measured_by_what_they_rebuild(module, X):
    pursuit = module("pursuit")
    rows = module("_topk_data").Rows("test", X - X.mean(axis=0), X[:100] - X.mean(axis=0))
    model = sksae.SparseAutoencoderTransformer(
        20, sparsity="topk", rho=3, sparse_output=True, max_iter=5, random_state=0
    ).fit(rows.X_train)
    left = []
    for algorithm in pursuit.ALGORITHMS:
        model.set_params(transform_algorithm=algorithm)
        figures = pursuit.figures_of(model, rows, repeats=1)
        assert figures["active"] <= 3
        left.append(figures["FVU"])
    assert left[0] > max(left[1:])
    said = pursuit.beside_scikit_learn(model, rows.X_test[:9], 3)
    assert float(said.rpartition(" ")[2].rstrip(".")) < 1e-8
