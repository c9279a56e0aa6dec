"""A fitted model as a few lines of Python that need numpy alone, and a file of arrays."""

import io
import os
import sys
from collections.abc import Sequence
from hashlib import sha256
from keyword import iskeyword
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
from sklearn.base import is_regressor

from sksae.base.protocols import HasNetwork
from sksae.export.reading import check_exportable, is_supervised, network_to_export
from sksae.model.network import FittedNetwork, Layer
from sksae.process.files import checked_path, write_whole
from sksae.process.version import __version__

OTHER_MODULES = sys.stdlib_module_names | {"numpy"}
# What a layer makes of its pre-activations p; {0} is its number.
FORMULAS = {
    "identity": "p",
    "sigmoid": "np.exp(-np.logaddexp(0, -p))",
    "tanh": "np.tanh(p)",
    "relu": "np.maximum(p, 0)",
    "prelu": 'np.where(p > 0, p, ARRAYS["slope_{0}"] * p)',
    "jumprelu": 'np.where(p > ARRAYS["threshold_{0}"], p, 0)',
    "gated": 'np.where(p > 0, np.maximum(np.exp(ARRAYS["log_gain_{0}"].astype(float)) * p'
    ' + ARRAYS["offset_{0}"], 0), 0)',
}
LARGEST = '''

def _largest(a, n):
    """Return activations with all but the n largest of each row set to 0."""
    kept = np.argpartition(-a, n - 1, axis=1)[:, :n]
    only = np.zeros_like(a)
    np.put_along_axis(only, kept, np.take_along_axis(a, kept, axis=1), axis=1)
    return only
'''


def to_numpy_source(estimator: HasNetwork, path: str | os.PathLike[str]) -> Path:
    """Write a fitted model as a module of Python that needs numpy, and neither torch nor sksae.

    The module has ``transform(X)``, ``inverse_transform(codes)`` of a transformer or a stack, and
    ``predict(X)`` of a classifier or a regressor, ``predict_proba(X)`` too of the former. They take
    and give float64 arrays, and say the same as the model does of float64 rows, up to rounding.
    Its arrays are in a file of the same name that ends in ``.npz``: keep both in one folder. The
    module raises a ValueError where this file is damaged, or that of another model.

    Parameters
    ----------
    estimator : SparseAutoencoderTransformer, StackedSparseAutoencoder, \
SparseAutoencoderClassifier or SparseAutoencoderRegressor
        Fitted. ``transform_n_active`` counts.
    path : str or path
        Of the module, in a folder that exists; it ends in ``.py`` and is a name that can be
        imported, and not that of a module of Python or of numpy. Files that are there are replaced.

    Returns
    -------
    path : Path
        Of the module.

    Raises
    ------
    TypeError
        If it is another estimator: of a pipeline or a search, give the model in it. If ``path`` is
        neither text nor a path.
    NotFittedError
        If it is not fitted.
    ValueError
        If ``path`` is no name of a module, or that of another; if ``transform_algorithm`` is not
        "encode", whose codes are found by a search for each row; if classes are neither numbers nor
        strings.
    OSError
        If the files cannot be written.

    Examples
    --------
    >>> import runpy
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> import numpy as np
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.export import to_numpy_source
    >>> X = np.random.default_rng(0).normal(size=(200, 6))
    >>> sae = SparseAutoencoderTransformer(4, max_iter=5, tol=1.0, random_state=0).fit(X)
    >>> module = runpy.run_path(to_numpy_source(sae, Path(mkdtemp()) / "codes.py"))
    >>> bool(np.allclose(module["transform"](X), sae.transform(X), atol=1e-12))
    True
    """
    check_exportable(estimator, "to_numpy_source")
    target = checked_path(path)
    name = target.stem
    if target.suffix != ".py" or not name.isidentifier() or iskeyword(name):
        raise ValueError(
            f"path must end in .py and be a name that Python can import, got {str(path)!r}."
        )
    # Scripts in the folder of the module, and the module itself, would import it in their place.
    if name in OTHER_MODULES:
        raise ValueError(
            f"path must have a name of its own: there is another module of the name {name!r}."
        )
    network = network_to_export(estimator, "a module of numpy").without_input_scales()
    text, arrays = _encoder(network)
    if network.decoder:
        text += _decoder(network, arrays)
    if is_supervised(estimator):
        text += _top(estimator, arrays)
    written = io.BytesIO()
    named: dict[str, Any] = arrays  # numpy before 2.1 takes allow_pickle for an array
    np.savez(written, **named)
    content = written.getvalue()
    source = _head(estimator, network, sha256(content).hexdigest()) + text
    write_whole({target.with_suffix(".npz"): content, target: source})
    return target


