"""What denoising is for: corrupted rows are repaired, best by a level such as their own."""

import numpy as np
import pytest

from sksae import SparseAutoencoderTransformer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*solver=:sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*X holds values from"),
]


@pytest.mark.parametrize(
    ("params", "kind", "level"),
    [
        # A strong weight decay, the default's, already keeps codes from following noise.
        ({"alpha": 1e-3}, "gaussian", 1.0),
        ({}, "masking", 0.3),
        pytest.param({"sparsity": "l1"}, "masking", 0.3, marks=pytest.mark.slow),
        ({"sparsity": None}, "gaussian", 0.5),
        pytest.param(
            {"sparsity": None, "tied_weights": True}, "gaussian", 0.5, marks=pytest.mark.slow
        ),
        ({"sparsity": None, "tied_weights": True}, "masking", 0.3),
        pytest.param({"solver": "lbfgs", "max_iter": 100}, "masking", 0.3, marks=pytest.mark.slow),
        ({"scale_data": False}, "masking", 0.3),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_denoising_autoencoder_repairs_rows_better_than_a_plain_one(digits, params, kind, level):
    train, test = digits[:1000], digits[1000:]
    rng, mean = np.random.default_rng(0), train.mean(axis=0)
    if kind == "gaussian":
        deviation = np.sqrt(((train - mean) ** 2).mean())
        corrupted = test + level * deviation * rng.normal(size=test.shape)
    else:
        blank = mean if params.get("scale_data", True) else 0.0
        corrupted = np.where(rng.random(test.shape) < level, blank, test)

    def error(**noise):
        given = {"max_iter": 30, "batch_size": 100, "random_state": 0} | params | noise
        model = SparseAutoencoderTransformer(64, **given).fit(train)
        repaired = model.inverse_transform(model.transform(corrupted))
        return ((repaired - test) ** 2).mean()

    denoising = error(noise=kind, noise_level=level)
    assert denoising < 0.95 * error()
    if params.get("sparsity", "kl") is None:
        assert denoising < 0.8 * ((corrupted - test) ** 2).mean()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_rows_are_best_repaired_by_the_level_of_their_own_noise(digits):
    train, test = digits[:1000], digits[1000:]
    normal = np.random.default_rng(0).normal(size=test.shape)
    deviation = np.sqrt(((train - train.mean(axis=0)) ** 2).mean())
    models = {
        level: SparseAutoencoderTransformer(
            64, alpha=1e-3, noise="gaussian", noise_level=level, max_iter=30, random_state=0
        ).fit(train)
        for level in (0.2, 1.0)
    }

    def error(trained, level):
        model, noisy = models[trained], test + level * deviation * normal
        return ((model.inverse_transform(model.transform(noisy)) - test) ** 2).mean()

    assert error(trained=1.0, level=1.0) < 0.8 * error(trained=0.2, level=1.0)
    assert error(trained=0.2, level=0.2) < 0.8 * error(trained=1.0, level=0.2)
