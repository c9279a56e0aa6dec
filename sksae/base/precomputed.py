"""Where an estimator's fit looks for one that was precomputed."""

from functools import partial

import numpy as np
from sklearn.base import BaseEstimator

from sksae.base.parameters import specification_of
from sksae.model.numbers import Matrix
from sksae.training.precomputed import Fit, provider_in_use
from sksae.training.specification import READ_WITH


def find_fit(
    estimator: BaseEstimator,
    X: Matrix,
    sample_weight: np.ndarray | None,
) -> Fit | None:
    """Return what the fit of an autoencoder on some rows came to, if it is known.

    It is the same whatever the codes are to be read with.

    Parameters
    ----------
    estimator : estimator
        Whose fit it is.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Validated rows.
    sample_weight : ndarray of shape (n_samples,) or None
        Their weights; None where all are alike.
    """
    provider = provider_in_use()
    if provider is None:
        return None
    given = estimator.get_params(deep=False)
    return provider.find(
        {name: value for name, value in given.items() if name not in READ_WITH},
        partial(specification_of, estimator),
        X,
        sample_weight,
        is_watched=is_watched(estimator),
    )


def is_watched(estimator: object) -> bool:
    """Return whether callbacks are set on an estimator."""
    return bool(getattr(estimator, "_skl_callbacks", None))
