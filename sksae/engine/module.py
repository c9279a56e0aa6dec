"""A fitted network as a `torch.nn.Module` that anybody may train further, by autograd.

Rows are centred before they are scaled, as everywhere in sksae, so that no digit of rows far from 0
is lost; biases of the first layer are those for centred rows.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sksae.model.network import FittedNetwork, Layer

# What units have that no gradient leads to: a step at a threshold has none.
WITHOUT_GRADIENT = ("threshold",)
# By how much rounding may move biases, and with them pre-activations.
BIAS_ERROR = 1e-6


def as_tensor(array: np.ndarray | float, dtype: torch.dtype, what: str) -> Tensor:
    """Return a copy of numbers in a precision, or raise a ValueError if it has no room for them."""
    found = torch.tensor(np.asarray(array), dtype=dtype, device="cpu")
    if not found.isfinite().all():
        raise ValueError(f"The model's {what} is beyond the range of {dtype}: use dtype='float64'.")
    return found


class LayerModule(nn.Module):
    """One layer, f(input_scale * x W^T + b), of which it keeps some units.

    Parameters
    ----------
    layer : Layer
        What was fitted.
    dtype : torch.dtype
        Of parameters and buffers.
    has_weight : bool
        Whether W is the layer's own; else each call is given one.
    """

    weight: nn.Parameter | None
    slope: Tensor
    threshold: Tensor
    log_gain: Tensor
    offset: Tensor
    input_scale: Tensor | None
    least: Tensor | None

    def __init__(self, layer: Layer, dtype: torch.dtype, *, has_weight: bool = True) -> None:
        super().__init__()
        self.activation, self.n_units = layer.activation, layer.coef.shape[1]
        weight = nn.Parameter(as_tensor(layer.coef.T, dtype, "weights")) if has_weight else None
        self.register_parameter("weight", weight)
        self.bias = nn.Parameter(as_tensor(layer.intercept, dtype, "biases"))
        for name, array in layer.units.items():
            values = as_tensor(array, dtype, name)
            if name in WITHOUT_GRADIENT:
                self.register_buffer(name, values)
            else:
                self.register_parameter(name, nn.Parameter(values))
        least = None if layer.kept is None else layer.kept.threshold
        self.n_active = None if layer.kept is None else layer.kept.n_active
        self._set_buffer("least", least)
        self._set_buffer("input_scale", None if layer.input_scale == 1.0 else layer.input_scale)

    def _set_buffer(self, name: str, number: float | None) -> None:
        dtype = self.bias.dtype
        self.register_buffer(name, None if number is None else as_tensor(number, dtype, name))

    def forward(self, rows: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return activations, (n_rows, n_units)."""
        if self.input_scale is not None:
            rows = rows * self.input_scale
        weight = self.weight if weight is None else weight
        assert weight is not None
        pre = functional.linear(rows, weight, self.bias)
        return self._select(self._activate(pre))

    def _activate(self, pre: Tensor) -> Tensor:
        zero = pre.new_zeros(())
        match self.activation:
            case "sigmoid":
                return torch.sigmoid(pre)
            case "tanh":
                return torch.tanh(pre)
            case "relu":
                return torch.relu(pre)
            case "prelu":
                return torch.where(pre > 0, pre, self.slope * pre)
            case "jumprelu":
                return torch.where(pre <= self.threshold, zero, pre)
            case "gated":
                magnitudes = torch.relu(pre * torch.exp(self.log_gain) + self.offset)
                return torch.where(pre <= 0, zero, magnitudes)
        return pre

    def _select(self, code: Tensor) -> Tensor:
        if self.least is not None:
            return torch.where(code <= self.least, code.new_zeros(()), code)
        if self.n_active is None or self.n_active >= self.n_units:
            return code
        values, units = code.topk(self.n_active, dim=-1)
        return torch.zeros_like(code).scatter(-1, units, values)

    def is_like(self, other: nn.Module | None) -> bool:
        """Return whether another module computes the same of the same parameters."""
        return isinstance(other, LayerModule) and (other.activation, other.n_active) == (
            self.activation,
            self.n_active,
        )

    def extra_repr(self) -> str:
        """Return what `print` says of it."""
        n_in = "" if self.weight is None else f"{self.weight.shape[1]} -> "
        n_active = "" if self.n_active is None else f", n_active={self.n_active}"
        return f"{n_in}{self.n_units}, {self.activation}{n_active}"


