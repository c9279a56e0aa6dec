"""loss="cross_entropy": rows in [0, 1] rebuilt as probabilities; J, its gradient and the contract.

scikit-learn's own checks of estimators feed rows far outside [0, 1]. This loss refuses them, and
they are not clipped in silence, so that those checks cannot run with it: `test_estimator_checks`
runs them with the squared error, and what is claimed here of containers, weights, pickles, errors
and further fits stands for them.
"""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from oracle import (
    Problem,
    active_share_of,
    loss_of,
    mean_activation_of,
    relative_error,
    small_parts,
)
from registered import (
    CODE_ACTIVATIONS,
    EXACT,
    LAYERED,
    each_sparsity,
    each_training,
    with_a_beta,
    with_depths,
)
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss
from sklearn.preprocessing import MinMaxScaler

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.engine import device, products
from sksae.engine.batches import Batch
from sksae.engine.exact.minibatch import ExactObjective
from sksae.engine.losses import BinaryCrossEntropy
from sksae.engine.parameters import Parameters
from sksae.engine.threads import Crew
from sksae.model.architecture import Architecture
from sksae.model.codes import Selection
from sksae.model.settings import Penalties
from sksae.model_selection import BatchedGridSearchCV
from sksae.training.moments import divergence_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = load_digits().data[:120, 18:30] / 16.0
LABELS = load_digits().target[:120]
WEIGHT = np.tile([0.0, 0.5, 1.0, 2.0], 30)
SPARSE = np.where(X > 0.5, X, 0.0)
LAYERS = {"shallow": ((), "relu"), "deep": ((5,), "prelu")}

each_scaling = pytest.mark.parametrize("scale_data", [True, False], ids=["scaled", "unscaled"])
each_weighting = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighted"])


def make(n_components=8, **params):
    few = {"loss": "cross_entropy", "max_iter": 15, "batch_size": 30, "random_state": 0}
    sparsity = params.get("sparsity", "kl")
    if sparsity == "kl" or sparsity in EXACT:
        few["rho"] = 0.2 if sparsity == "kl" else 3
    return SparseAutoencoderTransformer(n_components, **(few | params))


def r_squared(X, rebuilt, weight=None):
    """Return R^2 over the whole matrix."""
    error = np.average(((rebuilt - X) ** 2).sum(axis=1), weights=weight)
    mean = np.average(X, axis=0, weights=weight)
    return 1.0 - error / np.average(((X - mean) ** 2).sum(axis=1), weights=weight)


# The loss by itself.


def compare(output, target, dim=-1, centre=None, scale=1.0):
    """Return l of each row and its derivative by the engine, of one model."""
    output, target = torch.as_tensor(output)[None], torch.as_tensor(target)[None]
    n_out = output.shape[dim]
    loss = BinaryCrossEntropy(np.zeros(n_out) if centre is None else centre, scale).like(output)
    derivative = torch.full_like(output, torch.nan)
    values = loss.values(loss(output, target, derivative, dim))
    return values[0].numpy(), derivative[0].numpy()


def test_the_loss_is_scikit_learns_log_loss_summed_over_features():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(40, 7), scale=3.0), rng.integers(0, 2, (40, 7))
    values, derivative = compare(logits, labels.astype(float))
    probability = 1.0 / (1.0 + np.exp(-logits))
    of_feature = [log_loss(labels[:, j], probability[:, j]) for j in range(7)]
    assert values.mean() == pytest.approx(sum(of_feature), rel=1e-12)
    np.testing.assert_allclose(derivative, probability - labels, atol=1e-14)


def test_the_loss_and_its_derivative_are_torchs():
    rng = np.random.default_rng(1)
    logits, target = rng.normal(size=(30, 5), scale=4.0), rng.random((30, 5))
    given = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        given, torch.tensor(target), reduction="none"
    ).sum(dim=1)
    expected.sum().backward()
    values, derivative = compare(logits, target)
    np.testing.assert_allclose(values, expected.detach(), rtol=1e-12)
    np.testing.assert_allclose(derivative, given.grad, rtol=1e-11, atol=1e-15)
    values, transposed = compare(logits.T, target.T, dim=-2)
    np.testing.assert_allclose(values, expected.detach(), rtol=1e-12)
    np.testing.assert_allclose(transposed.T, derivative, atol=1e-15)


