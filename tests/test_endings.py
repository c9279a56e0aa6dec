"""That trainings of few rows of many columns end when they are done, and not before."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from sksae import SparseAutoencoderTransformer, StackedSparseAutoencoder
from sksae.base.parameters import training_specification_of
from sksae.training import defaults
from sksae.training.finetuning import make_finetuning_config
from sksae.training.specification import TrainingSpecification


def low_rank(n_rows, n_features, rank=5):
    rng = np.random.default_rng(0)
    causes = rng.normal(size=(n_rows, rank)) @ rng.normal(size=(rank, n_features))
    return (causes + rng.normal(size=causes.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def wide():
    return low_rank(100, 1000)


def make(**params):
    return SparseAutoencoderTransformer(30, random_state=0, **params)


def test_an_epoch_of_one_batch_is_no_excuse_for_an_early_end(wide):
    model = make(batch_size=100).fit(wide)
    assert model.n_iter_ == model.n_steps_ > 400
    assert model.score(wide) > 0.99 * make().fit(wide).score(wide)
    assert make(batch_size=100, max_iter=20, tol=1.0).fit(wide).n_iter_ == 20


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "n_epochs"), [(250, 250, 800), (250, 125, 400), (40, 16, 267)]
)
def test_epochs_of_few_steps_are_more(n_rows, batch_size, n_epochs):
    assert defaults.resolve_max_iter("auto", "adam", n_rows, batch_size) == n_epochs
    assert defaults.resolve_max_iter("auto", "adam", 60000, 256) == 200
    assert defaults.resolve_max_iter("auto", "lbfgs", n_rows, batch_size) == 200
    assert defaults.resolve_max_iter(7, "adam", n_rows, batch_size) == 7


def test_a_tied_code_of_wide_rows_gets_to_thresholds_that_make_it_selective(wide):
    tied = make(tied_weights=True).fit(wide)
    assert tied.score(wide) > 0.79
    assert tied.intercepts_[0].mean() < -4.0


def test_only_the_biases_of_a_tied_code_are_faster_than_weights():
    for n_features in (10, 64, 784, 5000, 20000):
        rate = defaults.resolve_learning_rate("auto", "adam", "kl", n_features, True, is_tied=True)
        input_scale = defaults.code_bias_gain("adam", 0, n_features, is_tied=True, is_scaled=True)
        assert rate * input_scale == pytest.approx(0.02)
        assert input_scale >= 1.0
        untied = defaults.resolve_learning_rate("auto", "adam", "kl", n_features, True)
        assert untied / 2 <= rate <= untied
        assert defaults.code_bias_gain("adam", 0, n_features, is_tied=False, is_scaled=True) == 1.0
        assert defaults.code_bias_gain("adam", 1, n_features, is_tied=True, is_scaled=True) == 1.0


def test_a_faster_bias_moves_by_its_share_of_the_first_step():
    X = np.random.default_rng(0).normal(size=(20, 256))
    start, stepped = (
        make(tied_weights=True, learning_rate=rate, max_iter=1, batch_size=20).fit(X)
        for rate in (1e-12, 1e-3)
    )
    # The first step of adam is the rate in every parameter.
    moved = np.abs(stepped.intercepts_[0] - start.intercepts_[0])
    weights = np.abs(stepped.coefs_[0] - start.coefs_[0])
    np.testing.assert_allclose(np.median(moved) / np.median(weights), 2.0, rtol=1e-2)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fine_tuning_of_few_wide_rows_goes_on_for_more_than_some_steps():
    X = low_rank(100, 10_000)
    members = [SparseAutoencoderTransformer(k, max_iter=60, random_state=0) for k in (40, 20)]
    before = StackedSparseAutoencoder(members, finetune=False, random_state=0).fit(X)
    tuned = StackedSparseAutoencoder(before.autoencoders_, pretrain=False, random_state=0)
    assert tuned.fit(X).n_steps_ == 50
    assert tuned.score(X) > before.score(X) + 0.04


def specification(stack):
    return training_specification_of(stack, TrainingSpecification)


def test_fine_tuning_knows_rows_and_width():
    stack = StackedSparseAutoencoder([SparseAutoencoderTransformer()])
    wide = make_finetuning_config(specification(stack), 0, n_rows=200, n_features=4 * 784)
    assert (wide.n_iter_no_change, wide.learning_rate) == (300, 1.5e-3)
    long = make_finetuning_config(specification(stack), 0, n_rows=60000, n_features=784)
    assert (long.n_iter_no_change, long.learning_rate) == (10, 3e-3)
    stack.set_params(n_iter_no_change=7, learning_rate=0.5)
    given = make_finetuning_config(specification(stack), 0, n_rows=200, n_features=4 * 784)
    assert (given.n_iter_no_change, given.learning_rate) == (7, 0.5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_lbfgs_is_not_stopped_by_a_few_short_steps():
    # Mixtures of five of many causes, whitened: a long way down, and nowhere steep.
    rng = np.random.default_rng(0)
    causes = rng.exponential(size=(800, 200)) * (rng.random((800, 200)) < 0.025)
    X = PCA(whiten=True, random_state=0).fit_transform(causes @ rng.normal(size=(200, 200)))
    done = make(solver="lbfgs", tol=0.0, max_iter=400).fit(X)
    assert make(solver="lbfgs").fit(X).score(X) > 0.97 * done.score(X)
