"""Dictionaries as safetensors files in SAELens' layout: a folder of weights and a config."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sksae.base.attributes import loaded_attributes
from sksae.base.persistence import checksums
from sksae.base.protocols import is_autoencoder
from sksae.base.reading import as_read
from sksae.export.saelens import Exported, entries_read, from_saelens, to_saelens
from sksae.model.network import FittedNetwork
from sksae.process.extras import check_installed
from sksae.process.files import write_whole
from sksae.transformer import SparseAutoencoderTransformer

WEIGHTS, CONFIG = "sae_weights.safetensors", "cfg.json"
# What the header of our weights says; SAELens drops it where it saves a model anew.
CHECKSUM = "sksae_checksum"


def to_safetensors(estimator: SparseAutoencoderTransformer, folder: str | os.PathLike[str]) -> Path:
    """Write a fitted dictionary as SAELens does, for SAELens and whatever reads its files.

    The folder then holds ``sae_weights.safetensors`` and ``cfg.json``. The scaling of rows is part
    of weights and biases: ``SAE.load_from_disk(folder).encode`` of rows in the units of X gives the
    codes that `SparseAutoencoderTransformer.transform` gives, to about 1e-5 in float32. The header
    of the weights has a checksum of what `from_safetensors` reads in both files.

    Parameters
    ----------
    estimator : SparseAutoencoderTransformer
        Fitted, with ``sparsity`` "topk", "batchtopk" (either with ``prefixes`` or without),
        "jumprelu", "gated", or "l1" with relu; without hidden layers and with a linear output. Of
        "topk" k is what ``transform_n_active`` says, where it is set.
        "batchtopk" becomes SAELens' "jumprelu" with one threshold for all units, "l1" its
        "standard".
    folder : str or path
        It is made if it does not exist. Files of these names that are there are replaced, each
        of them at once.

    Returns
    -------
    folder : Path

    Raises
    ------
    ImportError
        If safetensors is not installed: ``pip install "sksae[export]"``.
    TypeError
        If the estimator is no single autoencoder, or ``folder`` neither text nor a path.
    ValueError
        If SAELens has nothing like it; if ``transform_algorithm`` is not "encode", by which
        SAELens encodes.
    NotFittedError
        If it is not fitted.
    OSError
        If the folder cannot be made or written to.

    See Also
    --------
    from_safetensors : The way back.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from sklearn.datasets import load_digits
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.export import from_safetensors, to_safetensors
    >>> X = load_digits().data
    >>> sae = SparseAutoencoderTransformer(
    ...     64, sparsity="topk", rho=8, max_iter=20, tol=0.1, random_state=0
    ... ).fit(X)
    >>> folder = to_safetensors(sae, mkdtemp())
    >>> sorted(path.name for path in folder.iterdir())
    ['cfg.json', 'sae_weights.safetensors']
    >>> from_safetensors(folder).transform(X).shape
    (1797, 64)
    """
    check_installed("to_safetensors", "export", "safetensors.numpy")
    from safetensors.numpy import save

    if not is_autoencoder(estimator):
        raise TypeError(
            f"to_safetensors takes a SparseAutoencoderTransformer, got {type(estimator).__name__}: "
            "of a pipeline, search or stack give the autoencoder in it."
        )
    check_is_fitted(estimator)
    network = as_read(
        estimator.__sksae_network__(),
        estimator.transform_n_active,
        estimator.transform_algorithm,
    )
    arrays, config = to_saelens(network)
    folder = _checked_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    header = {CHECKSUM: _checksum(Exported(arrays, config))}
    # Not by save_file, whose files none but their owner may read.
    contents: dict[Path, str | bytes] = {
        folder / WEIGHTS: save(arrays, header),
        folder / CONFIG: json.dumps(config, indent=2),
    }
    write_whole(contents)
    return folder


def from_safetensors(folder: str | os.PathLike[str]) -> SparseAutoencoderTransformer:
    """Return a fitted autoencoder made of a folder that SAELens or `to_safetensors` has written.

    Its codes of rows are those of SAELens' ``encode``. It transforms, rebuilds and scores; what
    training goes on from is not in such files, so that `partial_fit` and ``warm_start`` raise a
    ValueError, and what only training rows tell (``loss_``, ``mean_activation_``,
    ``active_share_``, ``largest_activation_``, ``row_sparsity_``) is nan.

    Parameters
    ----------
    folder : str or path
        With ``sae_weights.safetensors`` and ``cfg.json``, of architecture "standard", "topk",
        "jumprelu" or "gated".

    Returns
    -------
    estimator : SparseAutoencoderTransformer

    Raises
    ------
    ImportError
        If safetensors is not installed: ``pip install "sksae[export]"``.
    FileNotFoundError
        If the folder or one of the two files is missing.
    NotADirectoryError
        If there is a file in place of the folder.
    ValueError
        If they are damaged, of another layout, or do not go together. That a number is another
        one is noticed in files that `to_safetensors` has written, by their checksum.

    See Also
    --------
    to_safetensors : The way there.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> import numpy as np
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.export import from_safetensors, to_safetensors
    >>> X = np.random.default_rng(0).normal(size=(200, 6))
    >>> sae = SparseAutoencoderTransformer(
    ...     12, sparsity="topk", rho=2, max_iter=5, tol=1.0, random_state=0
    ... ).fit(X)
    >>> loaded = from_safetensors(to_safetensors(sae, mkdtemp()))
    >>> bool(np.allclose(loaded.transform(X), sae.transform(X), atol=1e-5))
    True
    """
    check_installed("from_safetensors", "export", "safetensors.numpy")
    folder = _checked_folder(folder)
    if not folder.exists():
        raise FileNotFoundError(f"There is no folder {str(folder)!r}.")
    for name in (WEIGHTS, CONFIG):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} holds no {name}, which SAELens writes for a model.")
    config = _read_config(folder / CONFIG)
    arrays, header = _read_weights(folder / WEIGHTS)
    exported = Exported(arrays, config)
    _check_whole(folder, exported, header)
    network = from_saelens(exported)
    estimator = SparseAutoencoderTransformer(**_parameters_of(network))
    for name, value in loaded_attributes(network).items():
        setattr(estimator, name, value)
    return estimator


def _checked_folder(folder: str | os.PathLike[str]) -> Path:
    """Return a path at which there is no file.

    Raises
    ------
    TypeError
        If it is neither text nor a path.
    NotADirectoryError
        If there is a file.
    """
    if not isinstance(folder, (str, os.PathLike)):
        raise TypeError(f"folder must be a str or a path, got {type(folder).__name__}.")
    found = Path(folder)
    if found.exists() and not found.is_dir():
        raise NotADirectoryError(f"folder must name a folder, got the file {str(folder)!r}.")
    return found


def _parameters_of(network: FittedNetwork) -> dict[str, Any]:
    """Return the parameters of an estimator that has a network, as far as they are known."""
    parameters: dict[str, Any] = {
        "n_components": network.n_components,
        "sparsity": network.sparsity,
    }
    selection = network.encoder[-1].selection
    if selection is None:
        return parameters
    n_active, n_components = selection.n_active, network.n_components
    if n_active:
        # A number of units is less than all of them.
        parameters["rho"] = n_active if n_active < n_components else 1.0 - 1e-9
    if selection.prefixes:
        parameters["prefixes"] = selection.prefixes
    elif network.sparsity == "topk":
        parameters["budgets"] = None
    return parameters


def _checksum(exported: Exported) -> str:
    """Return the checksum of all that is read of a model."""
    said, entries = checksums(exported.arrays | entries_read(exported.config))
    return f"{said:08x}{entries:08x}"


def _check_whole(folder: Path, exported: Exported, header: dict[str, str]) -> None:
    """Check what was read against the checksum in the header, if the files are ours.

    Raises
    ------
    ValueError
        If they differ, or if a header of ours has none.
    """
    saved = header.get(CHECKSUM)
    if saved is None:
        # Programs that save weights by torch say so in the header, and nothing else.
        is_whole = header.keys() <= {"format"} or not exported.is_of_sksae
    else:
        is_whole = saved == _checksum(exported)
    if not is_whole:
        raise ValueError(
            f"{WEIGHTS} and {CONFIG} in {folder} are not what to_safetensors wrote: one of them is "
            "damaged, of another model, or was changed. Take another copy of both, or write them "
            "again."
        )


def _read_config(path: Path) -> dict[str, Any]:
    """Return what a config holds."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON that can be read: {error}.") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold a mapping, got a {type(config).__name__}.")
    return config


def _read_weights(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays of a file, and what its header says besides.

    Those in half precision, which numpy may lack, are in float32.
    """
    from safetensors import SafetensorError, safe_open

    arrays = {}
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            for name in file.keys():  # noqa: SIM118
                # Else all that a header asks for is in the file.
                if 0 in file.get_slice(name).get_shape():
                    raise ValueError(f"{path}: {name} holds no numbers.")
                tensor = file.get_tensor(name)
                if not tensor.is_floating_point():
                    raise ValueError(
                        f"{path}: {name} must hold floating-point numbers, got {tensor.dtype}."
                    )
                arrays[name] = (tensor if tensor.itemsize == 8 else tensor.float()).numpy()
            header = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged, or no safetensors file: {error}.") from error
    return arrays, header
