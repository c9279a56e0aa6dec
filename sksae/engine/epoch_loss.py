"""J averaged over the minibatches of an epoch, for the loss curve."""

import torch
from torch import Tensor

from sksae.engine.activity import to_numpy
from sksae.engine.device import to_float64
from sksae.engine.objective import ObjectiveTerms, TermsOfJ
from sksae.engine.parameters import Parameters
from sksae.model.tasks import State
from sksae.process.processes import ALONE, Processes

# Of how many batches the values by row are kept before they are added up.
ADDED_TOGETHER = 256


class EpochLoss:
    """Averages J over the minibatches since it was last asked for.

    Values of rows are kept, and added up for many batches at once: to do that at every step would
    cost more than the products of a small network.

    Parameters
    ----------
    terms : ObjectiveTerms
        Of J.
    processes : Processes
        Who has the other rows of minibatches.

    Attributes
    ----------
    beta_drift : Tensor of shape (n_models,), float64
        How much of the last epoch's loss is due to moves of beta since the first. Without it the
        losses of all epochs compare, as if each were measured with the beta of the one before.
    """

    def __init__(self, terms: ObjectiveTerms, processes: Processes = ALONE) -> None:
        self._terms, self._processes = terms, processes
        self._zero = torch.zeros_like(self._beta())
        self.beta_drift = self._zero
        self._beta_before: Tensor | None = None
        self._begin_anew()
        self._forget()

    def _begin_anew(self) -> None:
        # Sums over own rows, and what is the same in all processes.
        self._error = self._row_penalty = self._penalty = self._zero
        self._n_added = 0

    def _forget(self) -> None:
        self._n_kept = 0
        self._row_weights: list[Tensor] = []
        self._losses: list[Tensor] = []
        self._row_penalties: list[Tensor] = []
        self._mean_codes: list[Tensor] = []

    def _beta(self) -> Tensor:
        return to_float64(self._terms.beta[:, 0, 0])

    def add_rows(self, row_weights: Tensor, losses: Tensor, row_penalty: Tensor | None) -> None:
        """Add some rows of a minibatch.

        Parameters
        ----------
        row_weights : Tensor of shape (1, n_rows, 1)
            What each counts.
        losses : Tensor of shape (n_models, n_rows)
            From which `Loss.values` makes the loss of each.
        row_penalty : Tensor of shape (n_models, n_rows) or None
            Whose mean is S, if it is a mean over rows.
        """
        self._row_weights.append(row_weights)
        self._losses.append(losses)
        if row_penalty is not None:
            self._row_penalties.append(row_penalty)

    def end_batch(self, mean_code: Tensor | None) -> None:
        """Note that all rows of a minibatch were added.

        Parameters
        ----------
        mean_code : Tensor of shape (n_models, n_components, 1) or None
            The running mean, if S is a function of it.
        """
        if mean_code is not None:
            self._mean_codes.append(mean_code)
        self._n_kept += 1
        if self._n_kept == ADDED_TOGETHER:
            self._add_up()

    def take(self, parameters: Parameters) -> TermsOfJ:
        """Return J and its terms averaged over the batches since the last call.

        The weight decay is that of the weights now, and beta what it is by now.
        """
        self._add_up()
        of_rows = self._processes.sum_(torch.stack([self._error, self._row_penalty]))
        beta, penalty = self._beta(), (self._penalty + of_rows[1]) / self._n_added
        error, sparsity = of_rows[0] / self._n_added, beta * penalty
        decay = to_float64(self._terms.weight_decay(parameters))
        if self._beta_before is not None:
            self.beta_drift = self.beta_drift + (beta - self._beta_before) * penalty
        self._beta_before = beta.clone()
        self._begin_anew()
        return TermsOfJ(error + sparsity + decay, error, sparsity, decay)

    def of_models(self, terms: ObjectiveTerms, models: list[int]) -> "EpochLoss":
        """Return the epoch loss of some models, with terms of their own; at the end of an epoch."""
        rest = EpochLoss(terms, self._processes)
        rest.beta_drift = self.beta_drift[models]
        if self._beta_before is not None:
            rest._beta_before = self._beta_before[models]
        return rest

    def state(self) -> State:
        """Return what the losses of later epochs depend on; at the end of an epoch."""
        state = {"drift": to_numpy(self.beta_drift)}
        if self._beta_before is not None:
            state["beta_before"] = to_numpy(self._beta_before)
        return state

    def restore(self, state: State) -> None:
        """Go on from a `state`."""
        self.beta_drift = self._zero.new_tensor(state["drift"])
        if "beta_before" in state:
            self._beta_before = self._zero.new_tensor(state["beta_before"])

    def _add_up(self) -> None:
        """Add up what is kept, so that it does not grow with the epoch."""
        if self._n_kept == 0:
            return
        terms = self._terms
        row_weights = torch.cat(self._row_weights, dim=1)[..., 0]
        error = (terms.loss.values(torch.cat(self._losses, dim=1)) * row_weights).sum(dim=1)
        self._error = self._error + to_float64(error)
        if self._mean_codes:
            mean_codes = torch.cat(self._mean_codes, dim=2)
            penalty = terms.code.mean_penalty(mean_codes, terms.rho)
            self._penalty = self._penalty + to_float64(penalty)
        if self._row_penalties:
            penalty = (torch.cat(self._row_penalties, dim=1) * row_weights).sum(dim=1)
            self._row_penalty = self._row_penalty + to_float64(penalty)
        self._n_added += self._n_kept
        self._forget()
