"""The network at work: forward and backward.

Every tensor has a leading models axis, so that one and the same code trains one network or many
of one architecture side by side.

Layers work on columns as the UFLDL notes write them, a = f(W x + b): activations have shape
(n_models, n_units, n_rows), weights (n_models, n_out, n_in), biases and prelu slopes (n_models,
n_out, 1). So no product has a result of few columns, which libraries of matrix products are
slowest at: with rows throughout, the five products of a step take 5 to 25 % longer, and those of
a softmax of ten classes five times as long. Only the output layer of an autoencoder works on rows,
as the data come, x_hat = f(a^T W + b): (n_models, n_rows, n_features), (n_models, n_in, n_out) and
(n_models, 1, n_out).

The gradient is written out in closed form: with preallocated buffers a training step costs
little more than its matrix products, where autograd doubles them. Who multiplies, `products` says.
"""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor

from sksae.engine.parameters import Parameters
from sksae.engine.products import HalfProducts, Operand, Products, products_for


class Workspace:
    """Buffers of a batch's forward and backward pass.

    Attributes
    ----------
    pre, out, gradient : list of Tensor, in the shapes of the layers' activations
        Of each layer: pre-activation, activation, and dJ by the latter and then the former, times
        1 / share. ``pre`` and ``out`` are one buffer unless the activation needs both.
    passed : list of Tensor
        Of each layer what it passes on: ``out`` itself, or where units are dropped out times mask.
    masks : dict of int to Tensor
        Of each layer that drops units what its activations are multiplied by: to be drawn before
        each pass (see `noise`).
    share : float
        What a row counts in J.
    sharing : Tensor of shape (1, n_rows, 1)
        Full of it.
    shares, ones, ones_mT : Operand
        That, and ones, so that a product with it is these rows' part of a mean, or their sum.
    products : Products
        Who multiplies.
    network : Parameters
        Whose passes these are.

    Parameters
    ----------
    parameters : Parameters
        The network that the buffers are for.
    n_rows : int
        Rows of the batch.
    share : float, optional
        By default the batch is all there is, and its rows count 1 / n_rows.
    scratch : Workspace, optional
        One of as many rows, to share all buffers with except the encoder's activations.
    dropping : collection of int, optional
        Layers that drop units; the last one never does.
    half : bool, default=False
        Whether products are in bfloat16.
    """

    def __init__(
        self,
        parameters: Parameters,
        n_rows: int,
        share: float | None = None,
        scratch: "Workspace | None" = None,
        dropping: Collection[int] = (),
        *,
        half: bool = False,
    ) -> None:
        architecture, like, n_models = parameters.architecture, parameters.flat, parameters.n_models
        self.network = parameters
        n_hidden = architecture.n_layers - 1
        shapes = [
            (n_rows, n_units) if architecture.on_rows(layer) else (n_units, n_rows)
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
        self.masks = {layer: torch.ones_like(self.out[layer]) for layer in dropping}
        self.passed = [
            torch.empty_like(out) if layer in self.masks else out
            for layer, out in enumerate(self.out)
        ]
        self.share = 1.0 / n_rows if share is None else share
        self.sharing = like.new_full((1, n_rows, 1), self.share)
        device = like.device
        self.products = HalfProducts(device) if half else products_for(device)
        self._name_operands()

    def _name_operands(self) -> None:
        """Make what the products take, once for all passes."""
        self.pre_operands = [Operand(pre) for pre in self.pre]
        # What enters the layers but the first, and transposed.
        self.columns = [Operand(passed) for passed in self.passed[:-1]]
        self.columns_mT = [each.mT for each in self.columns]
        self.shares = Operand(self.sharing)
        self.ones = Operand(torch.ones_like(self.sharing))
        self.ones_mT = self.ones.mT
        self.deltas = [Operand(gradient) for gradient in self.gradient]
        self.last_delta_mT = self.deltas[-1].mT


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
    network, architecture = workspace.network, workspace.network.architecture
    for layer in layers or range(architecture.n_layers):
        weight, on_rows = network.operands[layer], architecture.on_rows(layer)
        if layer == 0:
            assert rows is not None
            entering = rows.mT
        else:
            entering = workspace.columns_mT[layer - 1] if on_rows else workspace.columns[layer - 1]
        left, right = (entering, weight) if on_rows else (weight, entering)
        workspace.products.affine(
            network.biases[layer],
            left,
            right,
            workspace.pre_operands[layer],
            architecture.gains[layer],
        )
        out = workspace.out[layer]
        network.activations[layer].apply(workspace.pre[layer], out, network.slopes[layer])
        if layer in workspace.masks:
            torch.mul(out, workspace.masks[layer], out=workspace.passed[layer])
    return workspace.passed[layer]


def sum_rows(workspace: Workspace, share: Operand | None = None) -> Tensor:
    """Return the sum over rows of the code times what a row counts, (n_models, n_components, 1).

    Parameters
    ----------
    workspace : Workspace
        As `forward` left it.
    share : Operand of (1, n_rows, 1), optional
        By default what the workspace says.
    """
    code = workspace.out[workspace.network.architecture.n_encoder_layers - 1]
    total = code.new_empty(*code.shape[:2], 1)
    workspace.products.multiply(Operand(code), share or workspace.shares, Operand(total))
    return total


def backward(
    workspace: Workspace, rows: Operand, gradient: Parameters, code_gradient: Tensor | None
) -> None:
    """Write the gradient of J by every parameter, times 1 / share, into ``gradient``.

    Call after `forward` over all layers, with dJ/doutput in ``workspace.gradient[-1]``. That and
    all gradients by activations are J's times 1 / share too: the share comes in last, by
    `finish`, at once for all parameters and parts of the rows.

    Parameters
    ----------
    workspace : Workspace
        As `forward` left it.
    rows : Operand of (n_models or 1, n_rows, n_features)
        What entered the first layer.
    gradient : Parameters
        Where the result is written.
    code_gradient : Tensor broadcastable to the code, or None
        dJ/dcode, times 1 / share, of the terms that act on the code itself: the sparsity penalty.
    """
    network, architecture = workspace.network, workspace.network.architecture
    products, code_layer = workspace.products, architecture.n_encoder_layers - 1
    for layer in range(architecture.n_layers - 1, -1, -1):
        delta, on_rows = workspace.deltas[layer], architecture.on_rows(layer)
        network.activations[layer].chain(
            workspace.gradient[layer],
            workspace.out[layer],
            workspace.pre[layer],
            network.slopes[layer],
            gradient.slopes[layer],
        )
        by_bias = gradient.bias_operands[layer]
        if on_rows:
            products.multiply(workspace.ones_mT, delta, by_bias)
            left, right = workspace.columns[layer - 1], delta
        else:
            products.multiply(delta, workspace.ones, by_bias)
            left, right = delta, workspace.columns_mT[layer - 1] if layer else rows
        _multiply_into(gradient, layer, products, left, right)
        if layer == 0:
            return
        back = network.operands[layer] if on_rows else network.operands_mT[layer]
        columns = workspace.last_delta_mT if on_rows else delta
        out, gain = workspace.deltas[layer - 1], architecture.gains[layer]
        by_code = code_gradient if layer - 1 == code_layer else None
        mask = workspace.masks.get(layer - 1)
        if by_code is not None and mask is None:
            products.affine(by_code, back, columns, out, gain)
            continue
        products.multiply(back, columns, out)
        if gain != 1.0:
            out.tensor.mul_(gain)
        if mask is not None:
            out.tensor.mul_(mask)
            if by_code is not None:
                # The penalty is on the code as it is, whatever of it is passed on.
                out.tensor.add_(by_code)


def _multiply_into(
    gradient: Parameters, layer: int, products: Products, left: Operand, right: Operand
) -> None:
    """Write the gradient by a layer's weights, or add it to what the decoder left of tied ones."""
    architecture, out = gradient.architecture, gradient.operands[layer]
    gain = architecture.gains[layer]
    if layer < architecture.n_encoder_layers and architecture.tied[layer]:
        products.affine(out.tensor.clone(), left, right, out, gain)
        return
    products.multiply(left, right, out)
    if gain != 1.0:
        out.tensor.mul_(gain)


def finish(
    gradient: Parameters,
    parts: Sequence[Parameters],
    share: float,
    network: Parameters,
    alpha: float = 0.0,
    decayed: Sequence[bool] = (),
) -> None:
    """Make the gradient of J of what `backward` left of one part of the rows and of others.

    Parameters
    ----------
    gradient : Parameters
        Of one part; in the end of all.
    parts : sequence of Parameters
        Of the others.
    share : float
        What a row counts in J.
    network : Parameters
        The network.
    alpha : float, default=0.0
        Weight decay whose gradient is added.
    decayed : sequence of bool, optional
        Of which layers; needed if alpha is not 0.
    """
    for part in parts:
        gradient.flat.add_(part.flat)
    if gradient.flat.device.type == "cpu":
        # numpy takes a quarter of torch's time where there is little to multiply.
        array = gradient.flat.numpy()
        np.multiply(array, share, out=array)
    else:
        gradient.flat.mul_(share)
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
