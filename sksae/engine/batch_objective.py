"""What objectives over minibatches have in common: their terms, the control of beta, the epoch."""

from collections.abc import Callable
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from torch import Tensor

from sksae.engine.activity import to_numpy
from sksae.engine.batches import Batch
from sksae.engine.beta_controller import OPEN_END, BetaController
from sksae.engine.epoch_loss import EpochLoss
from sksae.engine.gradient_of_all import GradientOfAll
from sksae.engine.losses import Loss
from sksae.engine.objective import ObjectiveTerms, TermsOfJ
from sksae.engine.parameters import Parameters
from sksae.engine.portions import Portions
from sksae.engine.threads import Crew
from sksae.model.settings import TOLERANCE, Penalties
from sksae.model.states import prefixed, unprefixed
from sksae.model.tasks import CodeMeasured, State
from sksae.process.processes import ALONE, Processes


class TakesRows(Protocol):
    """Some rows of a minibatch, which one member of a crew works on."""

    def take(self, batch: Batch) -> None:
        """Begin with a minibatch."""


P = TypeVar("P", bound=TakesRows)
T = TypeVar("T")


class BatchObjective(Generic[P]):
    """J and its gradient over one minibatch after another.

    Parameters
    ----------
    penalties : Penalties
        The terms of J.
    parameters : Parameters
        The networks; moved by a solver between calls.
    loss : Loss
        Of the output.
    window : int, default=1
        Batches over which activity is averaged.
    n_steps : int, optional
        Batches to come, as far as is known; by which beta="auto" paces itself.
    solver : str, default="adam"
        Who moves the parameters.
    pace : float, default=1.0
        For how many steps each step counts (see `TrainingConfig`).
    crew : Crew, optional
        Who shares the rows of large minibatches.
    processes : Processes
        Who has the other rows of a minibatch.
    half : bool, default=False
        Whether products are in bfloat16.
    state : dict of ndarray, optional
        What `state` gave, when a training goes on.
    **others
        What else the kind of objective takes.

    Attributes
    ----------
    gradient : Parameters
        That of J by the last minibatch.
    """

    def __init__(
        self,
        penalties: Penalties,
        parameters: Parameters,
        loss: Loss,
        *,
        window: int = 1,
        n_steps: int = OPEN_END,
        solver: str = "adam",
        pace: float = 1.0,
        crew: Crew | None = None,
        processes: Processes = ALONE,
        half: bool = False,
        state: dict[str, np.ndarray] | None = None,
        **others: Any,
    ) -> None:
        self.parameters, self._processes = parameters, processes
        self._terms = ObjectiveTerms(penalties, parameters, loss)
        self._gradient_of_all = GradientOfAll(
            parameters,
            processes,
            # Of those that may die.
            tells_of_units=parameters.architecture.is_dictionary or bool(self._terms.is_auto.any()),
        )
        self.gradient = self._gradient_of_all.gradient
        self._window, self._n_steps, self._solver, self._pace = window, n_steps, solver, pace
        self._crew, self._half, self._others = crew or Crew(1), half, others
        self._controller = self._make_controller(state or {}) if self._terms.is_auto.any() else None
        self._epoch_loss = EpochLoss(self._terms, processes)
        # By the number of rows, its own and all.
        self._parts: dict[tuple[int, int], list[P]] = {}
        # Those of the last minibatch.
        self._last: list[P] = []
        # A member of the crew works on all its rows at once, until memory ends.
        self._portions = Portions()

    def _on_parts(self, batch: Batch, work: Callable[[list[P]], T]) -> T:
        """Do a piece of the work on a minibatch; again, on smaller parts, where memory ends.

        Parameters
        ----------
        batch : Batch
            The minibatch.
        work : callable
            ``work(parts)`` changes nothing that it depends on. Parts that take turns hold nothing
            of what was done on them before.
        """
        return self._portions.until_done(
            lambda: work(self._last or self._parts_of(batch)),
            lambda: batch.rows.shape[1],
            self._let_go_of_parts,
        )

    def _let_go_of_parts(self) -> None:
        """Give up the buffers of all parts."""
        self._last = []
        self._parts.clear()

    def _parts_of(self, batch: Batch) -> list[P]:
        """Divide a minibatch among the members of the crew, or into parts that take turns."""
        key = batch.rows.shape[1], batch.n_together
        if key not in self._parts:
            self._parts[key] = self._make_parts(*key)
        parts = self._parts[key]
        for part in parts:
            part.take(batch)
        self._last = parts
        return parts

    def _make_parts(self, n_rows: int, n_together: int) -> list[P]:
        """Return what so many rows are divided into, of so many that all processes have."""
        raise NotImplementedError

    def _make_controller(self, state: dict[str, np.ndarray]) -> BetaController:
        """Return what moves beta, from where it stood."""
        terms, law = self._terms, self._terms.code.law
        assert law is not None
        return BetaController(
            law,
            terms.code.activity if terms.code.penalises_means else None,
            terms.rho,
            terms.beta,
            terms.is_auto,
            window=self._window,
            n_steps=self._n_steps,
            solver=self._solver,
            pace=self._pace,
            divergence=terms.divergence,
            state=state,
        )

    def _start_control(self, batch: Batch) -> None:
        """Let beta set out from what the first minibatch says, where it is to be found."""
        if self._controller is None or self._controller.has_started:
            return
        squares = batch.rows.square().sum(dim=2, keepdim=True)
        weighted = squares if batch.weight is None else squares * batch.weight
        total = self._processes.sum_(weighted.sum(dim=(1, 2)))
        self._controller.start(to_numpy(total / batch.n_together))

    def __call__(self, batch: Batch) -> None:
        """Write the gradient by one minibatch into ``gradient``, and keep what J was."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Hear that the solver has moved the parameters."""

    @property
    def beta(self) -> Tensor:
        """Weight of S by now, shape (n_models,)."""
        return self._terms.beta[:, 0, 0]

    def measure(self, model: int, sparsity: str | None) -> CodeMeasured | None:
        """Return what a model's code of the last minibatch is like; None where it has none.

        Parameters
        ----------
        model : int
            Which.
        sparsity : str or None
            The name of the code.
        """
        raise NotImplementedError

    def ends_in(self, n_steps: int, model: int) -> None:
        """Hear that a model's training ends after so many more batches."""
        if self._controller is not None:
            self._controller.n_left[model] = n_steps

    def is_settled(self, tolerance: float = TOLERANCE) -> np.ndarray:
        """Return whether the activity is what a beta to be found shall make it, (n_models,).

        True where beta is given.
        """
        if self._controller is None:
            return np.ones(self.parameters.n_models, dtype=bool)
        return self._controller.is_settled(tolerance)

    def epoch_loss(self) -> TermsOfJ:
        """Return J and its terms averaged over the batches since the last call."""
        return self._epoch_loss.take(self.parameters)

    @property
    def beta_drift(self) -> Tensor:
        """How much of the last epoch's loss is due to moves of beta (see `EpochLoss`)."""
        return self._epoch_loss.beta_drift

    def state(self, models: list[int] | None = None) -> dict[str, np.ndarray]:
        """Return what the next minibatch's gradient depends on besides the parameters.

        Of some models, or of all; arrays are (n_models, ...) or common to all models.
        """
        state = {} if self._controller is None else self._controller.state()
        state |= self._own_state()
        if models is None:
            return state
        return {
            name: value if value.ndim == 0 or len(value) == 1 else value[models]
            for name, value in state.items()
        }

    def epoch_state(self) -> State:
        """Return what later epochs of this training depend on besides `state`; of one model."""
        state = prefixed("epoch_loss", self._epoch_loss.state())
        if self._controller is not None:
            state["n_left"] = self._controller.n_left
        return state

    def restore(self, epoch_state: State) -> None:
        """Go on from an `epoch_state`."""
        self._epoch_loss.restore(unprefixed("epoch_loss", epoch_state))
        if self._controller is not None:
            self._controller.n_left = epoch_state["n_left"].copy()

    def _own_state(self) -> dict[str, np.ndarray]:
        """Return what the kind of objective knows besides."""
        return {}

    def part(self, penalties: Penalties, parameters: Parameters, models: list[int]) -> Self:
        """Return the objective of some of the models, to go on with at the end of an epoch.

        Parameters
        ----------
        penalties : Penalties
            Theirs.
        parameters : Parameters
            Theirs.
        models : list of int
            Which they are.
        """
        rest = type(self)(
            penalties,
            parameters,
            self._terms.loss,
            window=self._window,
            n_steps=self._n_steps,
            solver=self._solver,
            pace=self._pace,
            crew=self._crew,
            processes=self._processes,
            half=self._half,
            state=self.state(models),
            **self._others,
        )
        rest._epoch_loss = self._epoch_loss.of_models(rest._terms, models)
        if self._controller is not None and rest._controller is not None:
            rest._controller.n_left = self._controller.n_left[models]
        return rest
