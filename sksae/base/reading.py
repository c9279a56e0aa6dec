"""How fitted networks are read: by what algorithm and units, and into what container codes go."""

from collections.abc import Sequence
from dataclasses import replace

import scipy.sparse as sp
from sklearn import get_config
from sklearn.utils._set_output import _get_output_config

from sksae.base.protocols import Autoencoder
from sksae.model.codes import CODES, Selection
from sksae.model.network import FittedNetwork
from sksae.model.pursuit import chooses_few
from sksae.process.warning import warn_user
from sksae.training.pursuit import resolve_pursuit
from sksae.training.validation import check_n_active, check_sparse_output


def as_read(
    network: FittedNetwork, n_active: int | None, algorithm: str = "encode"
) -> FittedNetwork:
    """Return a network whose codes have another number of active units, or are found by pursuit.

    Parameters
    ----------
    network : FittedNetwork
        As it was trained.
    n_active : int or None
        Of each row; None is as it was trained, and so it is for a code that has no such number
        unless the algorithm is "omp".
    algorithm : {"encode", "refit", "omp"}, default="encode"
        The `transform_algorithm`.

    Raises
    ------
    ValueError
        If it is no number of units, or there are not so many; if the network cannot be read by the
        algorithm.
    """
    if n_active is not None:
        check_n_active(n_active, network.n_components)
    selection = network.encoder[-1].selection
    pursuit = resolve_pursuit(
        algorithm,
        n_active,
        n_selected=None if selection is None else selection.n_active,
        sparsity=network.sparsity,
        activation=network.code_activation,
        output_activation=network.output_activation,
        n_hidden_layers=network.n_encoder_layers - 1,
    )
    if pursuit is not None:
        network = replace(network, pursuit=pursuit)
    return network if n_active is None else _at_n_active(network, n_active)


def _at_n_active(network: FittedNetwork, n_active: int) -> FittedNetwork:
    """Return a network that keeps so many units of a row, if its code can be read so."""
    code = network.n_encoder_layers - 1
    selection = _selection_of(network)
    if selection is None:
        return network
    layers = list(network.layers)
    layers[code] = layers[code]._replace(selection=selection.with_n_active(int(n_active)))
    return replace(network, layers=tuple(layers))


def network_as_read(member: Autoencoder) -> FittedNetwork:
    """Return the network of a fitted member of a stack as its `transform` reads it.

    Raises
    ------
    ValueError
        If that is by pursuit.
    """
    check_reads_layers(member)
    return as_read(member.__sksae_network__(), member.transform_n_active)


def check_reads_layers(member: Autoencoder) -> None:
    """Raise if the codes of an autoencoder that is to be part of a stack are found by pursuit."""
    if member.transform_algorithm != "encode":
        raise ValueError(
            f"transform_algorithm={member.transform_algorithm!r} cannot be had in a stack, which "
            "is read as one network, layer by layer: use transform_algorithm='encode', or put the "
            "autoencoders into a Pipeline."
        )


def warn_of_reading(
    network: FittedNetwork, n_active: int | None, algorithm: str = "encode"
) -> None:
    """Warn of a number of active units that the network was not trained for.

    Parameters
    ----------
    network : FittedNetwork
        As it was trained.
    n_active, algorithm
        As in `as_read`, which raises the same.
    """
    selection = _selection_of(network)
    # Atoms that are chosen one after another are none the worse for another number of them.
    if n_active is None or selection is None or algorithm == "omp":
        return
    check_n_active(n_active, network.n_components)
    trained_for = selection.n_active
    if n_active > trained_for:
        warn_user(
            f"transform_n_active={n_active} is more than the {trained_for} active units that the "
            "model was trained with: further ones were never asked to help. Fit with a larger rho."
        )
    elif n_active < trained_for and len(selection.budgets) == 1:
        may_have_several = len(network.layers) == 2 and not selection.prefixes
        advice = " Fit with budgets='auto'." if may_have_several else ""
        warn_user(
            f"transform_n_active={n_active} is another number of active units than the "
            f"{trained_for} that the model was trained for alone: such codes rebuild less than "
            f"those of a model that was trained for them.{advice}"
        )


def warn_of_readings(members: Sequence[Autoencoder]) -> None:
    """Warn of members whose codes have another number of active units than they were trained for.

    See `warn_of_reading`.
    """
    for member in members:
        if member.transform_n_active is not None:
            warn_of_reading(member.__sksae_network__(), member.transform_n_active)


def _selection_of(network: FittedNetwork) -> Selection | None:
    """Return what a code selects of each row's units, if it can be read at another number."""
    return network.encoder[-1].selection if CODES[network.sparsity].is_read_at_will else None


def check_output(estimator: object, network: FittedNetwork, *, is_sparse: bool) -> None:
    """Raise, before the work, if codes cannot be what an estimator is asked to return.

    Parameters
    ----------
    estimator : estimator
        Whose `set_output` is asked.
    network : FittedNetwork
        What makes the codes.
    is_sparse : bool
        Whether they are to be a sparse matrix.

    Raises
    ------
    ValueError
        If they are to be sparse and few entries are 0, or to be a table besides.
    """
    if not is_sparse:
        return
    if not chooses_few(network.pursuit):
        check_sparse_output(is_sparse, network.sparsity, network.code_activation)
    check_container(estimator)


def check_container(estimator: object) -> None:
    """Raise if the output of an estimator, which is sparse, is to be put into a table."""
    container = _get_output_config("transform", estimator)["dense"]
    if container != "default":
        raise ValueError(
            f"{container.capitalize()} output does not support sparse data. "
            f"sparse_output=True and set_output(transform={container!r}) exclude each other: use "
            "sparse_output=False, or set_output(transform='default')."
        )


def as_configured(codes: sp.csr_array) -> sp.csr_array | sp.csr_matrix:
    """Return sparse codes in the container of scipy's two that scikit-learn is set to return."""
    return codes if get_config()["sparse_interface"] == "sparray" else sp.csr_matrix(codes)
