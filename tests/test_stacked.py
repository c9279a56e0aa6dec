"""StackedSparseAutoencoder: greedy training, fine-tuning as a whole, and a transformer's life."""

import numpy as np
import pytest
from oracle import active, forward, shares
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from stacking import (
    assert_same,
    decode,
    encode,
    make_rows,
    network_of_layers,
    pair,
    sae,
    scaled,
    stack_loss,
    unrolled,
)

from sksae import StackedSparseAutoencoder

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning"),
]

X = make_rows()
each_solver = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])


def make(members=None, **params):
    defaults = {"max_iter": 3, "batch_size": 20, "random_state": 0}
    return StackedSparseAutoencoder(pair() if members is None else members, **(defaults | params))


# What training is for.

WORTHWHILE = {
    "kl": [sae(32, max_iter=12, rho=0.2), sae(16, max_iter=12, rho=0.2)],
    "l1": [sae(32, max_iter=12, sparsity="l1"), sae(16, max_iter=12, sparsity="l1")],
    "none": [sae(32, max_iter=12, sparsity=None), sae(16, max_iter=12, sparsity=None)],
    "tied": [sae(32, max_iter=12, tied_weights=True), sae(16, max_iter=12, tied_weights=True)],
    "deep": [sae(24, max_iter=12, hidden_layer_sizes=(32,)), sae(16, max_iter=12)],
}


@pytest.mark.each_once
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("name", WORTHWHILE)
def test_fine_tuning_lowers_j_and_raises_r2(name, solver):
    rows = load_digits().data[:200]
    params = {"max_iter": 15, "batch_size": 20, "solver": solver, "tol": 0.0}
    greedy = make(WORTHWHILE[name], finetune=False, **params).fit(rows)
    tuned = make(WORTHWHILE[name], **params).fit(rows)
    beta = greedy.autoencoders_[-1].beta_ or 0.0
    before = stack_loss(greedy.autoencoders_, rows, tuned.alpha_, beta=beta)
    after = stack_loss(tuned.autoencoders_, rows, tuned.alpha_, beta=beta)
    assert after < 0.98 * before
    assert tuned.score(rows) > greedy.score(rows) + 0.01
    assert tuned.loss_ == pytest.approx(after, rel=1e-4)


MEMBERS = {
    "kl": pair(),
    "tanh": pair(activation="tanh"),
    "l1": pair(sparsity="l1"),
    "l2": pair(sparsity="l2"),
    "none": pair(sparsity=None),
    "prelu": pair(sparsity=None, activation="prelu"),
    "tied": pair(tied_weights=True),
    "noise": pair(noise="masking"),
    "unscaled": pair(scale_data=False),
    "deep": [sae(5, hidden_layer_sizes=(7,)), sae(4, hidden_layer_sizes=(6,))],
    "auto": [sae(5), sae(4, beta="auto", max_iter=20)],
    "one": [sae(5)],
    "three": [sae(6), sae(5), sae(4)],
}
each_stack = pytest.mark.parametrize("name", MEMBERS)


@pytest.mark.each_once
@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@each_solver
@each_stack
def test_loss_is_j_of_the_joined_network(name, solver, weighted):
    weight = np.linspace(0.0, 2.0, len(X)) if weighted else None
    members = [clone(member).set_params(dtype="float64") for member in MEMBERS[name]]
    model = make(members, solver=solver, alpha=0.01, dtype="float64").fit(X, sample_weight=weight)
    expected = stack_loss(model.autoencoders_, X, 0.01, weight)
    assert model.loss_ == pytest.approx(expected, rel=1e-9)
    # And the mean activation is that of the last code.
    last = model.autoencoders_[-1]
    mean = shares(len(X), weight) @ model.transform(X)
    is_tanh = last.activation == "tanh"
    np.testing.assert_allclose(model.mean_activation_, (1 + mean) / 2 if is_tanh else mean)
    share, activation = shares(len(X), weight), model.__sksae_network__().code_activation
    expected = share @ active(model.transform(X), last.sparsity, activation, share > 0)
    np.testing.assert_allclose(model.active_share_, expected, atol=1e-12)


def test_greedy_training_is_a_pipelines():
    members = [sae(5, random_state=1), sae(4, random_state=2)]
    greedy = make(members, finetune=False).fit(X)
    assert_same(greedy.autoencoders_, make_pipeline(*map(clone, members)).fit(X))
    assert greedy.n_iter_ == 6
    for name in ("loss_", "loss_curve_", "n_steps_", "mean_activation_", "active_share_"):
        assert not hasattr(greedy, name)