def test_targets_are_the_rows_before_they_were_centred_and_scaled():
    rng = np.random.default_rng(2)
    logits, target, centre = rng.normal(size=(9, 4)), rng.random((9, 4)), rng.random(4)
    of_scaled = compare(logits, (target - centre) / 0.3, centre=centre, scale=0.3)
    for found, expected in zip(of_scaled, compare(logits, target), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits_have_a_finite_loss_that_nothing_cancels_in(dtype):
    logits = np.array([[1e4, -1e4], [-1e4, 1e4], [30.0, -30.0]], dtype)
    values, derivative = compare(logits, np.tile(np.array([1.0, 0.0], dtype), (3, 1)))
    np.testing.assert_allclose(values, [0.0, 2e4, 2.0 * np.log1p(np.exp(-30.0))], rtol=1e-6)
    np.testing.assert_allclose(derivative[:2], [[0.0, 0.0], [-1.0, 1.0]], atol=1e-12)


# J and its gradient.


@pytest.mark.each_once
@each_weighting
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize(
    ("sparsity", "activation", "layers"), with_depths(CODE_ACTIVATIONS, LAYERS)
)
def test_gradient_is_that_of_autograd(sparsity, activation, layers, tied, weight):
    problem = Problem.draw(
        sparsity, activation, "sigmoid", *layers, weighted=weight is not None, tied=tied
    ).but(gives_probabilities=True)
    expected_value, expected = problem.autograd()
    assert problem.value() == pytest.approx(expected_value, rel=1e-13)
    with small_parts(most_rows=3):
        found = [problem.minibatch(), problem.minibatch(n_members=2), problem.full(n_members=2)]
    for value, gradient in found:
        assert value == pytest.approx(expected_value, rel=1e-12)
        assert relative_error(gradient, expected) < 1e-10
    value, gradient = problem.full(torch.float32)
    assert value == pytest.approx(expected_value, rel=1e-6)
    assert relative_error(gradient, expected) < 1e-5


@each_weighting
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("budgets", [(3,), (1, 2, 3)], ids=["one budget", "three"])
def test_gradient_of_dictionaries_is_that_of_autograd(budgets, tied, weight):
    rng, n_rows, n_features, alpha = np.random.default_rng(0), 120, 6, 0.01
    selection = Selection("topk", budgets)
    architecture = Architecture.autoencoder(
        n_features,
        9,
        hidden_activation="relu",
        activation="relu",
        output_activation="sigmoid",
        tied_weights=tied,
        selection=selection,
    ).with_linear_output
    flat = torch.from_numpy(rng.normal(size=architecture.n_parameters))
    parameters = Parameters(architecture, flat, 1, [selection])
    centre, scale = rng.random(n_features), 0.4
    rows = torch.from_numpy((rng.random((1, n_rows, n_features)) - centre) / scale)
    weights = None if weight is None else torch.from_numpy(weight / weight.mean()).view(1, -1, 1)
    penalties = Penalties("topk", 0.3, 0.0, alpha, decays="encoder")
    with Crew(2) as crew:
        loss = BinaryCrossEntropy(centre, scale)
        engine = ExactObjective(penalties, parameters, loss, batches_per_epoch=1, crew=crew)
        engine(Batch(rows, rows, weights))
    value, gradient = engine.epoch_loss().total, engine.gradient

    free = parameters.flat.clone().requires_grad_(True)
    network, z = parameters.with_flat(free), rows[0]
    encoder, atoms = network.weights[0][0], network.weights[1][0]
    pre = z @ encoder.T + network.biases[0][0, :, 0]
    rank = (-pre.detach()).argsort(dim=1).argsort(dim=1)
    x = torch.from_numpy(centre) + scale * z
    counted = torch.ones(n_rows) if weights is None else weights[0, :, 0]
    expected = 0.0
    for budget in budgets:
        p = torch.sigmoid(network.biases[1][0] + torch.relu(pre) * (rank < budget) @ atoms)
        lost = -(x * p.log() + (1.0 - x) * (1.0 - p).log()).sum(dim=1)
        expected = expected + (counted * lost).mean() / len(budgets)
    if not tied:
        expected = expected + alpha / 2.0 * encoder.square().sum()
    expected.backward()
    wanted = parameters.with_flat(free.grad)
    own = parameters.weights[1]
    # What would change the norm of atoms, which they keep, is left out.
    wanted.weights[1].sub_((wanted.weights[1] * own).sum(dim=2, keepdim=True) * own)
    constant = alpha / 2.0 * 9 if tied else 0.0
    assert value.item() - constant == pytest.approx(expected.item(), rel=1e-12)
    assert relative_error(gradient.flat, wanted.flat) < 1e-10


# What a fit tells of itself is so.


@pytest.mark.each_once
@each_weighting
@each_scaling
@each_training
def test_what_a_fit_tells_is_what_numpy_finds(sparsity, solver, scale_data, weight):
    params = {"sparsity": sparsity, "solver": solver, "scale_data": scale_data}
    model = make(dtype="float64", **params).fit(X, sample_weight=weight)
    assert model.loss_ == pytest.approx(loss_of(model, X, weight), rel=1e-9)
    expected = mean_activation_of(model, X, weight)
    np.testing.assert_allclose(model.mean_activation_, expected, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(model.active_share_, active_share_of(model, X, weight), atol=1e-9)
    rebuilt = model.inverse_transform(model.transform(X))
    assert 0.0 <= rebuilt.min() <= rebuilt.max() <= 1.0
    expected = r_squared(X, rebuilt, weight)
    assert model.score(X, sample_weight=weight) == pytest.approx(expected, rel=1e-8)
    np.testing.assert_allclose(model.score_samples(X), -((rebuilt - X) ** 2).sum(axis=1), rtol=1e-8)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("sparsity", LAYERED)
def test_hidden_layers(sparsity, tied):
    model = make(
        sparsity=sparsity,
        hidden_layer_sizes=(10,),
        hidden_activation="prelu",
        tied_weights=tied,
        dtype="float64",
    ).fit(X)
    assert model.loss_ == pytest.approx(loss_of(model, X), rel=1e-9)


@each_training
def test_training_lowers_j(sparsity, solver):
    params = {"sparsity": sparsity, "solver": solver} | with_a_beta(sparsity)
    short = make(**params, max_iter=1).fit(X)
    longer = make(**params, max_iter=60).fit(X)
    assert longer.loss_ < short.loss_
    assert longer.score(X) > short.score(X)


@pytest.mark.parametrize("output_activation", ["auto", "sigmoid"])
def test_the_output_starts_at_the_mean_row(output_activation):
    mean = X.clip(0.05, 0.95).mean(axis=0)
    model = make(
        output_activation=output_activation, solver="sgd", learning_rate=1e-300, max_iter=1
    ).fit(X.clip(0.05, 0.95))
    np.testing.assert_allclose(1.0 / (1.0 + np.exp(-model.intercepts_[-1])), mean, rtol=1e-5)


@each_sparsity
def test_sparse_rows_give_what_dense_ones_do(sparsity):
    dense = make(sparsity=sparsity, dtype="float64").fit(SPARSE)
    sparse = make(sparsity=sparsity, dtype="float64").fit(sp.csr_array(SPARSE))
    assert sparse.loss_ == pytest.approx(dense.loss_, rel=1e-9)
    assert sparse.alpha_ == pytest.approx(dense.alpha_, rel=1e-12)
    np.testing.assert_allclose(sparse.coefs_[0], dense.coefs_[0], rtol=1e-6, atol=1e-9)
    assert sparse.score(sp.csr_array(SPARSE)) == pytest.approx(dense.score(SPARSE), rel=1e-6)


def test_weights_count_as_repetitions():
    counts = np.tile([0, 1, 2, 3], 30)
    params = {"solver": "lbfgs", "dtype": "float64", "max_iter": 30}
    weighted = make(**params).fit(X, sample_weight=counts)
    repeated = make(**params).fit(np.repeat(X, counts, axis=0))
    assert weighted.loss_ == pytest.approx(repeated.loss_, rel=1e-6)
    assert weighted.alpha_ == pytest.approx(repeated.alpha_, rel=1e-9)
    np.testing.assert_allclose(weighted.transform(X), repeated.transform(X), atol=1e-3)


@pytest.mark.parametrize("noise", ["gaussian", "masking"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_noise_leaves_the_target_clean(noise, solver):
    model = make(noise=noise, solver=solver, dtype="float64").fit(X)
    assert model.loss_ == pytest.approx(loss_of(model, X), rel=1e-9)
    assert model.inverse_transform(model.transform(X)).min() >= 0.0


@pytest.mark.parametrize(("solver", "sparsity"), [("adam", "kl"), ("adam", "l1"), ("lbfgs", "kl")])
def test_beta_auto_meets_rho(solver, sparsity):
    rows = load_digits().data[:400] / 16.0
    params = {"sparsity": sparsity, "solver": solver, "max_iter": 200, "rho": 0.2}
    model = make(32, beta="auto", batch_size="auto", **params).fit(rows)
    if sparsity == "kl":
        assert model.mean_activation_.mean() == pytest.approx(0.2, rel=0.1)
    else:
        codes = model.transform(rows)
        assert (codes > 1e-3 * codes.max(axis=0)).mean() == pytest.approx(0.2, rel=0.1)


def test_early_stopping_watches_r2():
    model = make(early_stopping=True, validation_fraction=0.25, max_iter=30).fit(X)
    best = max(model.validation_score_curve_)
    rows = np.sort(np.random.default_rng(model._seed).permutation(len(X))[:30])
    assert model.score(X[rows]) == pytest.approx(best, abs=1e-4)


def test_half_precision(monkeypatch):
    monkeypatch.setattr(device, "has_half_products", lambda: True)
    monkeypatch.setattr(products, "LEAST_HALF_WORK", 1)
    half = make(dtype="bfloat16", max_iter=30).fit(X)
    assert half.score(X) == pytest.approx(make(max_iter=30).fit(X).score(X), abs=0.1)


# Defaults.


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["array", "csr"])
@each_weighting
def test_the_divergence_is_that_of_bernoulli_variables(form, weight):
    rows = SPARSE.clip(0.0, 0.9)
    mean = np.average(rows, axis=0, weights=weight)
    on = rows * np.log(np.where(rows > 0.0, rows, 1.0) / np.where(mean > 0.0, mean, 1.0))
    off = (1.0 - rows) * np.log((1.0 - rows) / (1.0 - mean))
    expected = np.average((on + off).sum(axis=1), weights=weight)
    assert divergence_of(form(rows), None, weight, mean) == pytest.approx(expected, rel=1e-12)


def test_beta_goes_by_the_divergence_of_the_rows_and_stays_for_later_pieces():
    first = make(sparsity="l1").fit(X)
    expected = 0.12 * divergence_of(X, None, None, X.mean(axis=0)) / 18.0
    assert first.beta_ == pytest.approx(expected, rel=1e-9)
    assert make(sparsity="l1", beta=0.3).fit(X).beta_ == 0.3
    model = make(sparsity="l1").partial_fit(X)
    before = model.beta_, model.alpha_
    assert before == pytest.approx((first.beta_, first.alpha_), rel=1e-9)
    model.partial_fit(X[:40] ** 3)
    assert (model.beta_, model.alpha_) == before


# The contract.


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_pickle_is_the_same_model(solver):
    model = make(solver=solver).fit(X)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X))
    codes = model.transform(X)
    np.testing.assert_array_equal(loaded.inverse_transform(codes), model.inverse_transform(codes))
    assert loaded.score(X) == model.score(X)
    assert loaded.get_params() == model.get_params()


@pytest.mark.parametrize("n_rows", [3, 120])
def test_few_rows_are_decoded_like_many(n_rows):
    model = make(dtype="float64").fit(X)
    many = model.inverse_transform(model.transform(np.tile(X, (9, 1))))[:n_rows]
    np.testing.assert_allclose(model.inverse_transform(model.transform(X[:n_rows])), many)


def test_components_are_in_units_of_logits():
    model = make(dtype="float64").fit(X)
    np.testing.assert_array_equal(model.components_, model.coefs_[-1])
    codes = model.transform(X)
    logits = codes @ model.components_ + model.intercepts_[-1]
    np.testing.assert_allclose(model.inverse_transform(codes), 1.0 / (1.0 + np.exp(-logits)))


@each_scaling
@each_sparsity
def test_training_goes_on_from_a_pickle_as_without(sparsity, scale_data):
    straight, resumed = (make(sparsity=sparsity, scale_data=scale_data) for _ in range(2))
    for piece in np.array_split(X, 3):
        straight.partial_fit(piece)
        resumed = pickle.loads(pickle.dumps(resumed)).partial_fit(piece)
    np.testing.assert_array_equal(straight.transform(X), resumed.transform(X))
    assert straight.n_iter_ == 3


def test_pieces_of_another_scale_leave_the_output_as_it_was():
    model = make(dtype="float64", learning_rate=1e-12).partial_fit(X[:60] * 0.1)
    before, scale = model.inverse_transform(model.transform(X[:60] * 0.1)), model.scale_
    model.partial_fit(np.vstack([X, X]) * 0.35)
    assert model.scale_ > 1.5 * scale
    after = model.inverse_transform(model.transform(X[:60] * 0.1))
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_warm_start_goes_on_but_not_with_another_loss():
    model = make(warm_start=True).fit(X)
    once = model.loss_
    assert model.fit(X).loss_ < once
    with pytest.raises(ValueError, match=r"loss='cross_entropy', with which it began"):
        model.set_params(loss="squared_error", output_activation="sigmoid").fit(X)


def test_rows_outside_0_and_1_are_refused_and_the_model_stays():
    message = r"X holds values from 0 to 16, but loss='cross_entropy'.*MinMaxScaler"
    for train in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=message):
            getattr(make(), train)(16.0 * X)
        with pytest.raises(ValueError, match=r"X holds values from -0\.5"):
            getattr(make(), train)(sp.csr_array(X - 0.5))
        with pytest.raises(ValueError, match="NaN"):
            getattr(make(), train)(np.where(X.max() == X, np.nan, X))
    model = make().partial_fit(X)
    codes = model.transform(X)
    with pytest.raises(ValueError, match="cross_entropy"):
        model.partial_fit(2.0 * X)
    np.testing.assert_array_equal(model.transform(X), codes)


