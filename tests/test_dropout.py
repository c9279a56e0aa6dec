"""Units of codes that fine-tuning leaves out, and rows that it corrupts."""

import numpy as np
import pytest
import torch
from oracle import Problem, relative_error
from scipy.sparse import csr_array
from sklearn.model_selection import GridSearchCV
from stacking import chain, encode, make_rows, pair, sae, supervised_loss

from sksae import SparseAutoencoderClassifier, SparseAutoencoderRegressor
from sksae.engine.minibatch import MinibatchObjective
from sksae.engine.noise import Corruption, Drops
from sksae.engine.parameters import Parameters
from sksae.model.settings import Dropout

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = make_rows()
NUMBERS = 3.0 * X[:, 0] - X[:, 1] ** 2
TARGETS = {"labels": np.digitize(NUMBERS, np.quantile(NUMBERS, [0.3, 0.6])), "numbers": NUMBERS}
KINDS = {"labels": SparseAutoencoderClassifier, "numbers": SparseAutoencoderRegressor}
each_kind = pytest.mark.parametrize("kind", KINDS)
each_minibatch_solver = pytest.mark.parametrize("solver", ["adam", "sgd"])
HIDDEN = [("sigmoid", 5), ("prelu", 4), ("tanh", 3)]
CPU = torch.device("cpu")


def make(kind, members=None, **params):
    defaults = {"max_iter": 3, "batch_size": 20, "random_state": 0}
    return KINDS[kind](pair() if members is None else members, **(defaults | params))


def fitted(kind, **params):
    return make(kind, **params).fit(X, TARGETS[kind])


def drawn(rate=0.5, layers=(0,), shape=(1, 40, 500), *, seed=3, epoch=0):
    drops = Drops(Dropout(rate, layers), seed, CPU)
    drops.begin(epoch)
    masks = [torch.empty(shape) for _ in layers]
    drops.draw(masks)
    return masks


def bits(model):
    arrays = [array for each in model.autoencoders_ for array in each.coefs_]
    return b"".join(np.asarray(array).tobytes() for array in [*arrays, model.coef_])


# What is drawn.


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_masks_leave_out_a_share_and_make_up_for_it(rate):
    (mask,) = drawn(rate)
    kept = mask != 0
    assert kept.double().mean().item() == pytest.approx(1 - rate, abs=0.01)
    np.testing.assert_allclose(mask[kept], 1 / (1 - rate), rtol=1e-6)
    # Units and rows are left out one by one: counts vary as those of independent draws.
    for dim, n_draws in ((1, 40), (2, 500)):
        counts = kept.sum(dim=dim).double()
        assert counts.std().item() == pytest.approx(np.sqrt(n_draws * rate * (1 - rate)), rel=0.3)


