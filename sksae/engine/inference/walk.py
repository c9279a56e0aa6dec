"""A trained network at work: rows to codes, codes to rows, and how well they agree.

Everything is computed in the precision of what is given, chunk by chunk, side by side. Chunks with
numbers that it has no room for on the way are worked on in an extended range, at less speed.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sksae.engine.device import to_float64
from sksae.engine.inference import extended_range
from sksae.engine.inference.few_rows import decode_few, encode_few
from sksae.engine.inference.first_layer import FirstOfCentred, FirstOfSparse, LayerOfSparse
from sksae.engine.inference.layers import Layers
from sksae.engine.inference.outlets import DenseCodes, Outlet, SparseCodes
from sksae.engine.inference.pursued import PursuedCodes, n_passes, run_extended
from sksae.engine.portions import Portions
from sksae.engine.threads import Crew, n_cores, n_parts
from sksae.model.network import FittedNetwork
from sksae.model.numbers import (
    Extended,
    Matrix,
    add,
    as_dense,
    extend,
    float_dtype,
    multiply,
    norms,
)
from sksae.model.slices import chunk_slices, equal_slices, within
from sksae.process.shortage import AT_WORK, explained_shortage

# On the CPU a chunk has about so many rows at most: it is to be found in the cache of its core.
MOST_CHUNK_ROWS = 512


def _walk(
    layers: Layers,
    n_rows: int,
    first: int,
    last: int,
    begin: Callable[[], Callable[[slice], None]],
) -> None:
    """Let the members of a crew do some work on one chunk of rows after another, side by side.

    Parameters
    ----------
    layers : Layers
        The network.
    n_rows : int
        All rows.
    first, last : int
        Which layers they go through.
    begin : callable
        Returns what a member does with the rows of a slice; again, with halves of them, where
        memory ends.
    """
    coefs = [layer.coef for layer in layers.network.layers[first:last]]
    on_cpu = layers.device.type == "cpu"
    work = float(n_rows) * sum(coef.size for coef in coefs) * n_passes(layers.network)
    n_members = n_parts(work, n_rows, n_cores()) if on_cpu else 1
    widest = max(max(coef.shape) for coef in coefs)
    most = MOST_CHUNK_ROWS if on_cpu else None

    def walk(part: slice) -> None:
        work, portions = begin(), Portions()
        for chunk in within(part, chunk_slices(part.stop - part.start, widest, most)):
            portions.each(chunk, work)

    layers.prepare(first, last)
    with Crew(n_members) as crew:
        crew.run([partial(walk, part) for part in equal_slices(n_rows, n_members)])


@explained_shortage(AT_WORK)
@np.errstate(all="ignore")
def encode(
    network: FittedNetwork,
    X: Matrix,
    device: str,
    n_layers: int | None = None,
    check: Callable[[], object] | None = None,
) -> np.ndarray:
    """Return the codes of some rows.

    Parameters
    ----------
    network : FittedNetwork
        The network.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    device : str
        Where to compute.
    n_layers : int, optional
        After how many layers to stop; by default after all of the encoder.
    check : callable, optional
        Called before rows that are out of the ordinary are encoded, as those with nan are: it may
        raise.

    Returns
    -------
    codes : ndarray of shape (n_samples, n_components), float32 if X is, else float64
        Activation of the last of these layers.

    Raises
    ------
    ValueError
        If they are beyond the range of that precision.
    """
    layers = Layers(network, float_dtype(X), device)
    if n_layers is None:
        n_layers = network.n_encoder_layers
    if network.pursuit is None and (of_few := encode_few(layers, X, n_layers)) is not None:
        return of_few
    codes = DenseCodes(layers, X.shape[0], network.layers[n_layers - 1].coef.shape[1])
    _encode_to(codes, layers, X, n_layers, check)
    return codes.array


@explained_shortage(AT_WORK)
@np.errstate(all="ignore")
def encode_sparse(
    network: FittedNetwork,
    X: Matrix,
    device: str,
    check: Callable[[], object] | None = None,
) -> sp.csr_array:
    """Return the codes of some rows by their entries; all codes are never there as an array.

    Parameters
    ----------
    network, X, device, check
        As in `encode`.

    Returns
    -------
    codes : csr_array of shape (n_samples, n_components), float32 if X is, else float64
        With sorted indices, and no zeros among its entries.

    Raises
    ------
    ValueError
        If codes are beyond the range of that precision.
    """
    layers = Layers(network, float_dtype(X), device)
    n_layers = network.n_encoder_layers
    codes = SparseCodes(layers, X.shape[0], network.n_components)
    if network.pursuit is None and (of_few := encode_few(layers, X, n_layers)) is not None:
        codes.writer().write(slice(0, len(of_few)), of_few)
    else:
        _encode_to(codes, layers, X, n_layers, check)
    return codes.to_csr()


def _encode_to(
    codes: Outlet,
    layers: Layers,
    X: Matrix,
    n_layers: int,
    check: Callable[[], object] | None,
) -> None:
    """Make codes and hand them over, chunk by chunk.

    Parameters
    ----------
    codes : Outlet
        Where they go.
    layers : Layers
        The network.
    X, n_layers, check
        As in `encode`.
    """
    network = layers.network
    first: FirstOfCentred | FirstOfSparse | PursuedCodes
    if network.pursuit is not None:
        first = PursuedCodes(layers, X)
    elif sp.issparse(X):
        first = FirstOfSparse(layers, X)
    else:
        first = FirstOfCentred(layers, X, only_forward=True)

    def begin() -> Callable[[slice], None]:
        enter, writer = first.reader(), codes.writer()

        def encode_rows(which: slice) -> None:
            n_rows = which.stop - which.start
            # On the CPU the last layer writes where the codes are to be.
            target = writer.room_for(which)
            out = target if n_layers == 1 else None
            _, hidden = enter(which, layers.memory_for(0, n_rows) if out is None else out)
            found = layers.run(hidden, 1, n_layers, target)
            if found is not None:
                writer.write(which, found)
                return
            if check is not None:
                check()
            exact = run_extended(
                network, extended_range.seen_of(network.scaling, X[which]), n_layers
            )
            writer.write(which, extended_range.as_dtype(exact, layers.dtype, "codes of"))

        return encode_rows

    _walk(layers, X.shape[0], 0, n_layers, begin)


@explained_shortage(AT_WORK)
@np.errstate(all="ignore")
def decode(network: FittedNetwork, codes: Matrix, device: str) -> np.ndarray:
    """Return the rows that some codes stand for, in the units of X.

    Parameters
    ----------
    network : FittedNetwork
        The network.
    codes : ndarray or CSR matrix of shape (n_samples, n_components)
        Codes; those of a CSR matrix are not made dense.
    device : str
        Where to compute.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), float32 if the codes are, else float64

    Raises
    ------
    ValueError
        If they are beyond the range of that precision.
    """
    layers = Layers(network, float_dtype(codes), device)
    if (of_few := decode_few(layers, codes)) is not None:
        return of_few
    scaling = network.output_scaling
    middle, last = network.n_encoder_layers, len(network.layers)
    X = np.empty((codes.shape[0], network.layers[-1].coef.shape[1]), float_dtype(codes))
    has_room = all(
        1.0 / layers.large < size < layers.large
        for size in (scaling.scale, 1.0 + float(np.abs(scaling.mean).max()))
    )
    by_entries = LayerOfSparse(layers, middle, codes) if sp.issparse(codes) else None

    def decode_rows(which: slice) -> None:
        output = None
        if has_room and by_entries is not None:
            output = layers.run(by_entries(which), middle + 1, last)
        elif has_room:
            output = layers.run(layers.as_tensor(codes[which]), middle, last)
        if output is not None:
            found = output.sub_(scaling.shift).mul_(scaling.scale).cpu().numpy()
            np.add(found, scaling.mean, out=X[which], casting="same_kind")
        else:
            exact = extended_range.run(network, extend(as_dense(codes[which])), middle, last)
            moved = add(exact, extend(np.full((1, 1), -scaling.shift)))
            exact = add(multiply(moved, scaling.scale), extend(scaling.mean[None]))
            X[which] = extended_range.as_dtype(exact, X.dtype, "rows of the codes in")

    _walk(layers, codes.shape[0], middle, last, lambda: decode_rows)
    return X


@explained_shortage(AT_WORK)
@np.errstate(all="ignore")
def reconstruction_distances(network: FittedNetwork, X: Matrix, device: str) -> Extended:
    """Return the norm of each row's reconstruction error in the units of X.

    Parameters
    ----------
    network : FittedNetwork
        The network.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    device : str
        Where to compute.

    Returns
    -------
    distances : Extended, of shape (n_samples, 1)
    """
    layers, last = Layers(network, float_dtype(X), device), len(network.layers)
    values, exponent = np.empty((X.shape[0], 1)), np.empty((X.shape[0], 1), np.int64)
    scaling = network.output_scaling
    offset = layers.as_tensor(scaling.offset)
    # How many units of the output a unit of what the network sees is.
    ratio = network.scaling.scale / scaling.scale
    first: FirstOfCentred | PursuedCodes
    if network.pursuit is not None:
        first = PursuedCodes(layers, X)
    else:
        first = FirstOfCentred(layers, X, only_forward=False)

    def begin() -> Callable[[slice], None]:
        enter = first.reader()

        def measure_rows(which: slice) -> None:
            out = layers.memory_for(0, which.stop - which.start)
            centred, hidden = enter(which, out)
            output, found = layers.run(hidden, 1, last), None
            if output is not None:
                error = output.sub_(offset).sub_(centred, alpha=ratio)
                found = _norms(error, layers.large)
            if found is None:
                rows = extended_range.seen_of(network.scaling, X[which])
                wanted = extended_range.seen_of(scaling, X[which])
                made = run_extended(network, rows, last)
                found = norms(add(made, multiply(wanted, -1.0)))
            values[which], exponent[which] = multiply(found, scaling.scale)

        return measure_rows

    _walk(layers, X.shape[0], 0, last, begin)
    return Extended(values, exponent)


def _norms(rows: Tensor, large: float) -> Extended | None:
    """Return the norm of each row, whose squares may vanish; None if they overflow."""
    found = to_float64(torch.linalg.vector_norm(rows, dim=-1)).cpu().numpy()
    # Not even if it is nan.
    if not (found < large).all():
        return None
    values, exponent = extend(found[:, None])
    tiny = np.flatnonzero(found < 1.0 / large)
    if len(tiny):
        values[tiny], exponent[tiny] = norms(extend(rows[tiny].cpu().numpy()))
    return Extended(values, exponent)
