"""The network at work: forward and backward.

Every tensor has a leading models axis, so that one and the same code trains one network or many
of one architecture side by side.

Layers work on columns as the UFLDL notes write them, a = f(W x + b): activations have shape
(n_models, n_units, n_rows), weights (n_models, n_out, n_in), biases and other parameters of units
(n_models, n_out, 1). So no product has a result of few columns, which libraries of matrix products
are slowest at: with rows throughout, the five products of a step take 5 to 25 % longer, and those
of a softmax of ten classes five times as long. Only the output layer of an autoencoder works on
rows, as the data come, x_hat = f(a^T W + b): (n_models, n_rows, n_features), (n_models, n_in,
n_out) and (n_models, 1, n_out).

The gradient is written out in closed form: with preallocated buffers a training step costs
little more than its matrix products, where autograd doubles them. Who multiplies, `products` says.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from sksae.engine.parameters import Parameters
from sksae.engine.products import Affine, HalfProducts, Operand, Product, Products, products_for


class Workspace:
    """Buffers of a batch's forward and backward pass.

    Attributes
    ----------
    pre, out, gradient : list of Tensor, in the shapes of the layers' activations
        Of each layer: pre-activation, activation, and dJ by the latter and then the former, times
        1 / row_weight. ``pre`` and ``out`` are one buffer unless the activation needs both.
    passed : list of Tensor
        Of each layer what it passes on: ``out`` itself, or where units are dropped out times mask.
    masks : dict of int to Tensor
        Of each layer that drops units what its activations are multiplied by: to be drawn before
        each pass (see `noise`).
    row_weight : float
        What a row counts in J.
    row_weights : Tensor of shape (1, n_rows, 1)
        Full of it.
    network : Parameters
        Whose passes these are.
    affine, back_affine : list of callable
        Of each layer the products of both passes, which add what they are given (see `products`).
    back, by_bias, by_weight : list of callable
        Of each layer the products that lead back through it and to its gradient.

    Parameters
    ----------
    parameters : Parameters
        The network that the buffers are for.
    n_rows : int
        Rows of the batch.
    row_weight : float, optional
        By default the batch is all there is, and its rows count 1 / n_rows.
    scratch : Workspace, optional
        One of as many rows, to share all buffers with except the encoder's activations.
    masks : dict of int to Tensor, optional
        Of each layer that drops units, which the last one never does.
    half : bool, default=False
        Whether products are in bfloat16.
    """

    def __init__(
        self,
        parameters: Parameters,
        n_rows: int,
        row_weight: float | None = None,
        scratch: "Workspace | None" = None,
        masks: dict[int, Tensor] | None = None,
        *,
        half: bool = False,
    ) -> None:
        architecture, like, n_models = parameters.architecture, parameters.flat, parameters.n_models
        self.network = parameters
        n_hidden = architecture.n_layers - 1
        shapes = [
            (n_rows, n_units) if architecture.layout(layer) == "rows" else (n_units, n_rows)
            for layer, n_units in enumerate(architecture.sizes[1:])
        ]
        own = n_hidden + 1 if scratch is None else architecture.n_encoder_layers

        def buffers(n_layers: int) -> list[Tensor]:
            return [like.new_empty(n_models, *shape) for shape in shapes[:n_layers]]

        self.pre = buffers(own)
        self.out = [
            torch.empty_like(pre) if activation.keeps_pre else pre
            for pre, activation in zip(self.pre, parameters.activations, strict=False)
        ]
        if scratch is None:
            self.gradient = buffers(n_hidden + 1)
        else:
            self.pre += scratch.pre[own:]
            self.out += scratch.out[own:]
            self.gradient = scratch.gradient
        self.masks = masks or {}
        self.passed = [
            torch.empty_like(out) if layer in self.masks else out
            for layer, out in enumerate(self.out)
        ]
        self.row_weight = 1.0 / n_rows if row_weight is None else row_weight
        self.row_weights = like.new_full((1, n_rows, 1), self.row_weight)
        device = like.device
        self._products: Products = HalfProducts(device) if half else products_for(device)
        self._bind()

    def _bind(self) -> None:
        """Bind the products to the buffers: to look them up in every pass would cost as much."""
        network, architecture = self.network, self.network.architecture
        products = self._products
        self._pre = [Operand(pre) for pre in self.pre]
        self._deltas = [Operand(gradient) for gradient in self.gradient]
        # What enters the layers but the first.
        self._columns = [Operand(passed) for passed in self.passed[:-1]]
        self._ones = Operand(torch.ones_like(self.row_weights))
        self._rows: Operand | None = None
        self._gradient: Parameters | None = None
        self.by_bias: list[Product] = []
        self.by_weight: list[Product] = []
        self.affine: list[Affine] = [_unbound]
        self.back: list[Product] = [_unbound]
        self.back_affine: list[Affine] = [_unbound]
        for layer in range(1, architecture.n_layers):
            weight, input_scale = network.operands[layer], architecture.input_scales[layer]
            entering, before = self._columns[layer - 1], self._deltas[layer - 1]
            if architecture.layout(layer) == "rows":
                forth, back = (entering.mT, weight), (weight, self._deltas[layer].mT)
            else:
                forth, back = (weight, entering), (weight.mT, self._deltas[layer])
            self.affine.append(products.affine(*forth, self._pre[layer], input_scale))
            self.back.append(products.product(*back, before, input_scale))
            self.back_affine.append(products.affine(*back, before, input_scale))
        if architecture.n_encoder_layers:
            self._code = Operand(self.out[architecture.code_layer])
            self._total = Operand(self._code.tensor.new_empty(*self._code.tensor.shape[:2], 1))
            self._sum_rows = products.product(self._code, Operand(self.row_weights), self._total)

    def enter(self, rows: Operand) -> None:
        """Let passes be of some rows, (n_models or 1, n_rows, n_features)."""
        if self._rows is not None and rows.is_same_as(self._rows):
            return
        self._rows, self._gradient = rows, None
        self.affine[0] = self._products.affine(
            self.network.operands[0],
            rows.mT,
            self._pre[0],
            self.network.architecture.input_scales[0],
        )

    def forget_rows(self) -> None:
        """Let go of the rows that were entered, whose memory is nobody else's."""
        self._rows = self._gradient = None
        self.affine[0] = _unbound
        self.by_weight = []

    def lead_to(self, gradient: Parameters) -> None:
        """Let backward passes, of the rows that were entered, write there."""
        if gradient is self._gradient:
            return
        assert self._rows is not None
        self._gradient, architecture = gradient, gradient.architecture
        ones, products = self._ones, self._products
        self.by_bias, self.by_weight = [], []
        for layer, delta in enumerate(self._deltas):
            if architecture.layout(layer) == "rows":
                by_bias = (ones.mT, delta)
                by_weight = (self._columns[layer - 1], delta)
            else:
                by_bias = (delta, ones)
                by_weight = (delta, self._columns[layer - 1].mT if layer else self._rows)
            self.by_bias.append(products.product(*by_bias, gradient.bias_operands[layer]))
            out, input_scale = gradient.operands[layer], architecture.input_scales[layer]
            if layer < architecture.n_encoder_layers and architecture.tied[layer]:
                # To what the decoder has left there already.
                add = products.affine(*by_weight, out, input_scale)
                self.by_weight.append(partial(_add_to, out.tensor, add))
            else:
                self.by_weight.append(products.product(*by_weight, out, input_scale))

    def sum_rows(self, row_weights: Tensor | None = None) -> Tensor:
        """Return the sum over rows of the code times what a row counts; valid until the next call.

        Parameters
        ----------
        row_weights : Tensor of shape (1, n_rows, 1), optional
            By default what the workspace says.

        Returns
        -------
        total : Tensor of shape (n_models, n_components, 1)
        """
        if row_weights is None:
            self._sum_rows()
        else:
            self._products.product(self._code, Operand(row_weights), self._total)()
        return self._total.tensor


