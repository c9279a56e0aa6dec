"""The threshold of a code that selects by the batch: exact, weighted, right on rows not seen."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sksae import SparseAutoencoderTransformer
from sksae.engine.exact import threshold
from sksae.engine.exact.threshold import LargestOfAll

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def expected_threshold(values, weights, wanted):
    """Return what lies midway between the last wanted number and the next smaller, by a sort."""
    repeated = -np.sort(-np.repeat(values, weights))
    if wanted > len(repeated):
        return 0.0
    last = repeated[wanted - 1]
    smaller = repeated[repeated < last]
    return (last + smaller[0]) / 2 if len(smaller) else 0.0


@pytest.fixture
def _impatient(monkeypatch):
    monkeypatch.setattr(threshold, "LEAST_NEW", 3)


@pytest.mark.usefixtures("_impatient")
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.integers(1, 30), max_size=60),
    wanted=st.integers(1, 40),
    n_pieces=st.integers(1, 7),
    seed=st.integers(0, 99),
    weighted=st.booleans(),
)
def test_it_is_that_of_a_sort_however_numbers_come(values, wanted, n_pieces, seed, weighted):
    values = np.array(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 4, len(values)) if weighted else np.ones(len(values), int)
    lanes = [LargestOfAll(wanted), LargestOfAll(wanted)]
    for at, piece in enumerate(np.array_split(np.arange(len(values)), n_pieces)):
        lane = lanes[at % 2]
        piece = piece[values[piece] > lane.bound]
        lane.add(values[piece], weights[piece].astype(float) if weighted else None)
    lanes[0].merge(lanes[1])
    assert lanes[0].threshold() == expected_threshold(values, weights, wanted)


def make_rows(n_rows, seed=0, n_features=16):
    """Return rows made of a few of 40 directions each."""
    atoms = np.random.default_rng(99).normal(size=(40, n_features))
    rng = np.random.default_rng(seed)
    codes = rng.exponential(size=(n_rows, 40)) * (rng.random((n_rows, 40)) < 0.1)
    return codes @ atoms + 0.1 * rng.normal(size=(n_rows, n_features))


def make(**params):
    given = {
        "n_components": 40,
        "sparsity": "batchtopk",
        "rho": 4,
        "max_iter": 10,
        "batch_size": 128,
        "dtype": "float64",
        "random_state": 0,
    }
    return SparseAutoencoderTransformer(**given | params)


def test_training_rows_have_k_active_units_on_average():
    X = make_rows(1000)
    model = make().fit(X)
    n_active = (model.transform(X) > 0).sum(axis=1)
    assert n_active.mean() == 4.0
    assert n_active.std() > 0.3
    assert model.threshold_ > 0.0
    assert type(model.threshold_) is float


def test_codes_do_not_depend_on_the_other_rows():
    X = make_rows(300)
    model = make().fit(X)
    one_by_one = np.vstack([model.transform(row[None]) for row in X[:50]])
    assert_array_equal(one_by_one > 0, model.transform(X)[:50] > 0)
    assert_allclose(one_by_one, model.transform(X)[:50], rtol=1e-10)


def test_rows_not_seen_have_nearly_k():
    ratios = []
    for seed in range(5):
        model = make(random_state=seed, dtype="float32").fit(make_rows(3000, seed))
        ratios.append((model.transform(make_rows(3000, seed + 50)) > 0).sum(axis=1).mean() / 4)
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.05)
    assert ratios == pytest.approx([1.0] * 5, abs=0.08)


def test_rows_count_by_their_weight():
    X = make_rows(400)
    weight = np.random.default_rng(1).integers(1, 4, len(X))
    model = make(learning_rate=1e-300, solver="sgd", max_iter=1)
    weighted = model.fit(X, sample_weight=weight)
    active = (weighted.transform(X) > 0).sum(axis=1)
    # The last entry counts with all its weight.
    assert np.average(active, weights=weight) == pytest.approx(4.0, abs=3 / weight.sum())


def test_partial_fit_goes_by_the_last_piece():
    model = make()
    for seed in range(3):
        piece = make_rows(500, seed)
        model.partial_fit(piece)
        assert (model.transform(piece) > 0).sum() == 4 * len(piece)


def test_a_stream_in_other_units_moves_the_threshold_with_its_codes():
    X = make_rows(400)
    model = make().partial_fit(X)
    model.partial_fit(50.0 * X)
    assert (model.transform(50.0 * X) > 0).sum(axis=1).mean() == 4.0
    assert model.score(50.0 * X) > 0.0


def test_no_more_positive_activations_than_are_wanted():
    X = make_rows(100)
    model = make(n_components=3, rho=0.999).fit(X)
    assert model.threshold_ == 0.0
    other = make(sparsity="topk").fit(X)
    assert other.threshold_ is None
