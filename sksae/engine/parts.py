"""Some rows of a minibatch, which one member of a crew takes through the network and back.

Where memory has ended, parts take their turns with the same buffers. What a part has computed is
then lost when the next one begins, and is computed again where it is needed.
"""

from torch import Tensor

from sksae.engine.activity import measured_by_row
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
    takes_turns : bool
        Whether other parts have the same buffers.
    by_row : tuple of Tensor of shape (n_models, n_rows)
        Of parts that take turns: what `measured_by_row` says of the code.

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
    decays : bool
        Whether the decay of weights is part of its gradient.
    masks : dict of int to Tensor
        Of the workspace: what the activations of each layer that drops units are multiplied by.
    total : Parameters, optional
        For parts that take turns with the workspace and the gradient: where their gradients are
        added up.
    read_as : str, optional
        The code that activations are of.
    """

    def __init__(
        self,
        which: slice,
        workspace: Workspace,
        gradient: Parameters,
        terms: ObjectiveTerms,
        *,
        is_part: bool,
        decays: bool,
        masks: dict[int, Tensor],
        total: Parameters | None = None,
        read_as: str | None = None,
    ) -> None:
        self.workspace, self.gradient = workspace, gradient
        self._masks, self._total, self._read_as = masks, total, read_as
        self.takes_turns = total is not None
        self._which, self._is_part, self._terms = which, is_part, terms
        self._decays = decays
        self._encoder = range(workspace.network.architecture.n_encoder_layers)
        self._source: Tensor | None = None

    def take(self, batch: Batch) -> None:
        """Begin with a minibatch."""
        rows, target, weight = batch[:3]
        if self._is_part:
            target = target[:, self._which]
            weight = None if weight is None else weight[:, self._which]
        self._target, self._weight = target, weight
        if rows is not self._source or self.takes_turns:
            self._source = rows
            self._enter()
        self.row_weights = row_weights_of(self.workspace, weight)
        self._is_encoded = self._is_back = False

    def _enter(self) -> None:
        assert self._source is not None
        self.workspace.masks = self._masks
        rows = self._source[:, self._which] if self._is_part else self._source
        self.workspace.enter(Operand(rows))

    @property
    def is_weighted(self) -> bool:
        """Whether rows differ in what they count."""
        return self._weight is not None

    def encode(self) -> Tensor:
        """Go as far as the code; return the sum over rows of what it counts."""
        if self.takes_turns:
            self._enter()
        forward(self.workspace, layers=self._encoder)
        self._is_encoded = not self.takes_turns
        total = self.workspace.sum_rows(self.row_weights if self.is_weighted else None)
        return total.clone() if self.takes_turns else total

    def code(self) -> Tensor:
        """Return the code, valid until another part takes its turn."""
        if self.takes_turns:
            self.encode()
        return self.workspace.out[self._terms.code_layer]

    def error(self, mean_code: Tensor | None) -> Tensor:
        """Return the gradient of the loss by what enters the output's activation, as `go_back`."""
        if not self.takes_turns:
            return self.workspace.gradient[-1]
        self._to_the_start(mean_code)
        return self.workspace.gradient[-1].clone()

    def go_back(self, mean_code: Tensor | None) -> None:
        """Go on to the output and all the way back."""
        self._to_the_start(mean_code)
        if self._total is not None:
            self._total.flat.add_(self.gradient.flat)
            self._note_code()

    def make_up(self, mean_code: Tensor | None) -> None:
        """Find what `go_back` leaves behind but for the gradient, if others have gone back."""
        if self.takes_turns and not self._is_back:
            self._to_the_start(mean_code)
            self._note_code()

    def _note_code(self) -> None:
        """Keep of the code what is asked for after others have had their turns."""
        self._is_back = True
        architecture, layer = self.workspace.network.architecture, self._terms.code_layer
        if architecture.n_encoder_layers:
            code = self.workspace.out[layer]
            self._is_active = code.any(dim=2, keepdim=True)
            self.by_row = measured_by_row(code, self._read_as, architecture.activations[layer])

    def find_active(self) -> Tensor:
        """Return which units are active in some row, shape (n_models, n_components, 1)."""
        return self._is_active if self.takes_turns else self.code().any(dim=2, keepdim=True)

    def _to_the_start(self, mean_code: Tensor | None) -> None:
        """Leave the gradient of these rows in ``gradient``."""
        if self.takes_turns:
            self._enter()
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
        alpha = (terms.common_alpha or 0.0) if self._decays else 0.0
        finish(self.gradient, workspace.row_weight, workspace.network, alpha, terms.decayed)