def test_fine_tuning_moves_all_layers():
    greedy, tuned = make(finetune=False).fit(X), make().fit(X)
    for before, after in zip(greedy.autoencoders_, tuned.autoencoders_, strict=True):
        for name in ("coefs_", "intercepts_"):
            for one, other in zip(getattr(before, name), getattr(after, name), strict=True):
                assert np.any(one != other)


def test_tied_weights_stay_tied():
    for member in make(pair(tied_weights=True)).fit(X).autoencoders_:
        np.testing.assert_array_equal(member.coefs_[1], member.coefs_[0].T)


# Transforming.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@each_stack
def test_it_transforms_as_its_members_do_one_after_the_other(name, dtype):
    model, rows = make(MEMBERS[name]).fit(X), X.astype(dtype)
    codes = model.transform(rows)
    assert codes.dtype == dtype
    np.testing.assert_array_equal(codes, encode(model.autoencoders_, rows))
    back = model.inverse_transform(codes)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, decode(model.autoencoders_, codes))
    assert back.shape == X.shape


@each_stack
def test_it_transforms_as_numpy_does(name):
    model = make(MEMBERS[name]).fit(X)
    first, layers = model.autoencoders_[0], unrolled(model.autoencoders_).layers
    outs = forward(np, network_of_layers(layers), scaled(first, X))[1]
    codes = model.transform(X)
    # Biases of float32 members are rounded when they take the scaling up.
    np.testing.assert_allclose(codes, outs[len(layers) // 2 - 1], rtol=1e-10, atol=1e-10)
    found = (outs[-1] - first._shift) * first.scale_ + first.mean_
    np.testing.assert_allclose(model.inverse_transform(codes), found, rtol=1e-10, atol=1e-10)


def test_scores_are_the_formulas():
    model, weight = make().fit(X), np.linspace(0.0, 2.0, len(X))
    errors = ((model.inverse_transform(model.transform(X)) - X) ** 2).sum(axis=1)
    np.testing.assert_allclose(model.score_samples(X), -errors, rtol=1e-12)
    deviations = ((X - X.mean(axis=0)) ** 2).sum()
    assert model.score(X) == pytest.approx(1 - errors.sum() / deviations)
    mean = np.average(X, axis=0, weights=weight)
    deviations = (weight[:, None] * (X - mean) ** 2).sum()
    expected = 1 - (weight * errors).sum() / deviations
    assert model.score(X, sample_weight=weight) == pytest.approx(expected)


def test_many_rows_are_scored_a_part_at_a_time(monkeypatch):
    model = make().fit(X)
    scores = model.score_samples(X)
    monkeypatch.setattr("sksae.model.slices.CHUNK_ENTRIES", 1)
    monkeypatch.setattr("sksae.model.slices.MIN_CHUNK_ROWS", 7)
    np.testing.assert_allclose(model.score_samples(X), scores, rtol=1e-12)
    np.testing.assert_allclose(model.score_samples(csr_array(X)), scores, rtol=1e-9)


def test_output_in_pandas_with_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    model = make().set_output(transform="pandas").fit(frame)
    codes = model.transform(frame)
    names = [f"stackedsparseautoencoder{index}" for index in range(4)]
    assert list(codes.columns) == list(model.get_feature_names_out()) == names
    np.testing.assert_allclose(codes, make().fit(X).transform(X), rtol=1e-12)
    assert list(model.feature_names_in_) == list("abcdef")
    with pytest.raises(ValueError, match="feature names"):
        model.transform(frame[list("fedcba")])


def test_members_that_give_frames_are_no_hindrance():
    pytest.importorskip("pandas")
    members = [member.set_output(transform="pandas") for member in pair()]
    model = make(members).fit(X)
    np.testing.assert_array_equal(model.transform(X), make().fit(X).transform(X))
    assert type(model.inverse_transform(model.transform(X))) is np.ndarray


def test_in_a_pipeline():
    y = (X[:, 0] > X[:, 0].mean()).astype(int)
    pipe = make_pipeline(MinMaxScaler(), make(), LogisticRegression())
    pipe.fit(X, y, stackedsparseautoencoder__sample_weight=np.ones(60))
    codes = make().fit_transform(MinMaxScaler().fit_transform(X))
    np.testing.assert_allclose(
        pipe.predict_proba(X), LogisticRegression().fit(codes, y).predict_proba(codes)
    )


# When to stop.


def test_it_stops_when_the_loss_has_settled():
    params = {"learning_rate_schedule": "constant", "n_iter_no_change": 2, "max_iter": 30}
    assert make(tol=1.0, **params).fit(X).n_iter_ == 3
    assert make(tol=0.0, **params | {"n_iter_no_change": 30}).fit(X).n_iter_ == 30
