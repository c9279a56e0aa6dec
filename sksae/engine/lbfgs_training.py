"""Training by L-BFGS on all rows; where beta is to be found, by continuation in beta."""

from collections.abc import Callable
from math import isfinite, log

import numpy as np
import torch
from torch import Tensor

from sksae.engine.activity import is_met, to_numpy
from sksae.engine.batches import Rows
from sksae.engine.beta_continuation import BetaContinuation
from sksae.engine.device import bookkeeping_device
from sksae.engine.full_batch import FullObjective
from sksae.engine.history import BestWeights
from sksae.engine.lbfgs import LBFGS
from sksae.engine.losses import Loss
from sksae.engine.noise import corruption_of
from sksae.engine.parameters import Parameters
from sksae.engine.running import Running
from sksae.engine.threads import Crew
from sksae.engine.validation_scorers import ValidationScorer
from sksae.model.architecture import Architecture
from sksae.model.failure import NonFiniteLossError
from sksae.model.loss_parts import LossParts
from sksae.model.states import prefixed, unprefixed
from sksae.model.tasks import State, TrainingResult, TrainingTask
from sksae.process.interrupts import ask_unless_skipped, is_kept
from sksae.process.processes import Processes


def train_by_lbfgs(
    architecture: Architecture,
    task: TrainingTask,
    rows: Rows,
    loss: Loss,
    scorer: ValidationScorer | None,
    crew: Crew,
) -> TrainingResult | NonFiniteLossError:
    """Train a network: parameters and sums in float64, products in the precision of the rows.

    Parameters
    ----------
    architecture : Architecture
        Layers.
    task : TrainingTask
        What it is trained for.
    rows : Rows
        Rows and what to make of them.
    loss : Loss
        Of the output.
    scorer : ValidationScorer or None
        Scores networks on rows held out.
    crew : Crew
        Who walks over the rows.

    Returns
    -------
    outcome : TrainingResult or NonFiniteLossError
    """
    like = torch.empty(0, dtype=rows.dtype, device=rows.device)
    parameters = Parameters.stacked(architecture, [task.start], like)
    corruption = corruption_of(task.config, rows)
    full = FullObjective(
        task.penalties,
        parameters,
        rows,
        loss,
        corruption=corruption,
        crew=crew,
        read_as=task.read_as,
    )
    try:
        return _LBFGSTraining(task, full, rows.processes, scorer).run(task.start)
    except NonFiniteLossError as error:
        return error


