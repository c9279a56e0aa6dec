"""Noise is in units of X, of whatever form and scale."""

import numpy as np
import pytest
import torch
from batched import make
from denoising import bits, each_kind, each_scaling, each_solver, make_rows, noisy
from scipy.sparse import csr_array

from sksae.engine.batches import Rows

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*solver=:sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*X holds values from"),
]


@pytest.fixture(scope="module")
def X():
    return make_rows()


@each_solver
@each_scaling
@pytest.mark.parametrize("output_activation", ["identity", "sigmoid"])
def test_the_deviation_of_gaussian_noise_is_in_units_of_x(
    digits, shown, output_activation, scale_data, solver
):
    # Fewer features than UFLDL's patches: outputs differ in how they are scaled.
    rows = 0.05 + 0.9 * digits[:800, 16:40]
    level, overall = 0.5, np.sqrt(((rows - rows.mean(axis=0)) ** 2).mean())
    model = noisy(
        level=level,
        scale_data=scale_data,
        solver=solver,
        output_activation=output_activation,
        max_iter=1,
    ).fit(rows)
    noise = np.concatenate([after - before for before, after in shown]) * model.scale_
    expected = level * overall if scale_data else level
    assert noise.std() == pytest.approx(expected, rel=0.02)
    assert abs(noise.mean()) < 0.02 * expected


@each_solver
@each_scaling
@pytest.mark.parametrize("output_activation", ["identity", "sigmoid"])
@pytest.mark.parametrize("container", [np.asarray, csr_array], ids=["dense", "csr"])
def test_masked_entries_are_the_mean_or_0(
    X, shown, output_activation, container, scale_data, solver
):
    weight = np.tile([0.0, 1.0, 2.0], 20)
    model = noisy(
        "masking",
        0.3,
        scale_data=scale_data,
        solver=solver,
        output_activation=output_activation,
        max_iter=3,
    ).fit(container(X), sample_weight=weight)
    mean = np.average(X, axis=0, weights=weight)
    before, after = (
        np.concatenate(parts) * model.scale_ + mean for parts in zip(*shown, strict=True)
    )
    is_blank = after != before
    assert is_blank.mean() == pytest.approx(0.3, abs=0.06)
    blank = mean if scale_data else np.zeros(8)
    np.testing.assert_allclose(after, np.where(is_blank, blank, before), atol=1e-12)


def test_what_blanks_a_row_is_in_the_units_of_the_network():
    centre = np.array([1.0, 0.0, -3.0])
    rows = Rows(
        np.ones((4, 3)),
        centre=centre,
        scale=4.0,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    np.testing.assert_array_equal(rows.blank(at_zero=True), -centre / 4.0)
    np.testing.assert_array_equal(rows.blank(at_zero=False), np.zeros(3))


@pytest.mark.parametrize("factor", [1e-3, 1e4])
@each_kind
def test_codes_do_not_depend_on_the_units_of_x(X, kind, factor):
    one, other = noisy(kind).fit(X), noisy(kind).fit(factor * X)
    np.testing.assert_allclose(other.transform(factor * X), one.transform(X), rtol=1e-8)


@each_solver
@each_scaling
@each_kind
def test_a_level_of_0_is_no_noise(X, kind, scale_data, solver):
    for dtype in ("float32", "float64"):
        params = {"scale_data": scale_data, "solver": solver, "dtype": dtype}
        assert bits(noisy(kind, 0.0, **params).fit(X)) == bits(make(**params).fit(X))


@each_solver
@each_kind
def test_noise_and_its_level_make_a_difference(X, kind, solver):
    models = [make(solver=solver), *(noisy(kind, level, solver=solver) for level in (0.2, 0.5))]
    assert len({bits(model.fit(X)) for model in models}) == 3
