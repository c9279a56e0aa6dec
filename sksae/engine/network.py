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
little more than its matrix products, where autograd doubles them.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from sksae.engine.parameters import Parameters


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
    sharing : Tensor of shape (n_models, n_rows, 1)
        Full of it, so that a product with it is these rows' part of a mean: cheaper than a sum.

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
    """

    def __init__(
        self,
        parameters: Parameters,
        n_rows: int,
        share: float | None = None,
        scratch: "Workspace | None" = None,
        dropping: Collection[int] = (),
    ) -> None:
        architecture, like, n_models = parameters.architecture, parameters.flat, parameters.n_models
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
        self.sharing = like.new_full((n_models, n_rows, 1), self.share)


def forward(
    parameters: Parameters, columns: Tensor, workspace: Workspace, layers: range | None = None
) -> Tensor:
    """Send columns through the layers named (all by default) and return the last one's activation.

    Parameters
    ----------
    parameters : Parameters
        The network.
    columns : Tensor of shape (n_models or 1, n_in, n_rows)
        What enters the first of the layers: the rows transposed, or a hidden activation.
    workspace : Workspace
        Where pre-activations and activations are left.
    layers : range, optional
        Which layers.

    Returns
    -------
    out : Tensor
        A buffer of the workspace.
    """
    architecture = parameters.architecture
    for layer in layers or range(architecture.n_layers):
        weight, bias = parameters.weights[layer], parameters.biases[layer]
        pre, out = workspace.pre[layer], workspace.out[layer]
        gain = architecture.gains[layer]
        if columns.shape[0] < parameters.n_models:
            # What all models share goes through their weights in a single product.
            torch.addmm(_stack(bias), _stack(weight), columns[0], alpha=gain, out=_stack(pre))
        elif architecture.on_rows(layer):
            torch.baddbmm(bias, columns.mT, weight, alpha=gain, out=pre)
        else:
            torch.baddbmm(bias, weight, columns, alpha=gain, out=pre)
        parameters.activations[layer].apply(pre, out, parameters.slopes[layer])
        columns = workspace.passed[layer]
        if layer in workspace.masks:
            torch.mul(out, workspace.masks[layer], out=columns)
    return columns


def _stack(models: Tensor) -> Tensor:
    """View the matrices of all models as one, each below the one before."""
    return models.view(-1, models.shape[-1])


def sum_rows(columns: Tensor, sharing: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the sum over rows of columns times what a row counts.

    Parameters
    ----------
    columns : Tensor of shape (n_models, n_units, n_rows)
        Of one model, or contiguous.
    sharing : Tensor of shape (n_models, n_rows, 1)
        The same for all models.
    out : Tensor of shape (n_models, n_units, 1), optional
        Where to write.
    """
    if len(columns) == 1:
        return torch.bmm(columns, sharing, out=out)
    # A batch of products with a vector each is ten times slower than one such product.
    total = torch.mv(_stack(columns), sharing[0, :, 0], out=None if out is None else out.view(-1))
    return total.view(*columns.shape[:2], 1)


def backward(
    parameters: Parameters,
    rows: Tensor,
    workspace: Workspace,
    gradient: Parameters,
    code_gradient: Tensor | None,
    alpha: float = 0.0,
    decayed: Sequence[bool] = (),
) -> None:
    """Write the gradient of J by every parameter into ``gradient``.

    Call after `forward` over all layers, with dJ/doutput in ``workspace.gradient[-1]``. That and
    all gradients by activations are J's times 1 / share: the share comes in with the products
    that sum over rows, where a factor costs nothing, and so does the weight decay.

    Parameters
    ----------
    parameters : Parameters
        The network.
    rows : Tensor of shape (n_models or 1, n_rows, n_features)
        What entered the first layer, transposed.
    workspace : Workspace
        As `forward` left it.
    gradient : Parameters
        Where the result is written.
    code_gradient : Tensor broadcastable to the code, or None
        dJ/dcode, times 1 / share, of the terms that act on the code itself: the sparsity penalty.
    alpha : float, default=0.0
        Weight decay whose gradient is added.
    decayed : sequence of bool, optional
        Of which layers; needed if alpha is not 0.
    """
    architecture = parameters.architecture
    last, code_layer = architecture.n_layers - 1, architecture.n_encoder_layers - 1
    for layer in range(last, -1, -1):
        delta, weight = workspace.gradient[layer], parameters.weights[layer]
        gain, on_rows = architecture.gains[layer], architecture.on_rows(layer)
        by_weight, by_bias = gradient.weights[layer], gradient.biases[layer]
        parameters.activations[layer].chain(
            delta,
            workspace.out[layer],
            workspace.pre[layer],
            parameters.slopes[layer],
            gradient.slopes[layer],
        )
        if on_rows:
            columns = delta.mT
            left, right = workspace.passed[layer - 1], delta
            torch.sum(delta, dim=1, keepdim=True, out=by_bias).mul_(workspace.share)
        else:
            columns = delta
            left, right = delta, workspace.passed[layer - 1].mT if layer else rows
            sum_rows(delta, workspace.sharing, out=by_bias)
        # What the product is added to: nothing, as at 0 it takes nothing from its first argument;
        # the weight decay; or, of tied weights, what the decoder has left there already.
        is_mirrored = layer < architecture.n_encoder_layers and architecture.tied[layer]
        if is_mirrored:
            before, kept = by_weight, 1.0
        else:
            # Of tied weights both layers decay, where they do.
            decay = alpha and alpha * sum(decayed[k] for k in {layer, architecture.owners[layer]})
            before, kept = (weight, decay) if decay else (by_weight, 0.0)
        factors = {"beta": kept, "alpha": workspace.share * gain}
        if right.shape[0] < parameters.n_models:
            out = _stack(by_weight)
            torch.addmm(_stack(before), _stack(left), right[0], **factors, out=out)
        else:
            torch.baddbmm(before, left, right, **factors, out=by_weight)
        if layer == 0:
            break
        back, out = weight if on_rows else weight.mT, workspace.gradient[layer - 1]
        by_code = code_gradient if layer - 1 == code_layer else None
        mask = workspace.masks.get(layer - 1)
        if by_code is not None and mask is None:
            torch.baddbmm(by_code, back, columns, alpha=gain, out=out)
            continue
        if gain == 1.0:
            torch.bmm(back, columns, out=out)
        else:
            torch.baddbmm(out, back, columns, beta=0.0, alpha=gain, out=out)
        if mask is not None:
            out.mul_(mask)
            if by_code is not None:
                # The penalty is on the code as it is, whatever of it is passed on.
                out.add_(by_code)
    for slope in gradient.slopes:
        if slope is not None:
            slope.mul_(workspace.share)