def _unbound(*_: object) -> None:
    raise AssertionError("no rows were entered")


def _add_to(tensor: Tensor, add: Affine) -> None:
    """Add to a tensor what a product would write there."""
    add(tensor.clone())


def forward(
    workspace: Workspace, rows: Operand | None = None, layers: range | None = None
) -> Tensor:
    """Send rows through the layers named (all by default) and return the last one's activation.

    Parameters
    ----------
    workspace : Workspace
        Where pre-activations and activations are left.
    rows : Operand of (n_models or 1, n_rows, n_features), optional
        What enters the first layer. Others go on from what the workspace holds.
    layers : range, optional
        Which layers.

    Returns
    -------
    out : Tensor
        A buffer of the workspace.
    """
    network = workspace.network
    if rows is not None:
        workspace.enter(rows)
    for layer in layers or range(len(workspace.affine)):
        workspace.affine[layer](network.biases[layer])
        out = workspace.out[layer]
        network.activations[layer].forward(workspace.pre[layer], out, network.units[layer])
        select = network.selectors[layer]
        if select is not None:
            select(out, -1 if network.architecture.layout(layer) == "rows" else -2)
        if layer in workspace.masks:
            torch.mul(out, workspace.masks[layer], out=workspace.passed[layer])
    return workspace.passed[layer]


