"""Some rows of a minibatch, which one member of a crew takes through the network and back."""

from torch import Tensor

from sksae.engine.batches import Batch
from sksae.engine.losses import compare, weigh
from sksae.engine.network import Workspace, backward, finish, forward
from sksae.engine.objective import ObjectiveTerms, row_weights_of
from sksae.engine.parameters import Parameters
from sksae.engine.products import Operand


class Part:
    """Some rows of a minibatch, on their way through the network and back.

    Attributes
    ----------
    row_weights : Tensor of shape (1, n_rows, 1)
        What each row counts in a mean.
    losses : Tensor of shape (n_models, n_rows)
        From which `Loss.values` makes the loss of each row.
    row_penalty : Tensor of shape (n_models, n_rows) or None
        Where S is a mean over rows.

    Parameters
    ----------
    which : slice
        Rows of the minibatch.
    workspace : Workspace
        Buffers.
    gradient : Parameters
        Where to write.
    terms : ObjectiveTerms
        Of J.
    is_part : bool
        Whether there are others.
    """

    def __init__(
        self,
        which: slice,
        workspace: Workspace,
        gradient: Parameters,
        terms: ObjectiveTerms,
        *,
        is_part: bool,
    ) -> None:
        self.workspace, self.gradient = workspace, gradient
        self._which, self._is_part, self._terms = which, is_part, terms
        self._encoder = range(workspace.network.architecture.n_encoder_layers)
        self._source: Tensor | None = None

    def take(self, batch: Batch) -> None:
        """Begin with a minibatch."""
        rows, target, weight = batch
        if self._is_part:
            target = target[:, self._which]
            weight = None if weight is None else weight[:, self._which]
        self._target, self._weight = target, weight
        if rows is not self._source:
            self._source = rows
            self.workspace.enter(Operand(rows[:, self._which] if self._is_part else rows))
        self.row_weights = row_weights_of(self.workspace, weight)
        self._is_encoded = False

    @property
    def is_weighted(self) -> bool:
        """Whether rows differ in what they count."""
        return self._weight is not None

    def encode(self) -> Tensor:
        """Go as far as the code; return the sum over rows of what it counts."""
        forward(self.workspace, layers=self._encoder)
        self._is_encoded = True
        return self.workspace.sum_rows(self.row_weights if self.is_weighted else None)

    def go_back(self, mean_code: Tensor | None) -> None:
        """Go on to the output and all the way back."""
        workspace, terms, weight = self.workspace, self._terms, self._weight
        architecture = workspace.network.architecture
        first = len(self._encoder) if self._is_encoded else 0
        output = forward(workspace, layers=range(first, architecture.n_layers))
        error = workspace.gradient[-1]
        self.losses = compare(architecture, terms.loss, output, self._target, error)
        if weight is not None:
            weigh(architecture, error, weight)
        code = workspace.out[terms.code_layer]
        self.row_penalty = None if mean_code is not None else terms.code.row_penalty(code)
        backward(workspace, self.gradient, terms.code_gradient(code, mean_code, weight))
        # The weights of the whole batch decay once.
        alpha = (terms.common_alpha or 0.0) if self._which.start == 0 else 0.0
        finish(self.gradient, workspace.row_weight, workspace.network, alpha, terms.decayed)