def test_rows_that_do_not_count_and_roundings_may_lie_outside():
    scaled = MinMaxScaler().fit_transform(np.random.default_rng(0).normal(size=(500, 30)))
    make(max_iter=1).fit(scaled)
    make(max_iter=1).fit(np.nextafter(np.float32(1.0), np.float32(2.0)) * X.astype(np.float32))
    rows = X.copy()
    rows[::4] = 5.0
    make(max_iter=1).fit(rows, sample_weight=WEIGHT)


def test_only_a_sigmoid_output_goes_with_it():
    for name in ("identity", "tanh", "relu", "prelu"):
        with pytest.raises(
            ValueError, match=rf"output_activation='{name}' cannot be had with loss"
        ):
            make(output_activation=name).fit(X)
    with pytest.raises(ValueError, match="loss"):
        make(loss="hinge").fit(X)


def test_auto_is_identity_for_the_squared_error():
    auto = make(loss="squared_error").fit(X)
    identity = make(loss="squared_error", output_activation="identity").fit(X)
    np.testing.assert_array_equal(auto.transform(X), identity.transform(X))


def test_whole_numbers_and_booleans_are_rows_too():
    black = X > 0.5
    expected = make().fit(black.astype(np.float64)).transform(black)
    np.testing.assert_array_equal(make().fit(black.astype(int)).transform(black), expected)
    np.testing.assert_array_equal(make().fit(black).transform(black), expected)


