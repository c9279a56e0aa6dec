"""The gradient of rows that are shown corrupted, by autograd's word."""

import numpy as np
import pytest
import torch
from denoising import corrupted, corruption_of, each_code, each_kind, each_weighting
from oracle import Problem, relative_error, small_parts

from sksae.engine import full_batch
from sksae.engine.threads import Crew

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*solver=:sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*X holds values from"),
]


@each_weighting
@pytest.mark.parametrize("hidden", [(), (5,)], ids=["shallow", "deep"])
@pytest.mark.parametrize("tied", [False, True], ids=["free", "tied"])
@each_kind
@each_code
def test_the_gradient_is_that_of_autograd_shown_corrupted_rows(
    sparsity, activation, kind, tied, hidden, weighted
):
    problem = Problem.draw(
        sparsity, activation, "sigmoid", hidden, "tanh", weighted=weighted, tied=tied, n_rows=11
    )
    blank = np.linspace(-1.0, 1.0, 4)
    given = corrupted(corruption_of(kind, blank=blank), problem.X - problem.centre)
    problem = problem.but(shown=given + problem.centre)
    assert relative_error(problem.shown, problem.X) > 0.1
    expected_value, expected = problem.autograd()
    for objective in (problem.minibatch, problem.full):
        value, gradient = objective(corruption=corruption_of(kind, blank=blank))
        assert value == pytest.approx(expected_value, rel=1e-12)
        assert relative_error(gradient, expected) < 1e-11


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("kept_entries", [0, 2**24], ids=["encoded-again", "kept"])
@each_kind
@each_code
def test_both_walks_over_all_rows_are_shown_the_same(
    sparsity, activation, kind, kept_entries, n_members, monkeypatch
):
    monkeypatch.setattr(full_batch, "KEPT_ENTRIES", kept_entries)
    problem = Problem.draw(sparsity, activation, "tanh", weighted=True, n_rows=23)
    corruption = corruption_of(kind)
    with small_parts(9), Crew(n_members) as crew:
        full = problem.full_objective(corruption=corruption, crew=crew)
        # As it walks, so the draws are cut.
        given = [
            corrupted(corruption, (problem.X - problem.centre)[chunk.which])
            for lane in full._lanes
            for chunk in lane.chunks
        ]
        assert len(given) > 1
        expected_value, expected = problem.but(
            shown=np.concatenate(given) + problem.centre
        ).autograd()
        flat = torch.tensor(problem.flat)
        for _ in range(2):
            (value, *_), gradient = full.gradient(flat)
            assert value.item() == pytest.approx(expected_value, rel=1e-12)
            assert relative_error(gradient, expected) < 1e-11
        # Corrupted rows are let go of, chunk by chunk.
        kept = [
            portion.workspace._rows
            for lane in full._lanes
            for chunk in lane.chunks
            for portion in chunk.portions
        ]
        assert kept == [None] * len(given)
        # But it is judged on rows as they are.
        assert full.evaluate().loss.item() == pytest.approx(problem.value(), rel=1e-12)