def _head(estimator: object, network: FittedNetwork, digest: str) -> str:
    """Return the first lines of a module, which read its arrays, those with this SHA-256 alone."""
    selections = filter(None, (layer.kept for layer in network.layers))
    needs_largest = any(selection.threshold is None for selection in selections)
    sizes = f"{network.n_features} features and {network.n_components} units"
    return dedent(
        f'''\
            """A {type(estimator).__name__}, {sizes}, in numpy.

            Written by sksae {__version__}; the arrays are in the file of the same name.
            """

            from hashlib import sha256
            from io import BytesIO
            from pathlib import Path

            import numpy as np

            FILE = Path(__file__).with_suffix(".npz")
            CONTENT = FILE.read_bytes()
            if sha256(CONTENT).hexdigest() != "{digest}":
                raise ValueError(f"{{FILE}} is damaged, or of another model: write both again.")
            with np.load(BytesIO(CONTENT), allow_pickle=False) as file:
                ARRAYS = dict(file)
            del CONTENT
            '''
    ) + (LARGEST if needs_largest else "")


def _encoder(network: FittedNetwork) -> tuple[str, dict[str, np.ndarray]]:
    """Return the source of ``transform``, and its arrays."""
    scaling = network.scaling
    arrays: dict[str, np.ndarray] = {
        "centre": scaling.centre,
        "scale": np.asarray(scaling.scale, float),
        "offset": scaling.offset,
    }
    lines = _layers(network.encoder, 1, arrays)
    return _function(
        "transform(X)",
        f"Return codes, (n_rows, {network.n_components}), of rows, (n_rows, {network.n_features}).",
        [
            'a = (np.asarray(X, float) - ARRAYS["centre"]) / ARRAYS["scale"] + ARRAYS["offset"]',
            *lines,
            "return a",
        ],
    ), arrays


def _decoder(network: FittedNetwork, arrays: dict[str, np.ndarray]) -> str:
    """Return the source of ``inverse_transform``; add its arrays."""
    scaling = network.output_scaling
    arrays |= {
        "output_mean": scaling.mean,
        "output_scale": np.asarray(scaling.scale, float),
        "output_shift": np.asarray(scaling.shift, float),
    }
    lines = _layers(network.decoder, network.n_encoder_layers + 1, arrays)
    return _function(
        "inverse_transform(codes)",
        f"Return the rows that codes stand for, (n_rows, {network.n_features}).",
        [
            "a = np.asarray(codes, float)",
            *lines,
            'return (a - ARRAYS["output_shift"]) * ARRAYS["output_scale"] + ARRAYS["output_mean"]',
        ],
    )


def _layers(layers: Sequence[Layer], first: int, arrays: dict[str, np.ndarray]) -> list[str]:
    """Return the lines that send ``a`` through some layers; add their arrays.

    Parameters
    ----------
    layers : sequence of Layer
        Without input scales.
    first : int
        The number of the first one.
    arrays : dict
        Changed in place.
    """
    lines = []
    for number, layer in enumerate(layers, first):
        arrays |= {f"coef_{number}": layer.coef, f"intercept_{number}": layer.intercept}
        arrays |= {f"{name}_{number}": each for name, each in layer.units.items()}
        lines.append(f'p = a @ ARRAYS["coef_{number}"] + ARRAYS["intercept_{number}"]')
        lines.append(f"a = {FORMULAS[layer.activation].format(number)}")
        selection = layer.kept
        if selection is None:
            continue
        if selection.threshold is None:
            lines.append(f"a = _largest(a, {selection.n_active})")
        else:
            arrays[f"least_{number}"] = np.asarray(selection.threshold, float)
            lines.append(f'a = np.where(p > ARRAYS["least_{number}"], a, 0)')
    return lines


def _top(estimator: Any, arrays: dict[str, np.ndarray]) -> str:
    """Return the source of predictions by the layer on top; add its arrays."""
    arrays |= {
        "top_coef": np.transpose(estimator.coef_),
        "top_intercept": np.asarray(estimator.intercept_),
    }
    scores = 'transform(X) @ ARRAYS["top_coef"] + ARRAYS["top_intercept"]'
    if is_regressor(estimator):
        return _function("predict(X)", "Return what is predicted of rows.", [f"return {scores}"])
    arrays["classes"] = _plain(estimator.classes_)
    return _function(
        "predict_proba(X)",
        "Return the probability of each class, (n_rows, n_classes).",
        [
            f"scores = {scores}",
            "scores = np.exp(scores - scores.max(axis=1, keepdims=True))",
            "return scores / scores.sum(axis=1, keepdims=True)",
        ],
    ) + _function(
        "predict(X)",
        "Return the likeliest class of each row.",
        ['return ARRAYS["classes"][predict_proba(X).argmax(axis=1)]'],
    )


def _plain(classes: np.ndarray) -> np.ndarray:
    """Return labels as an array that needs no pickle.

    Raises
    ------
    ValueError
        If they are objects other than strings.
    """
    if classes.dtype != object:
        return classes
    others = [label for label in classes if not isinstance(label, str)]
    if others:
        raise ValueError(
            f"classes must be numbers, booleans or strings, which a file of arrays can hold, got "
            f"{others[0]!r}: fit with other labels."
        )
    return classes.astype(str)


def _function(signature: str, says: str, lines: Sequence[str]) -> str:
    """Return the source of a function."""
    return "\n".join(
        ["", "", f"def {signature}:", f'    """{says}"""', *(f"    {line}" for line in lines), ""]
    )
