"""What skl2onnx needs to know of sparse autoencoders: types of outputs, and converters."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from sksae.classifier import SparseAutoencoderClassifier
from sksae.export.onnx_graph import Graph, affine, decode, encode
from sksae.export.reading import check_exportable, is_supervised, network_to_export, top_of
from sksae.model.network import FittedNetwork
from sksae.model_selection import BatchedGridSearchCV, BatchedRandomizedSearchCV
from sksae.process.extras import check_installed
from sksae.regressor import SparseAutoencoderRegressor
from sksae.stacked import StackedSparseAutoencoder
from sksae.transformer import SparseAutoencoderTransformer

# What a classifier may be asked for, by the names that skl2onnx has for all classifiers.
OF_CLASSIFIERS = {
    "zipmap": [True, False, "columns"],
    "nocl": [True, False],
    "output_class_labels": [False, True],
    "raw_scores": [False, True],
}


class Decoding(TransformerMixin, BaseEstimator):
    """The way back from codes as a step of its own: ``transform`` of it is `inverse_transform`."""

    def __init__(self, network: FittedNetwork) -> None:
        self.network = network


def register_onnx_converters() -> None:
    """Make skl2onnx know the estimators of sksae, alone and in pipelines.

    For those who call ``skl2onnx.to_onnx`` or ``skl2onnx.convert_sklearn`` themselves; `to_onnx`
    does it. Options of classifiers are those of `LogisticRegression` there: ``zipmap``,
    ``nocl``, ``output_class_labels`` and ``raw_scores``. Calling it again changes nothing.

    Raises
    ------
    ImportError
        If onnx or skl2onnx is not installed: ``pip install "sksae[onnx]"``.

    See Also
    --------
    to_onnx : Convert and write in one go.

    References
    ----------
    The documentation of skl2onnx, "A custom converter for a custom model",
    https://onnx.ai/sklearn-onnx/.

    Examples
    --------
    >>> import numpy as np
    >>> import skl2onnx
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.export import register_onnx_converters
    >>> X = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    >>> sae = SparseAutoencoderTransformer(4, max_iter=5, tol=1.0, random_state=0).fit(X)
    >>> register_onnx_converters()
    >>> model = skl2onnx.to_onnx(sae, X[:1])
    >>> [output.name for output in model.graph.output]
    ['variable']
    """
    check_installed("register_onnx_converters", "onnx", "onnx", "skl2onnx")
    from skl2onnx import update_registered_converter

    converters: dict[type, tuple[Callable[..., None], Callable[..., None]]] = {
        SparseAutoencoderTransformer: (_set_codes, _convert_codes),
        StackedSparseAutoencoder: (_set_codes, _convert_codes),
        SparseAutoencoderClassifier: (_set_classes, _convert_classifier),
        SparseAutoencoderRegressor: (_set_numbers, _convert_regressor),
        Decoding: (_set_rows, _convert_decoding),
    }
    for kind, (shapes, converter) in converters.items():
        options = OF_CLASSIFIERS if kind is SparseAutoencoderClassifier else None
        update_registered_converter(
            kind, f"Sksae{kind.__name__}", shapes, converter, options=options
        )
    _register_searches()


def _register_searches() -> None:
    """Let skl2onnx treat batched searches as it does the searches that they are derived from."""
    from skl2onnx import get_model_alias, update_registered_parser
    from skl2onnx._parse import sklearn_parsers_map
    from skl2onnx._supported_operators import sklearn_operator_name_map
    from sklearn.model_selection import GridSearchCV

    for kind in (BatchedGridSearchCV, BatchedRandomizedSearchCV):
        sklearn_operator_name_map[kind] = get_model_alias(GridSearchCV)
        update_registered_parser(kind, sklearn_parsers_map[GridSearchCV])


# Types of outputs.


def _set_output(operator: Any, at: int, n_columns: int) -> None:
    """Say that an output has floats, float64 if any input has, in so many columns."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    is_wide = _dtype_of(operator) == np.float64
    kind = DoubleTensorType if is_wide else FloatTensorType
    operator.outputs[at].set_type(kind([operator.inputs[0].get_first_dimension(), n_columns]))


def _set_codes(operator: Any) -> None:
    _set_output(operator, 0, len(operator.raw_operator.get_feature_names_out()))


def _set_rows(operator: Any) -> None:
    _set_output(operator, 0, operator.raw_operator.network.n_features)


def _set_numbers(operator: Any) -> None:
    top = top_of(operator.raw_operator)
    assert top is not None
    _set_output(operator, 0, top.coef.shape[1])


