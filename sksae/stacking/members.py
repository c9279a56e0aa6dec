"""The members of a stack: autoencoders that are, or are to be, trained one upon another."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import TypeAlias

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator

from sksae.base.protocols import Autoencoder
from sksae.base.reading import check_reads_layers, network_as_read
from sksae.model.network import FittedNetwork, sizes_of

Member: TypeAlias = Autoencoder | FrozenEstimator
Named: TypeAlias = list[tuple[str, Member]]


def unfrozen(member: Member) -> tuple[Autoencoder, bool]:
    """Return an autoencoder, and whether it is to be taken as it was fitted."""
    if isinstance(member, FrozenEstimator):
        return member.estimator, True
    return member, False


def networks_taken(named: Named, *, pretrain: bool) -> list[FittedNetwork] | None:
    """Return what members that are not trained have learnt; None if all are trained."""
    members = [unfrozen(entry) for _, entry in named]
    taken = [network_as_read(member) for member, is_frozen in members if is_frozen or not pretrain]
    return taken or None


def check_fit_together(named: Named, n_features: int | None, *, pretrain: bool) -> None:
    """Raise, before anything is trained, if members cannot be taken or trained one upon another.

    Parameters
    ----------
    named : list of (str, estimator)
        Members.
    n_features : int or None
        Of the rows; None if they are not known.
    pretrain : bool
        Whether those that are not in a FrozenEstimator are going to be trained.
    """
    before, below = f"X has {n_features} features", None
    for name, entry in named:
        member, is_frozen = unfrozen(entry)
        with named_in_errors(name):
            check_reads_layers(member)
        if pretrain and not is_frozen:
            with named_in_errors(name):
                specification = member.__sksae_specification__()
            if below is not None:
                check_codes_are_probabilities(name, specification.loss, *below)
            n_features, activation = member.n_components, specification.activation
        else:
            check_is_trained(name, member)
            if n_features is not None:
                check_width(name, member, n_features, before)
            network = member.__sksae_network__()
            n_features, activation = network.n_components, network.code_activation
        below = name, activation
        before = f"{name!r} before it gives codes of {n_features} components"


def check_codes_are_probabilities(name: str, loss: str, below: str, activation: str) -> None:
    """Raise if a member takes the codes that it is to be trained on for probabilities in vain.

    Parameters
    ----------
    name, loss : str
        The member, and what it is trained by.
    below, activation : str
        The member before it, and the activation of its code.

    Raises
    ------
    ValueError
        If these codes need not lie in [0, 1].
    """
    if loss == "cross_entropy" and activation != "sigmoid":
        raise ValueError(
            f"{name!r} of autoencoders has loss={loss!r}, which takes the codes of {below!r} for "
            f"probabilities, but activation={activation!r} of {below!r} need not keep them in "
            f"[0, 1]: use loss='squared_error' for {name!r}, or activation='sigmoid' for "
            f"{below!r}."
        )


def loss_of(entry: Member, *, pretrain: bool) -> str:
    """Return what a member is going to be trained by, or was if it is taken as it is."""
    member, is_frozen = unfrozen(entry)
    if pretrain and not is_frozen:
        return member.__sksae_specification__().loss
    return member.__sksae_network__().loss


def count_encoder_layers(named: Named, *, pretrain: bool) -> int:
    """Return how many layers the encoders of members have, or will have, together."""
    n_layers = 0
    for _, entry in named:
        member, is_frozen = unfrozen(entry)
        if pretrain and not is_frozen:
            n_layers += len(member.__sksae_specification__().layer_sizes)
        else:
            n_layers += member.__sksae_network__().n_encoder_layers
    return n_layers


def count_trained(named: Named, *, pretrain: bool) -> int:
    """Return how many members are to be trained, and not taken as they are."""
    return sum(pretrain and not unfrozen(entry)[1] for _, entry in named)


def check_unchanged(named: Named, members: Sequence[Autoencoder]) -> None:
    """Raise if the members are not what training began with.

    Parameters
    ----------
    named : list of (str, estimator)
        As the parameters have them now.
    members : sequence of autoencoder
        As they are fitted.
    """
    now = [unfrozen(entry)[0].__sksae_specification__().layer_sizes for _, entry in named]
    begun = [sizes_of(member.__sksae_network__().encoder)[1:] for member in members]
    if now != begun:
        raise ValueError(
            "Training can only go on with the autoencoders it began with: their encoders' layers "
            f"have sizes {begun}, the parameters now ask for {now}. Set them back, or fit anew."
        )


def check_names(estimator: BaseEstimator, named: Named, *, pretrain: bool) -> None:
    """Raise if the first member, taken as it is, knows the features by other names than X has.

    Parameters
    ----------
    estimator : estimator
        Whose names of features X has.
    named : list of (str, estimator)
        Members.
    pretrain : bool
        Whether those that are not in a FrozenEstimator are going to be trained.

    Raises
    ------
    ValueError
        If the names differ.
    """
    name, entry = named[0]
    member, is_frozen = unfrozen(entry)
    if pretrain and not is_frozen:
        return
    known = getattr(member, "feature_names_in_", None)
    given = getattr(estimator, "feature_names_in_", None)
    if known is not None and given is not None and not np.array_equal(known, given):
        raise ValueError(
            f"{name!r} of autoencoders was fitted to features named {list(known)}, but those of X "
            f"are {list(given)}: name and order them alike."
        )


def check_is_trained(name: str, member: Autoencoder) -> None:
    """Raise if a member that is to be taken as it is has not been fitted."""
    if not hasattr(member, "coefs_"):
        raise NotFittedError(
            f"{name!r} of autoencoders is to be taken as it is (pretrain=False, or in a "
            "FrozenEstimator), but is not fitted: fit it first, or use pretrain=True. (clone, and "
            "with it every search, makes unfitted members of fitted ones: wrap them in "
            "sklearn.frozen.FrozenEstimator.)"
        )


def check_width(name: str, member: Autoencoder, n_features: int, before: str) -> None:
    """Raise if a member was fitted to rows of another width than it is now given.

    Parameters
    ----------
    name : str
        Of the member.
    member : autoencoder
        Fitted.
    n_features : int
        Of the rows that it is now given.
    before : str
        Where these come from, in words.

    Raises
    ------
    ValueError
        If the member was fitted to rows of another width.
    """
    if member.n_features_in_ != n_features:
        raise ValueError(
            f"The members of autoencoders do not fit: {name!r} was fitted to rows of "
            f"{member.n_features_in_} features, but {before}."
        )


def as_fitted(named: Named) -> list[Autoencoder]:
    """Return copies of members that are fitted already, or raise if they do not fit together."""
    check_fit_together(named, None, pretrain=False)
    return [deepcopy(unfrozen(entry)[0]) for _, entry in named]


@contextmanager
def named_in_errors(name: str) -> Iterator[None]:
    """Have errors tell which member they speak of."""
    try:
        yield
    except Exception as error:
        if error.args and isinstance(error.args[0], str):
            error.args = (f"{name!r} of autoencoders: {error.args[0]}", *error.args[1:])
        raise
