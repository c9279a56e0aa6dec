"""Estimators composed of autoencoders: their parameter ``autoencoders``, and their codes."""

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse as sp
from sklearn.frozen import FrozenEstimator
from sklearn.utils import Tags
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import check_is_fitted

from sksae.base.codes_out import CodesOutMixin
from sksae.base.inputs import checked_rows
from sksae.base.protocols import Autoencoder, is_autoencoder
from sksae.base.reading import as_configured, check_output, network_as_read, warn_of_readings
from sksae.model.network import FittedNetwork
from sksae.model.numbers import Matrix
from sksae.model.unrolled import unroll
from sksae.stacking.encoding import encode_sparse_through, encode_through
from sksae.stacking.members import Member, Named, unfrozen

# What `autoencoders` may be: an int is a member of so many units.
Autoencoders: TypeAlias = Sequence[Member | int] | Sequence[tuple[str, Member | int]] | None


class ComposedOfAutoencoders(CodesOutMixin, _BaseComposition):
    """An estimator with a parameter ``autoencoders``: it has its members' parameters and codes.

    ``autoencoders`` is a list of autoencoders, which then have the names sae0, sae1, ..., or one
    of pairs (name, autoencoder). A number stands for an autoencoder of so many units, and None for
    a list of one autoencoder, both with default parameters.
    """

    # Makes the autoencoder that a number of units, or nothing, stands for.
    _make_autoencoder: ClassVar[Callable[..., Autoencoder]]

    autoencoders: Autoencoders
    autoencoders_: list[Autoencoder]

    @property
    def _members(self) -> Named:
        """The members with their names; what is no list at all as it is."""
        given = self._made()
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
            for pair, entry in zip(named, self._made(), strict=True)
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

        Raises
        ------
        ValueError
            If there is no parameter of that name; then all stay as they were.
        """
        before = self.autoencoders
        if "autoencoders" in params:
            self.autoencoders = params.pop("autoencoders")
        names = self._member_names().intersection(key.partition("__")[0] for key in params)
        if names:
            # What a number or None stands for is made anew each time: let it be there to be set.
            self.autoencoders = self._made()
            params |= {name: self._of_units(params[name]) for name in names if name in params}
        try:
            self._set_params("_members", **params)
        except ValueError:
            self.autoencoders = before
            raise
        return self

    def transform(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> Matrix:
        """Return the codes of some rows, fine-tuned if the autoencoders are.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        codes : {ndarray, CSR matrix} of shape (n_samples, n_components)
            Of the last member, in the precision of X; a CSR matrix if its ``sparse_output`` is set.
            Of all members as many units are active as their ``transform_n_active`` says.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X is invalid, or has features other than those of training; if codes are beyond that
            precision; if they are to be sparse, and ``set_output`` asks for a table; if the
            ``transform_algorithm`` of a member is not "encode".

        Warns
        -----
        UserWarning
            If a member was not trained for ``transform_n_active`` units.
        """
        X = checked_rows(self, X)
        last = self.autoencoders_[-1]
        check_output(self, last.__sksae_network__(), is_sparse=last.sparse_output)
        warn_of_readings(self.autoencoders_)
        if last.sparse_output:
            return as_configured(encode_sparse_through(self.autoencoders_, X))
        return encode_through(self.autoencoders_, X)

    def _codes(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> np.ndarray:
        """Return the codes as an array, whatever ``sparse_output`` and `set_output` say."""
        X = checked_rows(self, X)
        warn_of_readings(self.autoencoders_)
        return encode_through(self.autoencoders_, X)

    @property
    def _gives_sparse(self) -> bool:
        named = self._members
        if not isinstance(named, list) or not named or not named[-1]:
            return False  # `fit` will say what is wrong
        last, _ = unfrozen(named[-1][-1])
        return is_autoencoder(last) and last.sparse_output

    @property
    def _n_features_out(self) -> int:
        return len(self.autoencoders_[-1].get_feature_names_out())

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "autoencoders_")

    def __sksae_network__(self) -> FittedNetwork:
        """Return all autoencoders as one network, from the rows to the last code and back.

        With as many active units as `transform` gives.
        """
        check_is_fitted(self)
        return unroll(list(map(network_as_read, self.autoencoders_)))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _made(self) -> Any:
        """Return a list of members in which autoencoders stand for numbers and None.

        What is no list at all is returned as it is; its entries are members, pairs (name, member)
        or what nobody can make sense of.
        """
        given = self.autoencoders
        if given is None:
            return [self._make_autoencoder()]
        if not isinstance(given, list | tuple):
            return given
        return [
            (entry[0], self._of_units(entry[1]))
            if isinstance(entry, tuple | list) and len(entry) == 2
            else self._of_units(entry)
            for entry in given
        ]

    def _of_units(self, member: Any) -> Any:
        """Return the autoencoder that a number of units stands for; anything else as it is."""
        is_number = isinstance(member, Integral) and not isinstance(member, bool)
        return self._make_autoencoder(int(member)) if is_number else member

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
            if not is_autoencoder(member) or not isinstance(pair[0], str):
                raise TypeError(
                    "autoencoders must hold SparseAutoencoderTransformers or numbers of units, at "
                    "least 1, or pairs of a name and one of these; entry "
                    f"{index} is {self.autoencoders[index]!r}."  # type: ignore[index]
                )
        self._validate_names([name for name, _ in named])
        return named