class FittedModule(nn.Module):
    """An autoencoder, a stack of them, or their encoders with a layer on top.

    Parameters
    ----------
    network : FittedNetwork
        As `transform` reads it, not by pursuit.
    dtype : torch.dtype
        float32 or float64.
    top : Layer or None
        On top of the code.
    is_1d : bool
        Whether the output of the layer on top, one number for each row, is of shape (n_rows,).

    Attributes
    ----------
    encoder, decoder : ModuleList of LayerModule
        The decoder has no layers where there is one on top. The weights of a layer that is tied are
        those of the encoder's, transposed.
    top : LayerModule or None
    centre, scale, shift : Tensor of shape (n_features,), () and (n_features,)
        Buffers: rows are read as (x - centre) / scale, and outputs as (x_hat - centre) / scale +
        shift; ``shift`` is None where outputs are rows as they are.
    """

    centre: Tensor
    scale: Tensor
    shift: Tensor | None
    encoder: nn.ModuleList
    decoder: nn.ModuleList
    top: LayerModule | None

    def __init__(
        self,
        network: FittedNetwork,
        dtype: torch.dtype,
        top: Layer | None = None,
        *,
        is_1d: bool = False,
    ) -> None:
        super().__init__()
        scaling, self.is_1d = network.scaling, is_1d
        self.register_buffer("centre", as_tensor(scaling.centre, dtype, "centre"))
        self.register_buffer("scale", as_tensor(scaling.scale, dtype, "scale"))
        if not self.scale > 0.0:
            raise ValueError(
                f"The model's scale, {scaling.scale}, is too small for {dtype}: use "
                "dtype='float64'."
            )
        # None where the output is not read as scaled rows, but as it is.
        shift = scaling.offset if network.output_scaling.scaled else None
        self.register_buffer("shift", None if shift is None else as_tensor(shift, dtype, "shift"))
        first, *others = network.encoder
        bias = first.intercept + self.offset_of(network) @ first.coef.astype(np.float64)
        self.encoder = nn.ModuleList(
            LayerModule(layer, dtype) for layer in (first._replace(intercept=bias), *others)
        )
        middle, last = network.n_encoder_layers, len(network.layers)
        mirrors = {last - 1 - at: at for at in range(middle) if network.layers[at].is_tied}
        self.mirrored = [mirrors.get(at) for at in range(middle, last)]
        self.decoder = nn.ModuleList(
            LayerModule(layer, dtype, has_weight=mirrored is None)
            for layer, mirrored in zip(network.decoder, self.mirrored, strict=True)
        )
        self.top = None if top is None else LayerModule(top, dtype)

    def encode(self, rows: Tensor) -> Tensor:
        """Return codes, (n_rows, n_components), of rows, (n_rows, n_features)."""
        rows = (rows - self.centre) / self.scale
        for layer in self.encoder:
            rows = layer(rows)
        return rows

    def decode(self, codes: Tensor) -> Tensor:
        """Return the rows, (n_rows, n_features), that codes, (n_rows, n_components), stand for.

        Raises
        ------
        RuntimeError
            If there is a layer on top, and no decoder.
        """
        if not len(self.decoder):
            raise RuntimeError("A classifier or regressor has no decoder: use encode, or forward.")
        for layer, mirrored in zip(self.decoder, self.mirrored, strict=True):
            weight = None if mirrored is None else _weight_of(self.encoder[mirrored]).T
            codes = layer(codes, weight)
        return codes if self.shift is None else (codes - self.shift) * self.scale + self.centre

    def forward(self, rows: Tensor) -> Tensor:
        """Return reconstructions, logits of classes, or predicted numbers."""
        codes = self.encode(rows)
        if self.top is None:
            return self.decode(codes)
        found: Tensor = self.top(codes)
        return found[..., 0] if self.is_1d else found

    def offset_of(self, network: FittedNetwork) -> np.ndarray:
        """Return what a row at ``centre`` is to the network that this is made of, in float64.

        ``centre`` is rounded to the precision of this module.
        """
        return network.scaling.offset_at(as_array(self.centre))


def as_array(tensor: Tensor) -> np.ndarray:
    """Return numbers in float64, in memory of their own."""
    found: np.ndarray = tensor.detach().to("cpu", torch.float64).numpy().copy()
    return found


