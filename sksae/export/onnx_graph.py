"""A fitted network as nodes of an ONNX graph: rows to codes, and codes to rows.

Everything is computed in the precision of the rows, float32 or float64. Rows are centred before
they are scaled: what the precision has no digits for in the centre is part of the first bias, so
that rows far from 0 lose none. Rows with nan give nan.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sksae.model.network import FittedNetwork, Layer

# The lowest opset in which all operators exist that are used here: LessOrEqual is of opset 12.
LOWEST_OPSET = 12
# A message of protobuf, and with it an ONNX file, holds less.
MOST_BYTES = 2**31


class Graph:
    """Adds nodes for one estimator to what skl2onnx makes.

    Parameters
    ----------
    scope, container : Scope, ModelComponentContainer
        As skl2onnx gives them to a converter.
    dtype : dtype
        Of the rows: float32 or float64.
    """

    def __init__(self, scope: Any, container: Any, dtype: np.dtype) -> None:
        self._scope, self._container, self.dtype = scope, container, dtype
        opset = container.target_opset_any_domain("")
        if opset < LOWEST_OPSET:
            raise ValueError(
                f"target_opset={opset} has not all operators of a sparse autoencoder: use "
                f"target_opset={LOWEST_OPSET} or more."
            )

    def constant(self, name: str, array: np.ndarray | float) -> str:
        """Return the name of numbers in the precision of rows.

        Raises
        ------
        ValueError
            If that precision has no room for them, or the file none for their bytes.
        """
        with np.errstate(all="ignore"):
            found = np.asarray(array, dtype=self.dtype)
        if not np.isfinite(found).all():
            raise ValueError(
                f"The model's {name.replace('_', ' ')} is beyond the range of {self.dtype}: "
                "convert for rows of float64."
            )
        if found.nbytes >= MOST_BYTES:
            raise ValueError(
                f"The model's {name.replace('_', ' ')} takes {found.nbytes / 2**30:.1f} GiB, and "
                "an ONNX file holds less than 2: use to_safetensors, or to_numpy_source."
            )
        return self.tensor(name, found)

    def tensor(self, name: str, array: np.ndarray) -> str:
        """Return the name of an array of whole numbers, floats or strings."""
        from onnx import TensorProto
        from onnx.numpy_helper import from_array

        unique: str = self._scope.get_unique_variable_name(name)
        if array.dtype.kind == "U":
            content: Any = [each.encode() for each in array.tolist()]
            kind = TensorProto.STRING
        else:
            content = from_array(np.ascontiguousarray(array), unique)
            kind = content.data_type
        self._container.add_initializer(unique, kind, array.shape, content)
        return unique

    def node(self, operator: str, *inputs: str, output: str | None = None, **options: Any) -> str:
        """Add a node of one output, and return the name of that."""
        (found,) = self.nodes(operator, *inputs, outputs=(output,), **options)
        return found

    def nodes(
        self, operator: str, *inputs: str, outputs: Sequence[str | None], **options: Any
    ) -> list[str]:
        """Add a node, and return the names of its outputs, which are new ones instead of None."""
        names = [each or self._scope.get_unique_variable_name(operator.lower()) for each in outputs]
        name = self._scope.get_unique_operator_name(operator)
        self._container.add_node(operator, [*inputs], names, name=name, **options)
        return names

    def cast(self, rows: str) -> str:
        """Return numbers of any type as floats of the precision of rows."""
        from onnx.helper import np_dtype_to_tensor_dtype

        return self.node("Cast", rows, to=np_dtype_to_tensor_dtype(self.dtype))


def encode(graph: Graph, network: FittedNetwork, rows: str) -> str:
    """Add the way from rows to codes, and return the name of these.

    Parameters
    ----------
    graph : Graph
        Is added to.
    network : FittedNetwork
        Without input scales.
    rows : str
        The name of rows, floats of the graph's precision.
    """
    scaling, (first, *others) = network.scaling, network.encoder
    with np.errstate(all="ignore"):
        high = scaling.centre.astype(graph.dtype).astype(np.float64)
        bias = first.intercept + scaling.offset_at(high) @ first.coef.astype(np.float64)
    if high.any() or not np.isfinite(high).all():
        rows = graph.node("Sub", rows, graph.constant("centre", high))
    if np.any(scaling.scale != 1.0):
        _check_not_zero(graph, scaling.scale)
        rows = graph.node("Div", rows, graph.constant("scale", scaling.scale))
    return _through(graph, [first._replace(intercept=bias), *others], rows)


def decode(graph: Graph, network: FittedNetwork, codes: str) -> str:
    """Add the way from codes to rows, and return the name of these.

    Parameters
    ----------
    graph, network
        As in `encode`.
    codes : str
        The name of codes, floats of the graph's precision.
    """
    scaling = network.output_scaling
    rows = _through(graph, network.decoder, codes)
    if scaling.shift != 0.0:
        rows = graph.node("Sub", rows, graph.constant("shift", scaling.shift))
    if np.any(scaling.scale != 1.0):
        _check_not_zero(graph, scaling.scale)
        rows = graph.node("Mul", rows, graph.constant("scale", scaling.scale))
    if scaling.mean.any():
        rows = graph.node("Add", rows, graph.constant("mean", scaling.mean))
    return rows


def affine(graph: Graph, layer: Layer, rows: str) -> str:
    """Add the product with a layer's weights and its bias; return the name of the result."""
    coef = graph.constant("weights", layer.coef)
    return graph.node("Gemm", rows, coef, graph.constant("bias", layer.intercept))


