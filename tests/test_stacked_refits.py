"""Fits, refits and passes of stacks in the orders that notebooks and searches bring about."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.default_rng(0)
X = rng.random((60, 6))
y = np.arange(60) % 3
SHORT = {"max_iter": 3, "random_state": 0}


def sae(n_components=4, **params):
    return SparseAutoencoderTransformer(n_components, rho=0.2, max_iter=3, **params)


def test_a_refit_without_finetuning_leaves_nothing_of_the_one_before():
    stack = StackedSparseAutoencoder([sae(), sae(3)], early_stopping=True, **SHORT).fit(X)
    stack.set_params(finetune=False, autoencoders=[sae(5)]).fit(X)
    fresh = clone(stack).fit(X)
    assert set(vars(stack)) == set(vars(fresh))
    np.testing.assert_array_equal(stack.transform(X), fresh.transform(X))


@pytest.mark.parametrize(
    ("labels", "mark", "classes"),
    [
        (["a", "b", -1], -1, ["a", "b"]),
        (["a", "b", np.nan], np.nan, ["a", "b"]),
        ([1, 2, None], None, [1, 2]),
    ],
)
def test_a_list_of_labels_and_marks_is_read_as_an_array_of_objects_is(labels, mark, classes):
    model = SparseAutoencoderClassifier([sae()], unlabeled=mark, **SHORT)
    assert model.fit(X, labels * 20).classes_.tolist() == classes
    passes = clone(model).partial_fit(X, labels * 20, classes=labels)
    assert passes.classes_.tolist() == classes


def test_weights_may_name_classes_that_have_no_rows():
    # The members take no notice of classes, and would learn something else of other weights.
    member = FrozenEstimator(sae(random_state=0).fit(X))
    model = SparseAutoencoderClassifier([member], class_weight={1: 2.0, 2: 3.0}, **SHORT)
    model.partial_fit(X, y).partial_fit(X[y < 2], y[y < 2])
    without = clone(model).fit(X, y, sample_weight=(y < 2) * 1.0)
    factors = np.where(y == 1, 2.0, 1.0) * (y < 2)
    plain = clone(model).set_params(class_weight=None).fit(X, y, sample_weight=factors)
    np.testing.assert_allclose(without.predict_proba(X), plain.predict_proba(X), atol=1e-2)


@pytest.mark.parametrize(
    "changed",
    [{"sae0": sae(9)}, {"sae0__n_components": 9}, {"autoencoders": [sae(), sae(3)]}],
    ids=["member", "size", "number"],
)
def test_passes_with_other_members_are_refused(changed):
    model = SparseAutoencoderClassifier([sae()], **SHORT).partial_fit(X, y)
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match=r"autoencoders it began with.*\(4,\).*Set them back"):
        model.set_params(**changed).partial_fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), before)


@pytest.mark.parametrize("kind", ["stack", "classifier"])
def test_members_that_know_other_names_of_features_are_refused(kind):
    frame = pd.DataFrame(X, columns=list("abcdef"))
    member = sae(random_state=0).fit(frame)
    if kind == "stack":
        model, rest = StackedSparseAutoencoder([member], pretrain=False, **SHORT), ()
    else:
        model, rest = SparseAutoencoderClassifier([member], pretrain=False, **SHORT), (y,)
    with pytest.raises(ValueError, match="'sae0' of autoencoders was fitted to features named"):
        model.fit(frame[list("fedcba")], *rest)
    model.fit(frame, *rest)


def test_fitted_members_share_no_memory_with_their_copies():
    member = sae(random_state=0).fit(X)
    stack = StackedSparseAutoencoder([member], pretrain=False, finetune=False).fit(X)
    expected = member.transform(X)
    for coef in stack.autoencoders_[0].coefs_:
        coef[...] = 0.0
    np.testing.assert_array_equal(member.transform(X), expected)


@pytest.mark.parametrize(
    "params",
    [
        {"noise": "masking", "noise_level": 1.0},
        {"hidden_layer_sizes": (0,)},
        {"activation": "relu"},
        {"sparsity": None, "beta": "auto"},
    ],
    ids=lambda params: next(iter(params)),
)
@pytest.mark.parametrize("kind", [StackedSparseAutoencoder, SparseAutoencoderClassifier])
def test_a_member_that_makes_no_sense_is_named_before_anything_is_trained(
    kind, params, monkeypatch
):
    monkeypatch.setattr(SparseAutoencoderTransformer, "fit", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ValueError, match=r"^'corners' of autoencoders: "):
        kind([("edges", sae()), ("corners", sae(**params))]).fit(X, y)


@pytest.mark.parametrize("mark", [-1, np.nan])
def test_a_row_with_some_of_its_targets_only_is_refused(mark):
    target = rng.normal(size=(60, 2))
    target[3, 1] = mark
    with pytest.raises(ValueError, match="some outputs only"):
        SparseAutoencoderRegressor([sae()], unlabeled=mark, **SHORT).fit(X, target)


def test_passes_keep_the_curve_of_an_early_stopped_fit():
    model = SparseAutoencoderClassifier([sae()], early_stopping=True, **SHORT).fit(X, y)
    curve = model.validation_score_curve_
    model.set_params(early_stopping=False).partial_fit(X, y)
    assert model.validation_score_curve_ == curve
    assert model.n_iter_ == len(model.loss_curve_) == len(curve) + 1


class Interrupt:
    """Presses Ctrl-C at the end of an epoch of one training."""

    def __init__(self, task):
        self._task = task
        self.tasks = []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch":
            self.tasks.append(context.parent.source_task_name or context.parent.task_name)
            if self.tasks[-1] == self._task and self.tasks.count(self._task) == 2:
                raise KeyboardInterrupt


class PropagatedInterrupt(Interrupt):
    max_propagation_depth = None


def interrupted_at(task):
    callback = PropagatedInterrupt(task)
    members = [sae(tol=0.0), sae(3, tol=0.0)]
    stack = StackedSparseAutoencoder(members, tol=0.0, **SHORT).set_callbacks(callback)
    return stack, callback


def test_an_interrupt_of_a_members_training_gives_up_the_fit():
    stack, callback = interrupted_at("fit-sae0")
    with (
        pytest.warns(UserWarning, match="interrupted by user"),
        pytest.raises(KeyboardInterrupt),
    ):
        stack.fit(X)
    assert callback.tasks == ["fit-sae0"] * 2
    assert not hasattr(stack, "autoencoders_")
    assert not hasattr(stack, "n_features_in_")


def test_an_interrupt_of_the_finetuning_keeps_what_was_learned():
    stack, callback = interrupted_at("finetune")
    with pytest.warns(UserWarning, match="interrupted by user"):
        stack.fit(X)
    assert callback.tasks.count("finetune") == 2
    assert stack.transform(X).shape == (60, 3)