def check_is_of(module: FittedModule, fresh: FittedModule) -> None:
    """Raise if a module was changed in more than its parameters.

    Parameters
    ----------
    module : FittedModule
        As it is now.
    fresh : FittedModule
        As it was made.

    Raises
    ------
    ValueError
        If layers were replaced, if numbers are not finite, or if rows are scaled otherwise.
    """
    now, then = module.state_dict(), fresh.state_dict()
    shapes = [{name: each.shape for name, each in state.items()} for state in (now, then)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "The module has other parameters than to_torch gave it: train those, and do not "
            "replace layers."
        )
    modules = dict(module.named_modules())
    for name, layer in fresh.named_modules():
        if isinstance(layer, LayerModule) and not layer.is_like(modules.get(name)):
            raise ValueError(
                f"The module's {name} is not the layer that to_torch gave it: train its "
                "parameters, and do not replace layers."
            )
    for name, each in now.items():
        if not each.isfinite().all():
            raise ValueError(f"The module's {name} holds numbers that are not finite.")
    learnt = {name for name, _ in module.named_parameters()}
    for name in now.keys() - learnt:
        is_free = name.rpartition(".")[2] in ("threshold", "least")
        if not is_free and not np.allclose(as_array(now[name]), as_array(then[name]), rtol=1e-6):
            raise ValueError(
                f"The module's {name} is not that of the estimator that to_torch was given: load a "
                "state into a module of the estimator that it comes from."
            )


def trained_layers(
    module: FittedModule, fresh: FittedModule, network: FittedNetwork
) -> list[Layer]:
    """Return the layers of a network with the numbers that a module has now.

    Parameters
    ----------
    module : FittedModule
        As it is now.
    fresh : FittedModule
        As it was made.
    network : FittedNetwork
        What both are made of.

    Returns
    -------
    layers : list of Layer
        Those of the network that have not changed are the same objects, unless others have and the
        module is more precise: then all are in its precision. They are in float64 if the first bias
        needs it, which is large where rows are far from 0 and not centred.
    """
    pairs = list(zip(_layers_of(module), _layers_of(fresh), strict=True))
    mirrored = [None] * network.n_encoder_layers + fresh.mirrored
    kept: list[bool] = []
    for (now, then), mirror in zip(pairs, mirrored, strict=True):
        kept.append(are_same(now, then) and (mirror is None or kept[mirror]))
    found: list[Layer] = []
    first = pairs[0][0]
    first_bias = as_array(first.bias) - module.offset_of(network) @ as_array(_weight_of(first)).T
    own = np.dtype(str(module.centre.dtype).removeprefix("torch."))
    if np.abs(first_bias - first_bias.astype(own)).max() > BIAS_ERROR:
        own = np.dtype(np.float64)
    for at, (layer, (now, _), mirror) in enumerate(
        zip(network.layers, pairs, mirrored, strict=True)
    ):
        dtype = np.promote_types(layer.coef.dtype, own)
        if kept[at] and (all(kept) or dtype == layer.coef.dtype):
            found.append(layer)
            continue
        coef = as_array(_weight_of(now)).T if mirror is None else found[mirror].coef.T
        intercept = first_bias if at == 0 else as_array(now.bias)
        selection = layer.selection
        if now.least is not None and selection is not None:
            selection = selection._replace(threshold=float(now.least))
        units = {name: as_array(getattr(now, name)).astype(dtype) for name in layer.units}
        coef = coef.astype(dtype, copy=False)
        found.append(
            layer._replace(coef=coef, intercept=intercept, units=units, selection=selection)
        )
    return found


def _weight_of(layer: nn.Module) -> Tensor:
    """Return the weights of a layer that has its own."""
    assert isinstance(layer, LayerModule)
    assert layer.weight is not None
    return layer.weight


def _layers_of(module: FittedModule) -> list[LayerModule]:
    """Return the layers of encoder and decoder."""
    return [*module.encoder, *module.decoder]


def are_same(now: nn.Module, then: nn.Module) -> bool:
    """Return whether two modules of the same kind hold the same numbers."""
    pairs = zip(now.state_dict().values(), then.state_dict().values(), strict=True)
    return all(torch.equal(one.cpu(), other.cpu()) for one, other in pairs)
