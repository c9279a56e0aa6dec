"""The autoencoders of a stack: named, trained one upon another, or taken as they are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from numbers import Integral
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse as sp
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    clone,
)
from sklearn.callback import CallbackContext
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils import Tags, check_random_state
from sklearn.utils.metaestimators import _BaseComposition

from sksae.base.attributes import record_of
from sksae.base.inputs import checked_rows
from sksae.base.parameters import specification_of
from sksae.base.stages import Stages, task_of
from sksae.model.network import sizes_of
from sksae.process.warning import fitting_member
from sksae.scaling import Matrix
from sksae.stacking.encoding import encode_through
from sksae.transformer import SparseAutoencoderTransformer

Member: TypeAlias = SparseAutoencoderTransformer | FrozenEstimator
Named: TypeAlias = list[tuple[str, Member]]
# What `autoencoders` may be: an int is a member of so many units.
Autoencoders: TypeAlias = Sequence[Member | int] | Sequence[tuple[str, Member | int]] | None


class ComposedOfAutoencoders(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _BaseComposition):
    """An estimator with a parameter ``autoencoders``: it has its members' parameters and codes.

    ``autoencoders`` is a list of autoencoders, which then have the names sae0, sae1, ..., or one
    of pairs (name, autoencoder). A number stands for an autoencoder of so many units, and None for
    a list of one autoencoder, both with default parameters.
    """

    autoencoders: Autoencoders
    autoencoders_: list[SparseAutoencoderTransformer]

    @property
    def _members(self) -> Named:
        """The members with their names; what is no list at all as it is."""
        given = made(self.autoencoders)
        if not isinstance(given, list):
            return given
        return [
            entry if isinstance(entry, tuple) else (f"sae{index}", entry)
            for index, entry in enumerate(given)
        ]

    @_members.setter
    def _members(self, named: Named) -> None:
        self.autoencoders = [
            pair if isinstance(entry, tuple) else pair[1]
            for pair, entry in zip(named, made(self.autoencoders), strict=True)
        ]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return the members, by their names, and their parameters too.

        Returns
        -------
        params : dict
            Names and values; those of member sae0 are called sae0__rho and so on. A member that a
            number or None stands for is made anew each time: change it by `set_params`.
        """
        return self._get_params("_members", deep=deep)

    def set_params(self, **params: Any) -> Self:
        """Set parameters, of members too: ``sae0__rho=0.1``, or a whole member: ``sae0=...``.

        Parameters
        ----------
        **params : dict
            Names as `get_params` gives them, and values.

        Returns
        -------
        self : estimator
        """
        before = self.autoencoders
        if "autoencoders" in params:
            self.autoencoders = params.pop("autoencoders")
        names = self._member_names().intersection(key.partition("__")[0] for key in params)
        if names:
            # What a number or None stands for is made anew each time: let it be there to be set.
            self.autoencoders = made(self.autoencoders)
            params |= {name: of_units(params[name]) for name in names if name in params}
        try:
            self._set_params("_members", **params)
        except ValueError:
            self.autoencoders = before
            raise
        return self

    def transform(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> np.ndarray:
        """Return the codes of some rows, fine-tuned if the autoencoders are.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_components)
            Of the last member, in the precision of X.
        """
        return self._codes(X)

    def _codes(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> np.ndarray:
        """Return the codes as they are, whatever `set_output` says."""
        X = checked_rows(self, X)
        return encode_through(self.autoencoders_, X)

    @property
    def _n_features_out(self) -> int:
        return self.autoencoders_[-1]._n_features_out

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "autoencoders_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _member_names(self) -> set[str]:
        """Return the names of members, of what can be made sense of."""
        members = self._members
        if not isinstance(members, list):
            return set()
        return {pair[0] for pair in members if isinstance(pair[0], str)}

    def _checked_members(self) -> Named:
        """Return the members with their names, or raise if they are none."""
        named = self._members
        if len(named) == 0:
            raise ValueError(
                "autoencoders is empty: give at least one SparseAutoencoderTransformer, or None."
            )
        for index, pair in enumerate(named):
            member = pair[1] if len(pair) == 2 else None
            if isinstance(member, FrozenEstimator):
                member = member.estimator
            if not isinstance(member, SparseAutoencoderTransformer) or not isinstance(pair[0], str):
                raise TypeError(
                    "autoencoders must hold SparseAutoencoderTransformers or numbers of units, at "
                    "least 1, or pairs of a name and one of these; entry "
                    f"{index} is {self.autoencoders[index]!r}."  # type: ignore[index]
                )
        self._validate_names([name for name, _ in named])
        return named


def made(autoencoders: Any) -> Any:
    """Return a list of members in which autoencoders stand for numbers; what is no list as it is.

    Parameters
    ----------
    autoencoders : list, tuple, None or anything else
        None is a list of one default autoencoder.

    Returns
    -------
    members : list
        Its entries are members, pairs (name, member) or what nobody can make sense of.
    """
    if autoencoders is None:
        return [SparseAutoencoderTransformer()]
    if not isinstance(autoencoders, list | tuple):
        return autoencoders
    return [
        (entry[0], of_units(entry[1]))
        if isinstance(entry, tuple | list) and len(entry) == 2
        else of_units(entry)
        for entry in autoencoders
    ]


def of_units(member: Any) -> Any:
    """Return the autoencoder that a number of units stands for; anything else as it is."""
    is_number = isinstance(member, Integral) and not isinstance(member, bool)
    return SparseAutoencoderTransformer(int(member)) if is_number else member


def unfrozen(member: Member) -> tuple[SparseAutoencoderTransformer, bool]:
    """Return an autoencoder, and whether it is to be taken as it was fitted."""
    is_frozen = isinstance(member, FrozenEstimator)
    return (member.estimator if is_frozen else member), is_frozen


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
    before = f"X has {n_features} features"
    for name, entry in named:
        member, is_frozen = unfrozen(entry)
        if pretrain and not is_frozen:
            with named_in_errors(name):
                member._validate_params()
                specification_of(member)
            n_features = member.n_components
        else:
            check_is_trained(name, member)
            if n_features is not None:
                check_width(name, member, n_features, before)
            n_features = member._n_features_out
        before = f"{name!r} before it gives codes of {n_features} components"


def count_encoder_layers(named: Named, *, pretrain: bool) -> int:
    """Return how many layers the encoders of members have, or will have, together."""
    n_layers = 0
    for _, entry in named:
        member, is_frozen = unfrozen(entry)
        if pretrain and not is_frozen:
            n_layers += len(specification_of(member).layer_sizes)
        else:
            n_layers += member.__sksae_network__().n_encoder_layers
    return n_layers


def count_trained(named: Named, *, pretrain: bool) -> int:
    """Return how many members are to be trained, and not taken as they are."""
    return sum(pretrain and not unfrozen(entry)[1] for _, entry in named)


def check_unchanged(named: Named, members: Sequence[SparseAutoencoderTransformer]) -> None:
    """Raise if the members are not what training began with.

    Parameters
    ----------
    named : list of (str, estimator)
        As the parameters have them now.
    members : sequence of SparseAutoencoderTransformer
        As they are fitted.
    """
    now = [specification_of(unfrozen(entry)[0]).layer_sizes for _, entry in named]
    begun = [sizes_of(member.__sksae_network__().encoder)[1:] for member in members]
    if now != begun:
        raise ValueError(
            "Training can only go on with the autoencoders it began with: their encoders' layers "
            f"have sizes {begun}, the parameters now ask for {now}. Set them back, or fit anew."
        )


def check_names(estimator: BaseEstimator, named: Named, *, pretrain: bool) -> None:
    """Raise if the first member, taken as it is, knows the features by other names than X has."""
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


def draw_seeds(random_state: int | np.random.RandomState | None, n: int) -> list[int]:
    """Return seeds for so many trainings."""
    draws = check_random_state(random_state)
    return [int(draws.randint(np.iinfo(np.int32).max)) for _ in range(n)]


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
    once_after: Sequence[SparseAutoencoderTransformer] | None = None,
) -> tuple[list[SparseAutoencoderTransformer], Matrix]:
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
    once_after : sequence of SparseAutoencoderTransformer, optional
        If given, members go over the rows once, by ``partial_fit`` where they can: these go on, if
        there are any.

    Returns
    -------
    members : list of SparseAutoencoderTransformer
        Fitted.
    codes : ndarray of shape (n_samples, n_components)
        Of the last one.
    """
    from sksae.engine.inference import encode

    members: list[SparseAutoencoderTransformer] = []
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
        X = encode(member.__sksae_network__(), X, member.device)
        members.append(member)
    return members, X


def as_fitted(named: Named) -> list[SparseAutoencoderTransformer]:
    """Return copies of members that are fitted already, or raise if they do not fit together."""
    check_fit_together(named, None, pretrain=False)
    return [deepcopy(unfrozen(entry)[0]) for _, entry in named]


def _fit_one(
    name: str,
    member: SparseAutoencoderTransformer,
    X: Matrix,
    sample_weight: np.ndarray | None,
    context: CallbackContext | None,
    caller: object,
    *,
    once: bool,
) -> None:
    """Train a member; in a single pass if there is no context, and the member can."""
    if context is None:
        may_go_once = hasattr(member, "partial_fit") and not member.early_stopping
        train = member.partial_fit if once and may_go_once else member.fit
        with named_in_errors(name):
            train(X, sample_weight=sample_weight)
        give_up_if_interrupted(record_of(member).stopped_by)
        return
    subcontext = context.subcontext(task_name=task_of(name))
    with named_in_errors(name), subcontext.propagate_callback_context(member):
        subcontext.call_on_fit_task_begin(estimator=caller, X=X)
        member.fit(X, sample_weight=sample_weight)
        give_up_if_interrupted(record_of(member).stopped_by)
        subcontext.call_on_fit_task_end(estimator=caller, X=X)


def give_up_if_interrupted(stopped_by: str) -> None:
    """Raise if a user ended a training without which those that follow make no sense."""
    if stopped_by == "interrupt":
        raise KeyboardInterrupt


@contextmanager
def named_in_errors(name: str) -> Iterator[None]:
    """Have errors tell which member they speak of."""
    try:
        yield
    except Exception as error:
        if error.args and isinstance(error.args[0], str):
            error.args = (f"{name!r} of autoencoders: {error.args[0]}", *error.args[1:])
        raise


def check_is_trained(name: str, member: SparseAutoencoderTransformer) -> None:
    """Raise if a member that is to be taken as it is has not been fitted."""
    if not hasattr(member, "coefs_"):
        raise NotFittedError(
            f"{name!r} of autoencoders is to be taken as it is (pretrain=False, or in a "
            "FrozenEstimator), but is not fitted: fit it first, or use pretrain=True. (clone, and "
            "with it every search, makes unfitted members of fitted ones: wrap them in "
            "sklearn.frozen.FrozenEstimator.)"
        )


def check_width(
    name: str, member: SparseAutoencoderTransformer, n_features: int, before: str
) -> None:
    """Raise if a member was fitted to rows of another width than it is now given.

    ``before`` says where they come from.
    """
    if member.n_features_in_ != n_features:
        raise ValueError(
            f"The members of autoencoders do not fit: {name!r} was fitted to rows of "
            f"{member.n_features_in_} features, but {before}."
        )
