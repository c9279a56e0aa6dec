"""What estimators of rows of tokens share: names of columns, codes of single tokens, tags."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import Tags
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from sksae.base.documentation import DocumentedMixin
from sksae.base.persistence import PersistentMixin
from sksae.model.numbers import Matrix
from sksae.sequence.inputs import checked_sequences
from sksae.sequence.pooling import checked_pooling, pooled_names
from sksae.sequence.tokens import untokened


class OverTokens(
    DocumentedMixin, PersistentMixin, CallbackSupportMixin, TransformerMixin, BaseEstimator
):
    """An estimator that makes a code of each token of a row, and pools them."""

    pooling: Sequence[str]
    n_segments: int

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
            If ``input_features`` are others than in `fit`.
        """
        check_is_fitted(self)
        _check_feature_names_in(self, input_features, generate_names=False)
        return pooled_names(self._unit_names(), checked_pooling(self.pooling), self.n_segments)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
