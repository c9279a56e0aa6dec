"""Fitted estimators and whole pipelines as ONNX files."""

import os
import warnings
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from sksae.export.onnx_converters import Decoding, register_onnx_converters
from sksae.export.onnx_graph import MOST_BYTES
from sksae.export.reading import check_exportable, is_supervised, network_to_export
from sksae.process.extras import check_installed
from sksae.process.files import checked_path, write_whole
from sksae.process.version import __version__

# What skl2onnx makes no inputs of.
NO_INPUTS = ("float16", "longdouble", "float128", "float96", "int16", "uint16", "uint64")


def to_onnx(
    estimator: Any,
    path: str | os.PathLike[str],
    X: ArrayLike | sp.sparray | sp.spmatrix | None = None,
    *,
    dtype: Literal["float32", "float64"] | None = None,
    method: Literal["inverse_transform"] | None = None,
    target_opset: int | Mapping[str, int] | None = None,
) -> Path:
    """Write a fitted estimator, or a whole pipeline, as an ONNX file.

    ONNX runtimes exist for most languages and devices; the file needs neither Python nor torch. It
    holds numbers and a graph of standard operators, and no code. Classifiers have the outputs
    ``label`` and ``probabilities``, an array of shape (n_samples, n_classes); transformers and
    regressors have ``variable``, which of regressors has shape (n_samples, n_outputs), with one
    output too.

    Parameters
    ----------
    estimator : estimator
        Fitted: an autoencoder, a stack, classifier or regressor of them, or a `Pipeline`,
        `ColumnTransformer`, `FeatureUnion` or other estimator of scikit-learn with some in it,
        whose other parts skl2onnx must know too. Of a search it is ``best_estimator_``.
        ``transform_n_active`` counts.
    path : str or path
        Of the file, in a folder that exists. A file that is there is replaced at once.
    X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), default=None
        A row or more of the kind that the model will be given, which says the types of inputs. A
        DataFrame of pandas makes an input of each column, in their order and of their names, in
        which "_" takes the place of all but letters and digits; all else makes one input, ``X``, of
        all features, and so it is by default.
    dtype : {"float32", "float64"}, default=None
        Precision of the one input, in which everything is computed. None is float32, or what X
        says.
    method : {"inverse_transform"}, default=None
        Which method the model stands for. None is `predict` and `predict_proba` of estimators that
        have them, and `transform` of others. "inverse_transform" takes codes, of a single
        autoencoder or a stack.
    target_opset : int or mapping of str to int, default=None
        Version of ONNX' operators, from 12 up to the highest that skl2onnx supports; by domain in
        a mapping. None is the latest that skl2onnx is tested with.

    Returns
    -------
    path : Path
        Of the file.

    Raises
    ------
    ImportError
        If onnx or skl2onnx is not installed: ``pip install "sksae[onnx]"``.
    TypeError
        If ``method`` is "inverse_transform" and the estimator is no autoencoder or stack; if
        ``path`` or ``target_opset`` is of another type.
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If ``sparse_output`` is set, or ``transform_algorithm`` is not "encode": an ONNX model does
        neither. If classes are other than whole numbers, booleans and strings; if numbers of the
        model are beyond the precision, or too large for an ONNX file, which holds less than 2 GiB;
        if ``target_opset`` is too low; if both ``X`` and ``dtype`` are given, or X is not rows that
        the estimator takes, of types that inputs can have; if columns are chosen by name and X is
        not given; if a search has no ``best_estimator_``.
    OSError
        If the file cannot be written.

    See Also
    --------
    register_onnx_converters : For those who call skl2onnx themselves.
    to_numpy_source : For a machine with numpy alone.

    Notes
    -----
    What the model says of float32 rows is what the estimator says to about 1e-5. Rows that the
    estimator refuses give other results: those with nan give nan, and a classifier's first label;
    numbers beyond the range of the precision on the way give inf or nan.

    References
    ----------
    ONNX, "Open Neural Network Exchange", https://onnx.ai/onnx/; skl2onnx,
    https://onnx.ai/sklearn-onnx/.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.export import to_onnx
    >>> X, y = load_digits(return_X_y=True)
    >>> sae = SparseAutoencoderTransformer(32, max_iter=5, tol=1.0, random_state=0)
    >>> pipe = make_pipeline(sae, LogisticRegression(max_iter=1000)).fit(X, y)
    >>> path = to_onnx(pipe, Path(mkdtemp()) / "digits.onnx")
    >>> import onnxruntime
    >>> session = onnxruntime.InferenceSession(path)
    >>> label, probabilities = session.run(None, {"X": X.astype("float32")})
    >>> bool((label == pipe.predict(X)).all())
    True
    """
    check_installed("to_onnx", "onnx", "onnx", "skl2onnx")
    from skl2onnx import to_onnx as converted

    target = checked_path(path)
    if hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    elif hasattr(estimator, "cv_results_"):
        raise ValueError(
            f"This {type(estimator).__name__} has no best_estimator_: fit it with refit=True."
        )
    check_is_fitted(estimator)
    step = _step_of(estimator, method)
    if X is not None and dtype is not None:
        raise ValueError(f"X says the types of inputs: give X, or dtype={dtype!r}, and not both.")
    _check_opset(target_opset)
    inputs = _one_input(estimator, method, dtype or "float32") if X is None else None
    example = None if X is None else _example_of(X)
    if X is not None:
        _check_takes(estimator, method, X)
    register_onnx_converters()
    try:
        model = converted(
            step,
            example,
            initial_types=inputs,
            name=type(estimator).__name__,
            target_opset=target_opset,
            options={"zipmap": False} if is_classifier(step) else None,
        )
    except RuntimeError as error:
        if X is not None or "Unable to find column name" not in str(error):
            raise
        raise ValueError(
            f"This {type(estimator).__name__} chooses columns by name: give X, a row or more of a "
            "table of pandas with these columns."
        ) from error
    what = f"{method} of a" if method else "a"
    model.doc_string = f"{what} {type(estimator).__name__}, written by sksae {__version__}"
    if model.ByteSize() >= MOST_BYTES:
        raise ValueError(
            f"The model takes {model.ByteSize() / 2**30:.1f} GiB, and an ONNX file holds less than "
            "2: use dtype='float32', or export its autoencoder alone by to_safetensors."
        )
    write_whole({target: model.SerializeToString()})
    return target


