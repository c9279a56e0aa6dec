"""The decay of a linear layer on codes is the one that predicts rows best that are left out."""

import numpy as np
import pytest
from stacking import pair, sae

from sksae import SparseAutoencoderRegressor
from sksae.stacking import ridge
from sksae.stacking.ridge import DECAY_OF_FEW, DECAYS, best_decay, folds

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def noisy(n_rows=60, n_outputs=1, noise=1.0, seed=0):
    """Return codes and targets that depend on a few of them, and on chance."""
    rng = np.random.default_rng(seed)
    codes = rng.random((n_rows, 12))
    target = codes @ rng.normal(size=(12, n_outputs)) + noise * rng.normal(size=(n_rows, n_outputs))
    return codes, (target - target.mean(axis=0)) / target.std(axis=0)


def errors_of_rows_left_out(codes, target):
    """Return the squared error of rows left out, for each decay, by normal equations."""
    fold, errors = folds(codes, target), np.zeros(len(DECAYS))
    for k in range(fold.max() + 1):
        kept, out = fold != k, fold == k
        mean_code, mean_target = codes[kept].mean(axis=0), target[kept].mean(axis=0)
        C, T = codes[kept] - mean_code, target[kept] - mean_target
        for at, decay in enumerate(DECAYS):
            coef = np.linalg.solve(C.T @ C / len(C) + decay * np.eye(C.shape[1]), C.T @ T / len(C))
            found = (codes[out] - mean_code) @ coef + mean_target
            errors[at] += np.sum((found - target[out]) ** 2)
    return errors


@pytest.mark.each_once
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("noise", [0.01, 0.5, 3.0])
def test_it_is_the_best_for_rows_left_out(noise, n_outputs):
    codes, target = noisy(noise=noise, n_outputs=n_outputs)
    errors = errors_of_rows_left_out(codes, target)
    assert best_decay(codes, target, None) == DECAYS[np.argmin(errors)]


def test_folds_are_of_like_size_and_keep_rows_that_are_alike_together():
    codes, target = noisy(60)
    fold = folds(codes, target)
    assert np.bincount(fold).tolist() == [12] * 5
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(60), 3))
    np.testing.assert_array_equal(folds(codes[order], target[order]), fold[order])


@pytest.mark.parametrize("noise", [0.05, 0.5, 3.0])
def test_a_row_given_twice_is_one_of_twice_the_weight(noise):
    codes, target = noisy(60, noise=noise)
    weight = np.random.default_rng(1).integers(1, 4, 60)
    repeated = best_decay(codes.repeat(weight, axis=0), target.repeat(weight, axis=0), None)
    assert best_decay(codes, target, weight.astype(float)) == repeated


def test_noise_asks_for_more_decay():
    found = [best_decay(*noisy(noise=noise), None) for noise in (0.01, 0.5, 3.0)]
    assert found == sorted(found)
    assert found[0] < found[-1] / 10


def test_weights_count():
    codes, target = noisy(80, noise=0.05)
    # Half of the rows are noise: what they weigh decides.
    target[40:] = np.random.default_rng(1).normal(size=(40, 1))
    quiet, loud = (np.repeat(share, 40) for share in ([1.0, 1e-3], [1e-3, 1.0]))
    assert best_decay(codes, target, quiet) < best_decay(codes, target, loud) / 10
    assert best_decay(codes, target, 7.0 * loud) == best_decay(codes, target, loud)


def test_many_rows_are_sampled(monkeypatch):
    codes, target = noisy(500, noise=0.5)
    monkeypatch.setattr(ridge, "MOST_ROWS", 100)
    some = np.linspace(0, 499, 100).astype(int)
    weight = np.linspace(0.5, 2.0, 500)
    expected = best_decay(codes[some], target[some], weight[some])
    assert best_decay(codes, target, weight) == expected


@pytest.mark.parametrize("n_different", [9, 40])
def test_rows_are_alike_whatever_the_last_digits_of_their_codes(n_different):
    codes, target = noisy(n_different)
    chosen = np.random.default_rng(1).integers(n_different, size=900)
    chosen[:n_different] = np.arange(n_different)
    noise = 1e-7 * np.random.default_rng(2).normal(size=(900, 12))
    fold = folds(codes[chosen] + noise, target[chosen])
    if n_different < 10:
        assert fold is None
    else:
        np.testing.assert_array_equal(fold, folds(codes, target)[chosen])


@pytest.mark.parametrize("n_rows", [1, 2, 9])
def test_few_rows_tell_nothing(n_rows):
    codes, target = noisy(60)
    assert best_decay(codes[:n_rows], target[:n_rows], None) == DECAY_OF_FEW


def test_the_regressor_takes_it():
    rng = np.random.default_rng(0)
    X = rng.random((80, 6))
    y = 100.0 * X[:, 0] + 50.0 * rng.normal(size=80)
    given = {"max_iter": 3, "random_state": 0}
    model = SparseAutoencoderRegressor(pair(), **given).fit(X, y)
    frozen = SparseAutoencoderRegressor(pair(), freeze=2, **given).fit(X, y)
    target = ((y - y.mean()) / y.std())[:, None]
    assert frozen.alpha_ == best_decay(frozen.transform(X), target, None)
    assert model.alpha_ == pytest.approx(3 * frozen.alpha_)
    named = SparseAutoencoderRegressor(pair(), alpha=model.alpha_, **given).fit(X, y)
    np.testing.assert_array_equal(named.predict(X), model.predict(X))
    # Rows without a target have no say, nor has the unit of y.
    marked = np.concatenate([y, [np.nan] * 5])
    rows = np.concatenate([X, X[:5]])
    given |= {"pretrain": False, "freeze": 2, "unlabeled": np.nan}
    again = SparseAutoencoderRegressor(frozen.autoencoders_, **given).fit(rows, 1000.0 * marked)
    assert again.alpha_ == frozen.alpha_


def test_passes_keep_the_decay_of_the_first():
    rng = np.random.default_rng(0)
    X = rng.random((80, 6))
    y = X[:, 0] + 0.5 * rng.normal(size=80)
    model = SparseAutoencoderRegressor([sae(5)], random_state=0).partial_fit(X[:40], y[:40])
    first = model.alpha_
    assert model.partial_fit(X[40:], 100.0 * X[40:, 1]).alpha_ == first
    assert model.set_params(alpha=0.5).partial_fit(X, y).alpha_ == 0.5
    assert model.set_params(alpha=None).partial_fit(X, y).alpha_ == first
    # What None stands for is found when it is first asked for.
    given = SparseAutoencoderRegressor([sae(5)], alpha=0.0, random_state=0).partial_fit(X, y)
    assert given.set_params(alpha=None).partial_fit(X, y).alpha_ > 0.0