# Stacks, classifiers, regressors and searches.


@pytest.mark.parametrize("finetune", [False, True])
def test_a_stack_is_trained_and_fine_tuned_by_its_first_members_loss(finetune):
    members = [make(8), make(5)]
    stack = StackedSparseAutoencoder(members, finetune=finetune, max_iter=20, random_state=0)
    stack.fit(X)
    rebuilt = stack.inverse_transform(stack.transform(X))
    assert 0.0 <= rebuilt.min() <= rebuilt.max() <= 1.0
    expected = r_squared(X, rebuilt)
    assert stack.score(X) == pytest.approx(expected, rel=1e-4)
    if finetune:
        lost = -(X * np.log(rebuilt) + (1.0 - X) * np.log(1.0 - rebuilt)).sum(axis=1).mean()
        coefs = [coef for each in stack.autoencoders_ for coef in each.coefs_]
        decay = stack.alpha_ / 2.0 * sum((coef.astype(float) ** 2).sum() for coef in coefs)
        last = stack.autoencoders_[-1]
        rho_hat = stack.mean_activation_
        kl = 0.2 * np.log(0.2 / rho_hat) + 0.8 * np.log(0.8 / (1.0 - rho_hat))
        assert stack.loss_ == pytest.approx(lost + decay + last.beta_ * kl.sum(), rel=1e-4)