def _step_of(estimator: Any, method: str | None) -> Any:
    """Return what is to be converted so that the model stands for a method of an estimator."""
    if method is None:
        return estimator
    if method != "inverse_transform":
        raise ValueError(f"method must be 'inverse_transform' or None, got {method!r}.")
    check_exportable(estimator, "to_onnx with method='inverse_transform'")
    if is_supervised(estimator):
        raise TypeError(
            f"{type(estimator).__name__} has no inverse_transform: use method=None, or give one of "
            "its autoencoders_."
        )
    return Decoding(network_to_export(estimator, "an ONNX model").without_input_scales())


def _example_of(X: Any) -> Any:
    """Return a row or more as skl2onnx can read types off them: a table of pandas, or an array."""
    if hasattr(X, "dtypes") and hasattr(X, "iloc"):
        for name, kind in dict(X.dtypes).items() if X.ndim == 2 else ():
            if not isinstance(name, str):
                raise ValueError(
                    f"X must have strings as names of columns, got {name!r}: use "
                    "X.rename(columns=str), or X.to_numpy() for one input."
                )
            _check_kind(f"column {name!r} of X", kind)
        return X
    rows = np.asarray(X[:1].toarray() if sp.issparse(X) else X)
    if rows.ndim != 2:
        raise ValueError(
            f"X must be a table of pandas or rows of shape (n_samples, n_features), got an array "
            f"of shape {rows.shape}: give one row or more."
        )
    _check_kind("X", rows.dtype)
    return rows.astype(rows.dtype.newbyteorder("="), copy=False)


def _check_kind(what: str, kind: Any) -> None:
    """Raise if skl2onnx has no input of a dtype of numpy or pandas."""
    is_of_numpy = isinstance(kind, np.dtype)
    # Those of pandas that hold numbers beside a mask have a dtype of numpy within.
    if kind.name in NO_INPUTS if is_of_numpy else hasattr(kind, "numpy_dtype"):
        raise ValueError(
            f"{what} is of {kind}, which is no type of inputs: use float32, float64 or int64."
        )


def _check_takes(estimator: Any, method: str | None, X: Any) -> None:
    """Raise what an estimator raises where it does not take rows like these."""
    if method is None:
        method = "predict" if hasattr(estimator, "predict") else "transform"
    if hasattr(estimator, method):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the example may have names of columns or none
            getattr(estimator, method)(X.iloc[:1] if hasattr(X, "iloc") else X[:1])


def _check_opset(target_opset: Any) -> None:
    """Raise if what says the version of operators is of another type."""
    versions = target_opset.values() if isinstance(target_opset, Mapping) else [target_opset]
    if target_opset is not None and not all(isinstance(each, Integral) for each in versions):
        raise TypeError(
            f"target_opset must be an int or a mapping of names to ints, got {target_opset!r}."
        )


def _one_input(estimator: Any, method: str | None, dtype: str) -> list[tuple[str, Any]]:
    """Return the input of a model whose rows are one array."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    kinds = {"float32": FloatTensorType, "float64": DoubleTensorType}
    if dtype not in kinds:
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}.")
    if method is not None:
        n_columns = estimator.__sksae_network__().n_components
    else:
        n_columns = getattr(estimator, "n_features_in_", None)
    if n_columns is None:
        raise ValueError(
            f"This {type(estimator).__name__} does not tell how many features it takes: give X, "
            "some rows, which also say the types of inputs."
        )
    return [("X", kinds[dtype]([None, n_columns]))]