class _LBFGSTraining:
    """One training by L-BFGS."""

    def __init__(
        self,
        task: TrainingTask,
        full: FullObjective,
        processes: Processes,
        scorer: ValidationScorer | None,
    ) -> None:
        self._task, self._full, self._scorer = task, full, scorer
        self._processes = processes
        stood, like = task.interrupted_at, full.parameters.flat
        self._network = Running.begin(
            task, like, has_scorer=scorer is not None, processes=processes
        )
        self._continuation = _make_continuation(task, full) if task.finds_beta else None
        # The terms of J at the points that the solver has seen since it took the last of its steps.
        self._looked_at: dict[float, LossParts] = {}
        self._n_iterations, self._n_steps = 0, 0
        if scorer is not None and task.config.first_epoch and stood is None:
            # A training that goes on must not end worse than it began.
            self._keep_if_best(scorer.scores(full.parameters)[0])

    def run(self, start: np.ndarray) -> TrainingResult:
        """Train until a reason to stop comes up."""
        network, flat = self._network, self._full.parameters.flat
        history, state = network.history, network.state
        device = bookkeeping_device(flat.device)
        begin = torch.as_tensor(start, dtype=torch.float64, device=device)
        if self._task.interrupted_at is not None:
            self._restore(self._task.interrupted_at, begin)
        else:
            self._solver = LBFGS.begin(self._evaluate, begin, self._rounding)
        if not isfinite(self._solver.value):
            raise self._task.config.failure(0)
        stopped_by = "max_iter"
        try:
            for iteration in range(self._n_iterations + 1, self._task.config.max_iter + 1):
                self._show_keeper(iteration - 1)
                history.epoch_begins(lambda: flat)
                if not self._solver.step():
                    # Where the search has looked last is not where it stayed.
                    flat.copy_(self._solver.flat)
                    history.epoch_came_to_nothing(lambda: flat)
                    if self._next_round():
                        continue
                    stopped_by = "precision"
                    break
                self._n_steps += 1
                flat.copy_(self._solver.flat)
                verdict = self._take_stock(self._task.config.max_iter - iteration)
                ends_round = verdict == "tol" or (
                    self._continuation is not None and self._continuation.is_over(iteration)
                )
                if verdict != "callback" and ends_round and self._next_round():
                    continue
                if verdict is not None:
                    stopped_by = verdict
                    break
            weights = self._last_weights(self._meets_rho)
        except KeyboardInterrupt:
            if not is_kept():
                raise
            stopped_by = "interrupt"
            weights = self._last_weights(lambda: ask_unless_skipped(self._meets_rho))
        history.ends(stopped_by)
        return TrainingResult(
            flat=self._processes.first_(weights.flat).cpu().numpy().copy(),
            beta=weights.beta,
            losses=state.losses,
            validation_curve=state.validation_curve,
            n_steps=self._n_steps,
            stopped_by=stopped_by,
        )

    def _evaluate(self, flat: Tensor) -> tuple[float, Tensor]:
        """Return J and its gradient, and keep the terms of J."""
        terms, gradient = self._full.gradient(flat)
        (loss,) = terms.of_models()
        self._looked_at[loss.total] = loss
        return loss.total, gradient

    @property
    def _rounding(self) -> float:
        """Relative rounding error of J."""
        return torch.finfo(self._full.parameters.flat.dtype).eps

    def _show_keeper(self, n_iterations: int) -> None:
        """Let a keeper have all that the next iterations depend on."""
        self._n_iterations = n_iterations
        if n_iterations and self._task.keeper is not None:
            self._task.keeper(n_iterations, self._standing)

    def _standing(self) -> State:
        """Return where training stands between two iterations."""
        standing = {
            "n_iterations": np.asarray(self._n_iterations),
            "n_steps": np.asarray(self._n_steps),
            "beta": to_numpy(self._full.beta),
            **self._network.standing(),
            **prefixed("solver", self._solver.state()),
        }
        if self._continuation is not None:
            standing |= prefixed("continuation", self._continuation.state())
        return standing

    def _restore(self, stood: State, like: Tensor) -> None:
        """Go on from a `_standing`; ``like`` gives precision and device of the solver."""
        self._n_iterations, self._n_steps = int(stood["n_iterations"]), int(stood["n_steps"])
        solver = unprefixed("solver", stood)
        self._solver = LBFGS.resumed(self._evaluate, solver, like, self._rounding)
        if self._continuation is not None:
            self._continuation.restore(unprefixed("continuation", stood))
            self._full.set_beta(torch.as_tensor(stood["beta"], device=self._full.beta.device))
        self._full.parameters.flat.copy_(self._solver.flat)

    def _last_weights(self, meets_rho: Callable[[], bool]) -> BestWeights:
        """Return what training leaves behind, given how to ask whether it meets rho now."""
        self._full.parameters.flat.copy_(self._solver.flat)
        if self._network.history.best is not None:
            return self._network.history.best
        if self._network.met is not None and not meets_rho():
            return self._network.met  # the last iterations have left it again
        return self._weights()

    def _weights(self) -> BestWeights:
        return BestWeights(self._full.parameters.flat.clone(), float(self._full.beta))

    def _meets_rho(self) -> bool:
        """Return whether the activity over all rows is rho, if it is to be."""
        full = self._full
        return self._continuation is None or bool(
            is_met(to_numpy(full.activity()), to_numpy(full.rho))
        )

    def _take_stock(self, n_left: int) -> str | None:
        """Return a reason to stop after an iteration, if there is one; so many are left at most."""
        flat, score = self._full.parameters.flat, None
        if self._scorer is not None:
            score = self._scorer.scores(self._full.parameters)[0]
            self._keep_if_best(score)
        loss = self._looked_at[self._solver.value]
        self._looked_at.clear()
        return self._network.history.verdict(
            loss,
            score,
            lambda: flat,
            n_left=n_left,
            measure=self._full.measure,
        )

    def _keep_if_best(self, score: float) -> None:
        if self._network.history.is_better(score) and self._meets_rho():
            self._network.history.keep(score, self._weights())

    def _next_round(self) -> bool:
        """Go on with another beta and without memory of curvature, unless rho is met."""
        if self._continuation is None:
            return False
        full = self._full
        full.parameters.flat.copy_(self._solver.flat)
        activity = to_numpy(full.activity())
        if is_met(activity, to_numpy(full.rho)):
            self._network.met = self._weights()
        if not self._continuation.move(activity.item()):
            return False
        full.set_beta(self._continuation.beta)
        self._network.state.reset_patience()
        self._solver = LBFGS.begin(self._evaluate, self._solver.flat, self._rounding)
        return True


def _make_continuation(task: TrainingTask, full: FullObjective) -> BetaContinuation:
    """Return what moves beta, from where it stood or from a small one."""
    law = full.code.law
    assert law is not None
    if task.state and "beta" in task.state:
        beta = float(task.state["beta"])
    else:
        architecture = full.parameters.architecture
        n_components = architecture.n_components
        square = to_numpy(full.mean_square())
        beta = law.starting_beta(square, n_components, task.config.solver, full.divergence).item()
    full.set_beta(beta)
    return BetaContinuation(law, float(full.rho), task.config.max_iter, log(beta))