def test_masks_are_a_function_of_seed_and_epoch():
    first, second = drawn(layers=(0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(drawn(layers=(0, 1))[0], first)
    for other in (drawn(seed=4), drawn(epoch=1)):
        assert not torch.equal(other[0], first)


# The gradient.


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("sparsity", ["kl", "l1", None])
@pytest.mark.parametrize("layers", [(0,), (2,), (0, 2), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("kind", ["labels", "numbers", "rows"])
def test_the_gradient_is_that_of_autograd_through_the_masks(kind, layers, sparsity, weighted):
    rng = np.random.default_rng(2)
    target = rng.integers(0, 3, 8) if kind == "labels" else rng.random((8, 4))
    problem = Problem.supervised(
        target,
        sparsity,
        HIDDEN,
        weighted=weighted,
        input_scales=(1.3, 0.7, 1.1, 0.9),
        output_layout="rows" if kind == "rows" else "columns",
        seed=1,
    )
    drops = Drops(Dropout(0.4, layers), 0, CPU)
    drops.begin(0)
    masks = [torch.empty(1, HIDDEN[layer][1], 8, dtype=torch.float64) for layer in layers]
    drops.draw(masks)
    assert all(0 < (mask == 0).sum() < mask.numel() for mask in masks)
    columns = {layer: mask[0].T for layer, mask in zip(layers, masks, strict=True)}
    expected_value, expected = problem.autograd(columns)
    drops.begin(0)
    value, gradient = problem.minibatch(drops=drops)
    assert value == pytest.approx(expected_value, rel=1e-13)
    assert relative_error(gradient, expected) < 1e-12
    # The masks matter.
    assert relative_error(problem.autograd()[1], expected) > 0.01


def test_networks_side_by_side_have_masks_of_their_own():
    problem = Problem.supervised(np.random.default_rng(2).integers(0, 3, 8), None, HIDDEN)
    drops = Drops(Dropout(0.4, (0,)), 0, CPU)
    flat = torch.tensor(problem.flat)
    two = Parameters.stacked(problem.architecture, [flat, flat], flat)
    objective = MinibatchObjective(problem.penalties, two, problem.loss, drops=drops)
    drops.begin(0)
    objective(problem.rows().batch(slice(0, 8)))
    masks = torch.empty(2, HIDDEN[0][1], 8, dtype=torch.float64)
    drops.begin(0)
    drops.draw([masks])
    for model in range(2):
        expected = problem.autograd({0: masks[model].T})[1]
        assert relative_error(objective.gradient.model(model), expected) < 1e-12


# In fine-tuning.


@pytest.mark.each_once
@each_minibatch_solver
@each_kind
@pytest.mark.parametrize(
    "params",
    [{"dropout": 0.3}, {"noise": "gaussian"}, {"noise": "masking"}],
    ids=["dropout", "gaussian", "masking"],
)
def test_loss_and_scores_are_those_of_whole_codes_of_clean_rows(kind, params, solver):
    members = chain([sae(6, dtype="float64"), sae(5, dtype="float64")], X)
    given = {"pretrain": False, "dtype": "float64", "alpha": 0.01, "solver": solver}
    model = make(kind, members, **given, **params).fit(X, TARGETS[kind])
    target = TARGETS[kind][:, None]
    if kind == "numbers":
        target = (target - model.target_mean_) / model.target_scale_
    assert model.loss_ == pytest.approx(supervised_loss(model, X, target, kind), rel=1e-9)
    plain = make(kind, members, **given).fit(X, TARGETS[kind])
    assert bits(plain) != bits(model)
    # With noise the curve is of what was shown.
    assert model.loss_curve_[0] != pytest.approx(plain.loss_curve_[0], rel=1e-6)
    assert bits(make(kind, members, **given, **params).fit(X, TARGETS[kind])) == bits(model)


@pytest.mark.parametrize(("freeze", "expected"), [(None, (1, 2)), (1, (0, 1)), (2, (0,))], ids=str)
def test_units_of_codes_alone_are_left_out(monkeypatch, freeze, expected):
    seen = []
    begin = Drops.begin
    monkeypatch.setattr(
        Drops, "begin", lambda self, epoch: (seen.append(self.layers), begin(self, epoch))
    )
    members = [sae(5, hidden_layer_sizes=(7,)), sae(4)]
    make("labels", members, freeze=freeze, dropout=0.2).fit(X, TARGETS["labels"])
    assert set(seen) == {expected}


@pytest.fixture
def shown(monkeypatch):
    """Rows of fine-tuning before and after their corruption."""
    seen = []
    corrupt = Corruption.__call__

    def spy(self, batch):
        corrupted = corrupt(self, batch)
        seen.append((batch.rows[0].numpy().copy(), corrupted.rows[0].numpy().copy()))
        return corrupted

    monkeypatch.setattr(Corruption, "__call__", spy)
    return seen


@pytest.mark.each_once
@pytest.mark.parametrize("container", [np.asarray, csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("scale_data", [True, False], ids=["scaled", "unscaled"])
@pytest.mark.parametrize("freeze", [None, 1])
@each_kind
def test_gaussian_noise_is_in_units_of_what_it_is_added_to(
    shown, kind, freeze, scale_data, container
):
    members = chain([sae(6, scale_data=scale_data), sae(5)], X)
    given = {"pretrain": False, "freeze": freeze, "max_iter": 60, "tol": 0.0}
    make(kind, members, noise="gaussian", noise_level=0.5, **given).fit(container(X), TARGETS[kind])
    noise = np.concatenate([after - before for before, after in shown])
    entries = encode(members[:1], X) if freeze else X / members[0].scale_
    deviation = np.sqrt(entries.var(axis=0).mean())
    assert noise.std() == pytest.approx(0.5 * deviation, rel=0.03)


@pytest.mark.parametrize("freeze", [None, 1])
@pytest.mark.parametrize("scale_data", [True, False], ids=["scaled", "unscaled"])
def test_masked_entries_are_the_mean_or_0(shown, freeze, scale_data):
    members = chain([sae(6, scale_data=scale_data), sae(5)], X)
    given = {"pretrain": False, "freeze": freeze}
    make("numbers", members, noise="masking", noise_level=0.5, **given).fit(X, NUMBERS)
    before, after = (np.concatenate(parts) for parts in zip(*shown, strict=True))
    is_blank = before != after
    assert is_blank.mean() == pytest.approx(0.5, abs=0.1)
    entries = encode(members[:1], X) if freeze else X / members[0].scale_
    mean = entries.mean(axis=0)
    blank = np.zeros(len(mean)) if freeze or not scale_data else mean
    # Rows are trained on less their mean.
    expected = np.broadcast_to(blank - mean, after.shape)[is_blank]
    np.testing.assert_allclose(after[is_blank], expected, atol=1e-5)


@each_kind
def test_rows_held_out_are_judged_whole(kind):
    params = {"early_stopping": True, "validation_fraction": 0.3, "tol": 0.0}
    model = fitted(kind, dropout=0.5, noise="gaussian", noise_level=2.0, **params)
    plain = fitted(kind, learning_rate=1e-12, **params)
    # Nearly nothing is learnt at such a rate: the first score is that of the layer on top alone.
    drifting = fitted(kind, dropout=0.5, noise="gaussian", learning_rate=1e-12, **params)
    np.testing.assert_allclose(
        drifting.validation_score_curve_, plain.validation_score_curve_, rtol=1e-6
    )
    assert len(model.validation_score_curve_) == model.n_iter_


@each_kind
def test_passes_draw_anew(kind):
    given = {"dropout": 0.3, "noise": "gaussian"}
    classes = {"classes": np.unique(TARGETS[kind])} if kind == "labels" else {}
    model, other = make(kind, **given), make(kind)
    for _ in range(2):
        model.partial_fit(X, TARGETS[kind], **classes)
        other.partial_fit(X, TARGETS[kind], **classes)
    assert bits(model) != bits(other)
    again = make(kind, **given)
    for _ in range(2):
        again.partial_fit(X, TARGETS[kind], **classes)
    assert bits(again) == bits(model)


@pytest.mark.each_once
@pytest.mark.parametrize("freeze", [None, 1])
@each_kind
def test_noise_of_small_pieces_is_as_large(shown, kind, freeze):
    members = chain([sae(6), sae(5)], X)
    model = make(kind, members, pretrain=False, noise="gaussian", noise_level=0.5, freeze=freeze)
    classes = {"classes": np.unique(TARGETS[kind])} if kind == "labels" else {}
    model.partial_fit(X, TARGETS[kind], **classes)
    for _ in range(4):
        for row in range(len(X)):
            model.partial_fit(X[[row]], TARGETS[kind][[row]])
    noise = np.concatenate([after - before for before, after in shown[3:]])
    entries = encode(members[:1], X) if freeze else X / members[0].scale_
    deviation = np.sqrt(entries.var(axis=0).mean())
    assert noise.std() == pytest.approx(0.5 * deviation, rel=0.05)


@each_kind
def test_a_rate_and_a_level_of_0_change_nothing(kind):
    plain = bits(fitted(kind))
    assert bits(fitted(kind, dropout=0.0)) == plain
    assert bits(fitted(kind, noise="masking", noise_level=0.0)) == plain


def test_a_search_over_them():
    grid = {"dropout": [0.0, 0.5], "noise": [None, "gaussian"]}
    search = GridSearchCV(make("numbers"), grid, cv=2).fit(X, NUMBERS)
    assert len(set(search.cv_results_["mean_test_score"])) == 4


@each_kind
def test_lbfgs_has_no_minibatches_to_leave_units_out_of(monkeypatch, kind):
    with pytest.raises(ValueError, match=r"dropout=0.2 .*solver='adam' or 'sgd'"):
        make(kind, dropout=0.2, solver="lbfgs").fit(X, TARGETS[kind])


@pytest.mark.each_once
@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"freeze": 2, "dropout": 0.2}, r"dropout=0.2 has no effect where freeze"),
        ({"freeze": 2, "noise": "masking"}, r"noise='masking' has no effect where freeze"),
        ({"noise_level": 0.2}, r"noise_level=0.2 has no effect with noise=None"),
    ],
    ids=str,
)
@each_kind
def test_what_has_no_effect_is_told(kind, params, said):
    with pytest.warns(UserWarning, match=said):
        model = fitted(kind, **params)
    assert bits(model) == bits(fitted(kind, freeze=params.get("freeze")))


@each_kind
@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"dropout": 1.0}, "'dropout' parameter"),
        ({"dropout": -0.1}, "'dropout' parameter"),
        ({"noise": "salt"}, "'noise' parameter"),
        ({"noise": "masking", "noise_level": 1.0}, "noise_level=1.0 is the share"),
        ({"noise": "gaussian", "noise_level": 1e39}, "noise_level=1e[+]39 is out of reach"),
    ],
    ids=str,
)
def test_bad_values_are_refused(kind, params, said):
    with pytest.raises(ValueError, match=said):
        fitted(kind, **params)