def test_losses_of_members_may_differ():
    members = [make(8), make(5, loss="squared_error")]
    stack = StackedSparseAutoencoder(members, max_iter=10, random_state=0).fit(X)
    assert stack.inverse_transform(stack.transform(X)).min() >= 0.0
    members = [make(8, loss="squared_error"), make(5)]
    stack = StackedSparseAutoencoder(members, max_iter=10, random_state=0).fit(16.0 * X)
    assert np.isfinite(stack.score(16.0 * X))


def test_codes_that_are_no_probabilities_are_refused_before_anything_is_trained():
    frozen = FrozenEstimator(make(8, sparsity="l1").fit(X))
    for first in (make(8, sparsity="l1"), make(8, activation="tanh"), frozen):
        stack = StackedSparseAutoencoder([("a", first), ("b", make(5))], max_iter=3)
        with pytest.raises(ValueError, match=r"'b' of autoencoders has loss='cross_entropy'.*'a'"):
            stack.fit(X)


def test_a_stack_of_fitted_members_is_not_fine_tuned_on_rows_outside_0_and_1():
    first = make(8).fit(X)
    second = make(5).fit(first.transform(X))
    stack = StackedSparseAutoencoder([first, second], pretrain=False, max_iter=3, random_state=0)
    with pytest.raises(ValueError, match="cross_entropy"):
        stack.fit(16.0 * X)
    stack.set_params(finetune=False).fit(16.0 * X)


