"""Where a training starts from: new weights, or a fitted network and what it has seen."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sksae.joined import join, to_centred
from sksae.rescaling import after_piece, rescaled, scaling_in_use
from sksae.scaling import Matrix, Scaling, find_scaling, scaling_of, well_scaled
from sksae.seen import Seen, mean_weight

if TYPE_CHECKING:
    from sksae.engine.parameters import Architecture
    from sksae.transformer import SparseAutoencoderTransformer


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
    architecture: "Architecture",
    X: Matrix,
    index: np.ndarray | None,
    sample_weight: np.ndarray | None,
    random_state: np.random.RandomState,
    *,
    code_bias: float,
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
    code_bias : float
        Pre-activation of every unit at the mean row.
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
    )
    assert scaling.columns is not None
    n_rows = X.shape[0] if index is None else len(index)
    weight = mean_weight(sample_weight, index)
    seen = Seen.of(n_rows, weight, scaling.centre, scaling.columns.deviation)
    return Start(_new_weights(architecture, random_state, code_bias, scaling), scaling, seen)


def go_on(
    before: "SparseAutoencoderTransformer",
    architecture: "Architecture",
    X: Matrix,
    index: np.ndarray | None,
    sample_weight: np.ndarray | None,
    *,
    code_bias: float,
    is_piece: bool,
) -> Start:
    """Return a start from a fitted network; from new weights if its rows were all alike.

    Of such rows a network learns nothing, and its weights decay.

    Parameters
    ----------
    before : SparseAutoencoderTransformer
        Fitted.
    architecture, X, index, sample_weight, code_bias
        As in `begin`.
    is_piece : bool
        Whether the rows are one more piece of a stream: such put the scaling right where they show
        it wrong, and count as they weigh beside those before.
    """
    so_far, piece = Seen(**before._seen), Seen.of_rows(X, index, sample_weight)
    seen = so_far.followed_by(piece)
    pace = seen.pace(piece) if is_piece else 1.0
    if so_far.has_varied:
        network = before
        if is_piece:
            seen, other = after_piece(before, piece)
            network = before if other is None else rescaled(before, other)
        scaling = scaling_in_use(network)
        flat = to_centred(architecture, join([network]), scaling)
        return Start(flat, scaling, seen, network._state, pace)
    draws = np.random.RandomState(before._seed)
    if piece.has_varied:
        start = begin(
            architecture,
            X,
            index,
            sample_weight,
            draws,
            code_bias=code_bias,
            scale_data=before._scaled,
        )
        return replace(start, seen=seen, pace=pace)
    scaling = scaling_of(
        seen.mean,
        seen.mean_deviation,
        scale_data=before._scaled,
        output_activation=architecture.activations[-1],
    )
    flat = _new_weights(architecture, draws, code_bias, scaling)
    return Start(flat, scaling, seen, pace=pace)


def _new_weights(
    architecture: "Architecture",
    random_state: np.random.RandomState,
    code_bias: float,
    scaling: Scaling,
) -> np.ndarray:
    from sksae.engine.parameters import starting_parameters

    return starting_parameters(
        architecture, random_state, code_bias=code_bias, target_mean=scaling.offset
    )


def check_same_network(
    estimator: "SparseAutoencoderTransformer",
    before: "SparseAutoencoderTransformer",
    architecture: "Architecture",
) -> None:
    """Raise if training is to go on with other layers than it began with."""
    if estimator.scale_data != before._scaled:
        raise ValueError(
            f"Training can only go on with scale_data={before._scaled}, with which it began: "
            "set it back, or fit anew with warm_start=False."
        )
    if estimator.tied_weights != before._tied:
        raise ValueError(
            f"Training can only go on with tied_weights={before._tied}, with which it began: "
            "set it back, or fit anew with warm_start=False."
        )
    sizes = (*(coef.shape[0] for coef in before.coefs_), before.coefs_[-1].shape[1])
    began, now = (sizes, before._activations), (architecture.sizes, architecture.activations)
    if began != now:
        raise ValueError(
            "Training can only go on with the layers it began with: they had sizes "
            f"{began[0]} and activations {began[1]}, the parameters now ask for {now[0]} and "
            f"{now[1]}. Set the parameters back, or fit anew with warm_start=False."
        )