def backward(workspace: Workspace, gradient: Parameters, code_gradient: Tensor | None) -> None:
    """Write the gradient of J by every parameter, times 1 / row_weight, into ``gradient``.

    Call after `forward` over all layers, with dJ/doutput in ``workspace.gradient[-1]``. That and
    all gradients by activations are J's times 1 / row_weight too: the row weight comes in last, by
    `finish`, at once for all parameters and parts of the rows.

    Parameters
    ----------
    workspace : Workspace
        As `forward` left it.
    gradient : Parameters
        Where the result is written.
    code_gradient : Tensor broadcastable to the code, or None
        dJ/dcode, times 1 / row_weight, of the terms that act on the code itself: the penalty.
    """
    network = workspace.network
    code_layer = network.architecture.code_layer
    workspace.lead_to(gradient)
    for layer in range(len(workspace.affine) - 1, -1, -1):
        network.activations[layer].backward(
            workspace.gradient[layer],
            workspace.out[layer],
            workspace.pre[layer],
            network.units[layer],
            gradient.units[layer],
        )
        workspace.by_bias[layer]()
        workspace.by_weight[layer]()
        if layer == 0:
            return
        by_code = code_gradient if layer - 1 == code_layer else None
        mask = workspace.masks.get(layer - 1)
        if by_code is not None and mask is None:
            workspace.back_affine[layer](by_code)
            continue
        workspace.back[layer]()
        if mask is not None:
            before = workspace.gradient[layer - 1].mul_(mask)
            if by_code is not None:
                # The penalty is on the code as it is, whatever of it is passed on.
                before.add_(by_code)


def finish(
    gradient: Parameters,
    row_weight: float,
    network: Parameters,
    alpha: float = 0.0,
    decayed: Sequence[bool] = (),
) -> None:
    """Make the gradient of J of what `backward` left.

    Parameters
    ----------
    gradient : Parameters
        What `backward` wrote, times 1 / row_weight.
    row_weight : float
        What a row counts in J.
    network : Parameters
        The network.
    alpha : float, default=0.0
        Weight decay whose gradient is added.
    decayed : sequence of bool, optional
        Of which layers; needed if alpha is not 0.
    """
    if gradient.flat.device.type == "cpu":
        # numpy takes a quarter of torch's time where there is little to multiply.
        array = gradient.flat.numpy()
        np.multiply(array, row_weight, out=array)
    else:
        gradient.flat.mul_(row_weight)
    if not alpha:
        return
    architecture = network.architecture
    if all(decayed) and not any(architecture.tied):
        gradient.all_weights.add_(network.all_weights, alpha=alpha)
        return
    for layer, owner in enumerate(architecture.owners):
        # Of tied weights both layers decay, where they do.
        if decayed[layer]:
            gradient.weights[owner].add_(network.weights[owner], alpha=alpha)