@pytest.mark.parametrize("freeze", [None, 1])
@pytest.mark.parametrize("estimator", [SparseAutoencoderClassifier, SparseAutoencoderRegressor])
def test_supervised_stacks_pretrain_by_it(estimator, freeze):
    model = estimator([make(8), make(6)], freeze=freeze, max_iter=10, random_state=0)
    model.fit(X, LABELS)
    assert model.autoencoders_[0].__sksae_network__().loss == "cross_entropy"
    assert np.isfinite(model.score(X, LABELS))
    pieces = clone(model)
    for at in (0, 1):
        given = {"classes": np.arange(10)} if not at and hasattr(model, "classes_") else {}
        pieces.partial_fit(X[60 * at :][:60], LABELS[60 * at :][:60], **given)
    with pytest.raises(ValueError, match=r"'sae0' of autoencoders: X holds values"):
        clone(model).fit(16.0 * X, LABELS)


def test_batched_searches_keep_losses_apart():
    sae = make(output_activation="sigmoid")
    grid = {"loss": ["squared_error", "cross_entropy"], "beta": [0.1, 1.0]}
    search = BatchedGridSearchCV(sae, grid, cv=2).fit(X)
    for params, score in zip(
        search.cv_results_["params"], search.cv_results_["split0_test_score"], strict=True
    ):
        alone = clone(sae).set_params(**params).fit(X[60:])
        assert score == pytest.approx(alone.score(X[:60]), abs=1e-5)


def test_networks_side_by_side_are_what_each_is_alone():
    for sparsity, grid in (("kl", {"beta": [0.1, 2.0, "auto"]}), ("topk", {"rho": [2, 3]})):
        search = BatchedGridSearchCV(make(sparsity=sparsity, dtype="float64"), grid, cv=2).fit(X)
        for params, score in zip(
            search.cv_results_["params"], search.cv_results_["split0_test_score"], strict=True
        ):
            alone = make(sparsity=sparsity, dtype="float64").set_params(**params).fit(X[60:])
            assert score == pytest.approx(alone.score(X[:60]), abs=1e-8)