def _set_classes(operator: Any) -> None:
    from skl2onnx.common.data_types import Int64TensorType, StringTensorType

    labels = _labels_of(operator.raw_operator)
    kind = Int64TensorType if labels.dtype == np.int64 else StringTensorType
    operator.outputs[0].set_type(kind([operator.inputs[0].get_first_dimension()]))
    _set_output(operator, 1, len(labels))


# Converters.


def _convert_codes(scope: Any, operator: Any, container: Any) -> None:
    graph = _graph_of(scope, operator, container)
    _finish(graph, _codes(graph, operator), operator)


def _convert_decoding(scope: Any, operator: Any, container: Any) -> None:
    graph = _graph_of(scope, operator, container)
    codes = _rows(graph, operator)
    _finish(graph, decode(graph, operator.raw_operator.network, codes), operator)


def _convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    graph = _graph_of(scope, operator, container)
    _finish(graph, _output(graph, operator), operator)


def _convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    graph = _graph_of(scope, operator, container)
    logits, (label, scores) = _output(graph, operator), operator.outputs
    labels = _labels_of(operator.raw_operator)
    if not container.get_options(operator.raw_operator, {"raw_scores": False})["raw_scores"]:
        graph.node("Softmax", logits, output=scores.full_name, axis=1)
    elif len(labels) == 2:
        # As of every binary classifier there: the decision function, and before it its opposite.
        odds = graph.constant("odds", np.array([[1.0, -1.0], [-1.0, 1.0]]))
        graph.node("MatMul", logits, odds, output=scores.full_name)
    else:
        graph.node("Identity", logits, output=scores.full_name)
    best = graph.node("ArgMax", logits, axis=1, keepdims=0)
    named = graph.tensor("classes", labels)
    graph.node("Gather", named, best, output=label.full_name, axis=0)


def _graph_of(scope: Any, operator: Any, container: Any) -> Graph:
    return Graph(scope, container, _dtype_of(operator))


def _finish(graph: Graph, name: str, operator: Any) -> None:
    graph.node("Identity", name, output=operator.outputs[0].full_name)


def _output(graph: Graph, operator: Any) -> str:
    """Add all of a supervised estimator up to its layer on top; return the name of the result."""
    top = top_of(operator.raw_operator)
    assert top is not None
    return affine(graph, top, _codes(graph, operator))


def _codes(graph: Graph, operator: Any) -> str:
    """Add the encoder of an estimator, and return the name of its codes.

    Raises
    ------
    ValueError
        If an ONNX model cannot do what it is set to do.
    """
    estimator = operator.raw_operator
    check_exportable(estimator, "to_onnx")
    # What a stack returns is what its last member is set to; no other estimator returns codes.
    last = getattr(estimator, "autoencoders_", [estimator])[-1]
    if last.sparse_output and not is_supervised(estimator):
        raise ValueError(
            "sparse_output=True asks for codes as a sparse matrix, which an ONNX model does not "
            "return: use set_params(sparse_output=False)."
        )
    network = network_to_export(estimator, "an ONNX model").without_input_scales()
    return encode(graph, network, _rows(graph, operator))


def _rows(graph: Graph, operator: Any) -> str:
    """Return the name of the rows that enter an estimator: its inputs, side by side, as floats."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    own = DoubleTensorType if graph.dtype == np.float64 else FloatTensorType
    parts = [
        each.full_name if isinstance(each.type, own) else graph.cast(each.full_name)
        for each in operator.inputs
    ]
    return parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=1)


def _dtype_of(operator: Any) -> np.dtype:
    """Return the precision of an operator: float64 if any input has it, else float32."""
    from skl2onnx.common.data_types import DoubleTensorType

    is_wide = any(isinstance(each.type, DoubleTensorType) for each in operator.inputs)
    return np.dtype(np.float64 if is_wide else np.float32)


def _labels_of(estimator: Any) -> np.ndarray:
    """Return the classes as an ONNX model has them: whole numbers in int64, or strings.

    Raises
    ------
    ValueError
        If they are neither; booleans count as 0 and 1.
    """
    classes = np.asarray(estimator.classes_)
    if classes.dtype.kind in "OU" and all(isinstance(each, str) for each in classes):
        return classes.astype(np.str_)
    if classes.dtype.kind in "biuf":
        with np.errstate(all="ignore"):
            whole = classes.astype(np.int64)
        if (whole == classes).all():
            return whole
    raise ValueError(
        f"classes must be whole numbers, booleans or strings in an ONNX model, got "
        f"{classes.tolist()[0]!r}: fit with other labels."
    )
