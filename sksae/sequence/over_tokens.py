"""What estimators of rows of tokens share: pooled codes, codes of tokens and back, names, tags."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import Tags, check_array
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from sksae.base.documentation import DocumentedMixin
from sksae.base.inputs import FLOATS
from sksae.base.persistence import PersistentMixin
from sksae.base.reading import as_configured
from sksae.model.numbers import Matrix
from sksae.sequence.inputs import checked_sequences
from sksae.sequence.pooling import checked_pooling, pooled_by_segment, pooled_names
from sksae.sequence.tokens import check_segments, lengths_of, tokens_of, untokened


class OverTokens(
    DocumentedMixin, PersistentMixin, CallbackSupportMixin, TransformerMixin, BaseEstimator
):
    """An estimator that makes a code of each token of a row, and pools them."""

    pooling: Sequence[str]
    n_segments: int
    length_: int
    n_features_in_: int

    @abstractmethod
    def _decode(self, codes: np.ndarray) -> np.ndarray:
        """Return the tokens that codes stand for, (n_tokens, token_width), in their precision."""

    @abstractmethod
    def _unit_names(self) -> Sequence[str]:
        """Return a name for each unit of the code of a token."""

    @abstractmethod
    def _codes_of_tokens(self, X: Matrix) -> Iterator[tuple[Matrix, np.ndarray]]:
        """Yield the codes of some rows' tokens at a time, and which tokens are there.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, length * token_width)
            Validated rows.

        Yields
        ------
        codes : ndarray or csr_array of shape (n_tokens, n_components)
            Of the tokens that are there.
        is_there : ndarray of bool of shape (n_rows, length)
            Which tokens these are.
        """

    @abstractmethod
    def _mask_finder(self) -> Callable[[Matrix], Matrix]:
        """Return what says of codes of tokens which entries are active."""

    def transform(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> Matrix:
        """Return the pooled codes of some rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, length * token_width)
            Rows, as many features as in `fit`.

        Returns
        -------
        codes : {ndarray, CSR matrix} of shape (n_samples, n_segments * n_poolings * n_components)
            Of the first segment all units in the first pooling, then in the next. A row without
            tokens has zeros. Computed and returned in the precision of X (float32 stays float32,
            everything else is float64); a sparse matrix if the codes of an autoencoder are
            (``sparse_output=True``). Codes of all tokens are never in memory together.

        Raises
        ------
        NotFittedError
            If it is not fitted.
        ValueError
            If X is invalid, or has other features than the training rows; if ``pooling`` or
            ``n_segments`` were set to what cannot be; if codes overflow.
        """
        check_is_fitted(self)
        X, pooling = checked_sequences(self, X), self._checked_pooling()
        find_mask, found = self._mask_finder(), []
        for codes, is_there in self._codes_of_tokens(X):
            lengths = lengths_of(is_there, self.n_segments)
            mask = partial(find_mask, codes)
            found.append(pooled_by_segment(codes, lengths, pooling, mask))
        if sp.issparse(found[0]):
            return as_configured(sp.csr_array(sp.vstack(found, format="csr")))
        return np.concatenate(found)

    def tokens(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> np.ndarray:
        """Return the codes of all tokens of some rows, without pooling.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, length * token_width)
            Rows, as many features as in `fit`.

        Returns
        -------
        codes : ndarray of shape (n_samples, length, n_components)
            NaN where a token is left out; in the precision of X.

        Raises
        ------
        NotFittedError, ValueError
            As from `transform`.
        """
        check_is_fitted(self)
        found = []
        for codes, is_there in self._codes_of_tokens(checked_sequences(self, X)):
            dense = codes if isinstance(codes, np.ndarray) else codes.toarray()
            found.append(untokened(dense, is_there))
        return np.concatenate(found)

    def inverse_tokens(self, codes: ArrayLike) -> np.ndarray:
        """Return the rows that the codes of their tokens stand for.

        Parameters
        ----------
        codes : array-like of shape (n_samples, length, n_components)
            As `tokens` returns them.

        Returns
        -------
        X_original : ndarray of shape (n_samples, length * token_width)
            NaN where the code of a token is; in the precision of the codes.

        Raises
        ------
        NotFittedError
            If it is not fitted.
        ValueError
            If codes have another shape, or NaN beside numbers.
        """
        check_is_fitted(self)
        codes = np.asarray(codes)
        wanted = self.length_, len(self._unit_names())
        if codes.ndim != 3 or codes.shape[1:] != wanted:
            raise ValueError(
                f"codes must have the shape (n_samples, {wanted[0]}, {wanted[1]}), as tokens() "
                f"returns them, got {codes.shape}."
            )
        flat = check_array(
            codes.reshape(len(codes), wanted[0] * wanted[1]),
            dtype=FLOATS,
            ensure_all_finite="allow-nan",
            input_name="codes",
        )
        tokens = tokens_of(flat, self.length_)
        if np.isnan(tokens.values).any():
            raise ValueError("codes must be NaN in all units of a token, or in none.")
        if not tokens.is_there.any():
            return np.full((len(flat), self.n_features_in_), np.nan, dtype=flat.dtype)
        return untokened(self._decode(tokens.values), tokens.is_there).reshape(len(flat), -1)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Return a name for each column of `transform`: of the unit, then of the pooling.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Compared with the names of the features in `fit`, and otherwise ignored.

        Returns
        -------
        names : ndarray of shape (n_segments * n_poolings * n_components,)
            The unit's name with ``"_max"`` and so on behind it; with several segments
            ``"_max_segment0"``.

        Raises
        ------
        NotFittedError
            If it is not fitted.
        ValueError
            If ``input_features`` are others than in `fit`, or ``pooling`` or ``n_segments`` were
            set to what cannot be.
        """
        check_is_fitted(self)
        _check_feature_names_in(self, input_features, generate_names=False)
        pooling = self._checked_pooling()
        return pooled_names(self._unit_names(), pooling, self.n_segments)

    def _checked_pooling(self) -> tuple[str, ...]:
        """Return how codes are pooled; raise if rows as in `fit` cannot be pooled so."""
        check_segments(self.n_segments, self.length_)
        return checked_pooling(self.pooling)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
