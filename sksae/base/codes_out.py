"""What all estimators that give codes share: names of units, and `fit_transform`."""

from abc import abstractmethod

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from sksae.base.reading import check_container


class CodesOutMixin(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """An estimator whose `transform` gives codes, as an array or as a sparse matrix."""

    @property
    @abstractmethod
    def _gives_sparse(self) -> bool:
        """Whether the parameters ask for a sparse matrix."""

    def fit_transform(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: ArrayLike | None = None,
        **fit_params: object,
    ) -> np.ndarray | sp.csr_array | sp.csr_matrix:
        """Fit to some rows, then return their codes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Targets, where `fit` takes any.
        **fit_params : dict
            What else `fit` takes, ``sample_weight`` say.

        Returns
        -------
        codes : {ndarray, CSR matrix} of shape (n_samples, n_components)
            As `transform` returns them.

        Raises
        ------
        ValueError
            As `fit` and `transform` do; before training, if ``sparse_output=True`` and
            ``set_output`` asks for a table.
        """
        if self._gives_sparse:
            check_container(self)
        return super().fit_transform(X, y, **fit_params)
