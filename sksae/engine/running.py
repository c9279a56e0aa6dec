"""One of the networks that are trained: how far it has come, and who hears of that."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from sksae.engine.history import BestWeights, History
from sksae.engine.run_state import RunState
from sksae.model.states import as_text, from_text, prefixed, unprefixed
from sksae.model.tasks import State, TrainingTask
from sksae.process.processes import Processes


@dataclass
class Running:
    """One of the networks that are trained.

    Attributes
    ----------
    task : TrainingTask
        What it is trained for.
    state : RunState
        How far it has come.
    history : History
        Who hears of its epochs.
    met : BestWeights or None
        When rho was met last, to go by the last minibatches, where beta is to be found.
    """

    task: TrainingTask
    state: RunState
    history: History
    met: BestWeights | None = None

    @classmethod
    def begin(
        cls,
        task: TrainingTask,
        like: Tensor,
        steps_per_epoch: int = 1,
        *,
        has_scorer: bool,
        processes: Processes,
    ) -> Self:
        """Return a network before its first step, or where its training was interrupted.

        Parameters
        ----------
        task : TrainingTask
            What the network is trained for.
        like : Tensor
            In the precision and on the device of its parameters.
        steps_per_epoch : int, default=1
            Steps that an epoch has.
        has_scorer : bool
            Whether rows are held out.
        processes : Processes
            Who trains it.
        """
        state = RunState.begin(
            task.config,
            steps_per_epoch=steps_per_epoch,
            finds_beta=task.finds_beta,
            has_scorer=has_scorer,
        )
        stood = task.interrupted_at
        if stood is not None:
            state = RunState.of(from_text(stood["run"]))
        history = History(state, task.config.failure, task.monitor, processes)
        met = None
        if stood is not None:
            history.best = BestWeights.of(unprefixed("best", stood), like)
            met = BestWeights.of(unprefixed("met", stood), like)
        return cls(task, state, history, met)

    def standing(self) -> State:
        """Return how far it has come, as arrays."""
        standing = {"run": as_text(self.state.as_dict())}
        for name, weights in (("best", self.history.best), ("met", self.met)):
            if weights is not None:
                standing |= prefixed(name, weights.state())
        return standing

    @property
    def may_go_on(self) -> bool:
        """Whether there is overtime left in which to meet rho."""
        return self.state.may_go_on(has_best=self.history.best is not None)
