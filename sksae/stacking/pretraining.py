"""Training the members of a stack one upon another."""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
from sklearn.base import clone
from sklearn.callback import CallbackContext
from sklearn.utils import check_random_state

from sksae.base.attributes import record_of
from sksae.base.inference import encode
from sksae.base.protocols import Autoencoder
from sksae.base.reading import network_as_read
from sksae.base.stages import Stages, task_of, tell
from sksae.model.numbers import Matrix
from sksae.process.processes import processes_in_use
from sksae.process.warning import fitting_member
from sksae.stacking.members import Named, named_in_errors, unfrozen


def draw_seeds(random_state: int | np.random.RandomState | None, n: int) -> list[int]:
    """Return seeds for so many trainings."""
    draws = check_random_state(random_state)
    seeds = [int(draws.randint(np.iinfo(np.int32).max)) for _ in range(n)]
    return processes_in_use().of_first(seeds)


def pretrained(
    named: Named,
    X: Matrix,
    sample_weight: np.ndarray | None,
    seeds: Sequence[int],
    *,
    pretrain: bool,
    context: CallbackContext | None,
    caller: object,
    stages: Stages,
    once_after: Sequence[Autoencoder] | None = None,
) -> tuple[list[Autoencoder], Matrix]:
    """Train the members, each on the codes of the one before, or take them as they are.

    Parameters
    ----------
    named : list of (str, estimator)
        Checked by `check_fit_together`, and never changed: what is trained is a clone, and what is
        taken a copy.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Validated rows.
    sample_weight : ndarray of shape (n_samples,) or None
        Their weights.
    seeds : sequence of int
        Of members without a random_state of their own.
    pretrain : bool
        Whether to train; members in a FrozenEstimator are taken as they are in any case.
    context : CallbackContext or None
        Of the whole fit.
    caller : estimator
        Which callbacks hear of.
    stages : Stages
        What they are the first of.
    once_after : sequence of autoencoder, optional
        If given, members go over the rows once, by ``partial_fit`` where they can: these go on, if
        there are any.

    Returns
    -------
    members : list of autoencoder
        Fitted.
    codes : ndarray of shape (n_samples, n_components)
        Of the last one.
    """
    members: list[Autoencoder] = []
    for (name, entry), seed in zip(named, seeds, strict=True):
        member, is_frozen = unfrozen(entry)
        if pretrain and not is_frozen:
            member = deepcopy(once_after[len(members)]) if once_after else clone(member)
            if member.random_state is None:
                member.random_state = seed
            with (
                fitting_member(member, caller, name, on_codes=bool(members)),
                stages.begin(name, "Pre-training") as end,
            ):
                once = once_after is not None
                _fit_one(name, member, X, sample_weight, context, caller, once=once)
                end(record_of(member).stopped_by, member.n_iter_, member.loss_)
        else:
            member = deepcopy(member)
        X = encode(network_as_read(member), X, member.device)
        members.append(member)
    return members, X


def _fit_one(
    name: str,
    member: Autoencoder,
    X: Matrix,
    sample_weight: np.ndarray | None,
    context: CallbackContext | None,
    caller: object,
    *,
    once: bool,
) -> None:
    """Train a member; in a single pass if there is no context, and the member can.

    Parameters
    ----------
    name : str
        Of the member.
    member : autoencoder
        Fitted in place.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    sample_weight : ndarray of shape (n_samples,) or None
        Their weights; None where all are alike.
    context : CallbackContext or None
        Of the whole fit.
    caller : estimator
        Which callbacks hear of.
    once : bool
        Whether a single pass is enough.
    """
    if context is None:
        may_go_once = hasattr(member, "partial_fit") and not member.early_stopping
        train = member.partial_fit if once and may_go_once else member.fit
        with named_in_errors(name):
            train(X, sample_weight=sample_weight)
        give_up_if_interrupted(record_of(member).stopped_by)
        return
    subcontext = context.subcontext(task_name=task_of(name))
    with named_in_errors(name), subcontext.propagate_callback_context(member):
        tell(subcontext.call_on_fit_task_begin, estimator=caller, X=X)
        member.fit(X, sample_weight=sample_weight)
        give_up_if_interrupted(record_of(member).stopped_by)
        tell(subcontext.call_on_fit_task_end, estimator=caller, X=X)


def give_up_if_interrupted(stopped_by: str) -> None:
    """Raise if a user ended a training without which those that follow make no sense."""
    if stopped_by == "interrupt":
        raise KeyboardInterrupt
