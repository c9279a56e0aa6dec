"""Where a training starts from: new weights, or a fitted network and what it has seen."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import numpy as np

from sksae.model.architecture import Architecture
from sksae.model.network import FittedNetwork
from sksae.model.numbers import Matrix
from sksae.model.rescaling import rescaled
from sksae.model.scaling import Scaling, scaled_deviation, scaling_of
from sksae.training.centred import to_centred
from sksae.training.code_start import CodeStart, deviation_at_start
from sksae.training.moments import count_rows, find_scaling, well_scaled
from sksae.training.record import Fitted
from sksae.training.seen import Seen, mean_weight

# How the names of what a state holds begin that is about one code only.
OF_ONE_CODE = ("beta", "idle_")


CodeStartFinder: TypeAlias = Callable[[float], CodeStart]


class ScalingFinder(Protocol):
    """What has the signature of `find_scaling`."""

    def __call__(
        self,
        X: Matrix,
        index: np.ndarray | None,
        weight: np.ndarray | None,
        *,
        scale_data: bool,
        output_activation: str,
        loss: str,
    ) -> Scaling:
        """Return the scaling of the rows that count."""


@dataclass(frozen=True)
class Start:
    """Where a training starts from.

    Attributes
    ----------
    flat : ndarray of shape (n_parameters,)
        Parameters, for centred rows.
    scaling : Scaling
        Of the rows.
    seen : Seen
        All rows so far, those of this training included.
    state : dict of ndarray or None
        Where the training stood that this one continues.
    pace : float
        For how many steps each step counts, where rows weigh more or less than those before.
    """

    flat: np.ndarray
    scaling: Scaling
    seen: Seen
    state: dict[str, np.ndarray] | None = None
    pace: float = 1.0


def begin(
    architecture: Architecture,
    X: Matrix,
    index: np.ndarray | None,
    sample_weight: np.ndarray | None,
    random_state: np.random.RandomState,
    *,
    find_code_start: CodeStartFinder,
    loss: str,
    scale_data: bool,
    find: ScalingFinder = find_scaling,
) -> Start:
    """Return a start from new weights.

    Parameters
    ----------
    architecture : Architecture
        Layers.
    X, index, sample_weight
        Rows, which of them count, and their weights as they were given.
    random_state : RandomState
        Source of the weights.
    find_code_start : callable
        Returns what units begin with, given the deviation of pre-activations.
    loss : {"squared_error", "cross_entropy"}
        Of the output.
    scale_data : bool
        Whether the rows are scaled.
    find : callable
        `find_scaling`, or what knows what it would return.
    """
    scaling = find(
        X,
        index,
        well_scaled(sample_weight),
        scale_data=scale_data,
        output_activation=architecture.activations[-1],
        loss=loss,
    )
    assert scaling.columns is not None
    n_rows = count_rows(X, index)
    weight = mean_weight(sample_weight, index)
    seen = Seen.of(n_rows, weight, scaling.centre, scaling.columns.deviation)
    begins_with = find_code_start(deviation_at_start(scaling, seen.mean_deviation))
    flat = _new_weights(architecture, random_state, begins_with, scaling, loss)
    return Start(flat, scaling, seen)


def go_on(
    before: Fitted,
    architecture: Architecture,
    X: Matrix,
    index: np.ndarray | None,
    sample_weight: np.ndarray | None,
    *,
    find_code_start: CodeStartFinder,
    sparsity: str | None,
    is_piece: bool,
) -> Start:
    """Return a start from a fitted network; from new weights if its rows were all alike.

    Of such rows a network learns nothing, and its weights decay.

    Parameters
    ----------
    before : Fitted
        Network and record of the training to go on from.
    architecture, X, index, sample_weight, find_code_start
        As in `begin`.
    sparsity : str or None
        The code that is asked for: what is known of another one is of no use to it.
    is_piece : bool
        Whether the rows are one more piece of a stream: such put the scaling right where they show
        it wrong, and count as they weigh beside those before.
    """
    network, record = before
    so_far, piece = record.seen, Seen.of_rows(X, index, sample_weight)
    seen = so_far.followed_by(piece)
    pace = seen.pace(piece) if is_piece else 1.0
    if so_far.has_varied:
        state = record.state
        if sparsity != network.sparsity:
            state = {k: v for k, v in state.items() if not k.startswith(OF_ONE_CODE)}
        if is_piece:
            seen, other = after_piece(network, so_far, piece)
            if other is not None:
                # The solver stood elsewhere.
                network, state = rescaled(network, other), {}
        flat = to_centred(architecture, network.layers, network.scaling)
        return Start(flat, network.scaling, seen, state, pace)
    draws, scaled, loss = np.random.RandomState(record.seed), network.scaling.scaled, network.loss
    if piece.has_varied:
        start = begin(
            architecture,
            X,
            index,
            sample_weight,
            draws,
            find_code_start=find_code_start,
            loss=loss,
            scale_data=scaled,
        )
        return replace(start, seen=seen, pace=pace)
    scaling = scaling_of(
        seen.mean,
        seen.mean_deviation,
        scale_data=scaled,
        output_activation=network.row_range,
    )
    begins_with = find_code_start(deviation_at_start(scaling, seen.mean_deviation))
    flat = _new_weights(architecture, draws, begins_with, scaling, loss)
    return Start(flat, scaling, seen, pace=pace)


def after_piece(network: FittedNetwork, so_far: Seen, piece: Seen) -> tuple[Seen, Scaling | None]:
    """Return what is known after one more piece, and another scaling if that shows the last wrong.

    Parameters
    ----------
    network : FittedNetwork
        Trained on rows that were not all alike.
    so_far : Seen
        What is known of these.
    piece : Seen
        What the piece tells.
    """
    in_use = network.scaling
    seen = so_far.followed_by(piece)
    deviation = seen.mean_deviation
    if in_use.scaled:
        deviation = in_use.scale * scaled_deviation(len(seen.mean), network.row_range)
    if not seen.is_far_from(in_use.centre, deviation):
        return seen, None
    if so_far.is_young:
        seen = so_far.turned_into(piece)
    return seen, scaling_of(
        seen.mean,
        seen.mean_deviation,
        scale_data=in_use.scaled,
        output_activation=network.row_range,
    )


def _new_weights(
    architecture: Architecture,
    random_state: np.random.RandomState,
    begins_with: CodeStart,
    scaling: Scaling,
    loss: str,
) -> np.ndarray:
    from sksae.engine.starting import starting_parameters

    # The mean row, in the units of the output.
    target_mean = scaling.centre if loss == "cross_entropy" else scaling.offset
    return starting_parameters(
        architecture,
        random_state,
        code_bias=begins_with.bias,
        threshold=begins_with.threshold,
        target_mean=target_mean,
    )


def check_same_network(
    network: FittedNetwork,
    architecture: Architecture,
    *,
    loss: str,
    scale_data: bool,
    tied_weights: bool,
) -> None:
    """Raise if training is to go on with other layers than it began with.

    Parameters
    ----------
    network : FittedNetwork
        To go on from.
    architecture : Architecture
        The layers that are asked for.
    loss : str
        Parameter that goes with them.
    scale_data, tied_weights : bool
        Likewise.
    """
    for name, began, now in (
        ("loss", network.loss, loss),
        ("scale_data", network.scaling.scaled, scale_data),
        ("tied_weights", network.is_tied, tied_weights),
    ):
        if now != began:
            raise ValueError(
                f"Training can only go on with {name}={began!r}, with which it began: set it back, "
                "or fit anew with warm_start=False."
            )
    began_with, asked_for = ((each.sizes, each.activations) for each in (network, architecture))
    if began_with != asked_for:
        raise ValueError(
            "Training can only go on with the layers it began with: they had sizes "
            f"{began_with[0]} and activations {began_with[1]}, the parameters now ask for "
            f"{asked_for[0]} and {asked_for[1]}. Set the parameters back, or fit anew with "
            "warm_start=False."
        )