def _through(graph: Graph, layers: Sequence[Layer], rows: str) -> str:
    """Add layers, and return the name of what they make of rows."""
    for layer in layers:
        rows = _selected(graph, layer, _activated(graph, layer, affine(graph, layer, rows)))
    return rows


def _activated(graph: Graph, layer: Layer, pre: str) -> str:
    """Add a layer's activation, and return the name of the result.

    What is kept is asked for by the opposite, as nan is in no order and shall not become 0.
    """
    units = layer.units
    match layer.activation:
        case "identity":
            return pre
        case "sigmoid" | "tanh" | "relu" as name:
            return graph.node(name.capitalize(), pre)
        case "prelu":
            below = graph.node("Mul", pre, graph.constant("slopes", units["slope"]))
            return _where_above(graph, pre, 0.0, pre, below)
        case "jumprelu":
            return _where_above(graph, pre, units["threshold"], pre)
        case "gated":
            gains = graph.constant("gains", np.exp(units["log_gain"].astype(np.float64)))
            scaled = graph.node("Mul", pre, gains)
            offsets = graph.constant("offsets", units["offset"])
            magnitudes = graph.node("Relu", graph.node("Add", scaled, offsets))
            return _where_above(graph, pre, 0.0, magnitudes)
    raise ValueError(f"activation={layer.activation!r} has no ONNX nodes.")


def _selected(graph: Graph, layer: Layer, codes: str) -> str:
    """Add what leaves of activations those that a layer keeps; return the name of the result."""
    selection = layer.kept
    if selection is None:
        return codes
    if selection.threshold is not None:
        return _where_above(graph, codes, selection.threshold, codes)
    if selection.n_active >= layer.coef.shape[1]:
        return codes
    k = graph.tensor("n_active", np.array([selection.n_active], np.int64))
    values, units = graph.nodes("TopK", codes, k, outputs=(None, None), axis=1)
    return graph.node("ScatterElements", _zeros_like(graph, codes), units, values, axis=1)


def _where_above(
    graph: Graph, pre: str, bound: np.ndarray | float, above: str, others: str | None = None
) -> str:
    """Add a choice by whether numbers are above a bound; where they are not, 0 by default."""
    is_low = graph.node("LessOrEqual", pre, graph.constant("bound", bound))
    return graph.node("Where", is_low, others or graph.constant("zero", 0.0), above)


def _zeros_like(graph: Graph, codes: str) -> str:
    """Add zeros of the shape of codes, and return their name."""
    from onnx.numpy_helper import from_array

    zero = from_array(np.zeros(1, graph.dtype))
    return graph.node("ConstantOfShape", graph.node("Shape", codes), value=zero)


def _check_not_zero(graph: Graph, scale: float) -> None:
    """Raise if the precision has no room for a scale as small as it is."""
    if np.any(np.abs(scale) < np.finfo(graph.dtype).tiny):
        raise ValueError(
            f"The model's scale, {scale}, is beyond the range of {graph.dtype}: convert for rows "
            "of float64."
        )
