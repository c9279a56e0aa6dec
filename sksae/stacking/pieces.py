"""What becomes of the members of a supervised stack with one more piece of rows."""

from collections.abc import Sequence
from enum import Enum, auto

import numpy as np

from sksae.base.attributes import goes_on, record_of, with_network, with_seen
from sksae.base.protocols import Autoencoder
from sksae.base.stages import Stages
from sksae.model.numbers import Matrix
from sksae.model.rescaling import can_keep_codes, rescaled
from sksae.stacking.members import Named, count_trained, unfrozen
from sksae.stacking.pretraining import pretrained
from sksae.training.seen import ENOUGH_ROWS, Seen
from sksae.training.start import after_piece

# Members are trained on a piece that is so many times as long as the few rows before it.
FAR_LONGER = 10


class Change(Enum):
    """What a piece of rows did to members."""

    NONE = auto()
    RESCALED = auto()
    TRAINED = auto()


def members_of_piece(
    named: Named,
    before: Sequence[Autoencoder] | None,
    X: Matrix,
    sample_weight: np.ndarray | None,
    seeds: Sequence[int],
    *,
    pretrain: bool,
    is_first_trained: bool,
    caller: object,
    verbose: bool | int,
) -> tuple[list[Autoencoder], Change]:
    """Return the members to go on with, and what has changed.

    They are pre-trained on the first piece, and again on the first that varies, that is far longer
    than a few rows before it, or that shows them trained on rows unlike those to come. Rows all
    alike train them in one pass only: more of it would leave nothing of their weights. Where later
    pieces show the first member's scaling wrong it is rescaled, unless its first layer is frozen.

    Parameters
    ----------
    named : list of (str, estimator)
        Members as the parameters have them.
    before : sequence of autoencoder or None
        As they were after the last piece; None at the first.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows of the piece.
    sample_weight : ndarray of shape (n_samples,) or None
        Their weights, as they were given.
    seeds : sequence of int
        Of members without a random_state of their own.
    pretrain : bool
        Whether members that are not in a FrozenEstimator are pre-trained.
    is_first_trained : bool
        Whether the first member's first layer is trained for the task.
    caller : estimator
        Whose members they are.
    verbose : bool or int
        Whether to print lines.
    """
    counted = None if sample_weight is None else np.flatnonzero(sample_weight)
    piece = Seen.of_rows(X, counted, sample_weight)

    def trained(*, once: bool) -> list[Autoencoder]:
        stages = Stages(count_trained(named, pretrain=pretrain), verbose)
        return pretrained(
            named,
            X,
            sample_weight,
            seeds,
            pretrain=pretrain,
            context=None,
            caller=caller,
            stages=stages,
            once_after=(before or []) if once else None,
        )[0]

    if before is None:
        return trained(once=not piece.has_varied), Change.TRAINED
    first, may_train = before[0], pretrain and not unfrozen(named[0][1])[1]
    if not goes_on(first):
        # Of a dictionary from a file of another program: its scaling is what the file says.
        return list(before), Change.NONE
    so_far, network = record_of(first).seen, first.__sksae_network__()
    if may_train and (not so_far.has_varied or _tells_far_more(piece, so_far)):
        return trained(once=not piece.has_varied), Change.TRAINED
    if not so_far.has_varied or not (is_first_trained or may_train):
        return list(before), Change.NONE
    seen, other = after_piece(network, so_far, piece)
    is_beyond = other is not None and not can_keep_codes(network, other)
    if is_beyond and may_train and so_far.is_young and piece.has_varied:
        members = trained(once=False)
        return [with_seen(members[0], seen), *members[1:]], Change.TRAINED
    change = Change.NONE
    if other is not None and is_first_trained:
        first = with_network(first, rescaled(network, other, keep_codes=True))
        change = Change.RESCALED
    return [with_seen(first, seen), *before[1:]], change


def _tells_far_more(piece: Seen, so_far: Seen) -> bool:
    return so_far.n_told < ENOUGH_ROWS and piece.n_rows >= FAR_LONGER * so_far.n_told
