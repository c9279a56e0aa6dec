"""What exports write of fitted estimators: the network as `transform` reads it, and its top."""

from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.utils.validation import check_is_fitted

from sksae.base.protocols import has_network, is_autoencoder
from sksae.base.reading import as_read
from sksae.model.network import FittedNetwork, Layer


def check_exportable(estimator: object, caller: str) -> None:
    """Raise if an estimator is no fitted autoencoder, nor made of them.

    Parameters
    ----------
    estimator : estimator
        What the user gave.
    caller : str
        The public function, which errors name.

    Raises
    ------
    TypeError
        If it is another estimator.
    NotFittedError
        If it is not fitted.
    """
    if not has_network(estimator):
        raise TypeError(
            f"{caller} takes a sparse autoencoder, or a stack, classifier or regressor of "
            f"them, got {type(estimator).__name__}: of a pipeline or search give the model in it."
        )
    check_is_fitted(estimator)


def network_to_export(estimator: Any, medium: str) -> FittedNetwork:
    """Return the network of a fitted estimator as its `transform` reads it.

    Parameters
    ----------
    estimator : estimator
        See `check_exportable`.
    medium : str
        What is written, which an error names.

    Raises
    ------
    ValueError
        If its codes are found by a search for each row.
    """
    network: FittedNetwork = estimator.__sksae_network__()
    if is_autoencoder(estimator):
        network = as_read(network, estimator.transform_n_active, estimator.transform_algorithm)
    if network.pursuit is not None:
        raise ValueError(
            f"transform_algorithm={estimator.transform_algorithm!r} looks for the codes of each "
            f"row, which {medium} does not: use transform_algorithm='encode'."
        )
    return network


def is_supervised(estimator: object) -> bool:
    """Return whether what is exported has a layer on top."""
    return is_classifier(estimator) or is_regressor(estimator)


def top_of(estimator: Any) -> Layer | None:
    """Return the layer on top of a classifier, which makes logits, or of a regressor; or None.

    That of a regressor makes numbers in the units of y.
    """
    if not is_supervised(estimator):
        return None
    coef = np.atleast_2d(np.asarray(estimator.coef_)).T
    return Layer(coef, np.atleast_1d(np.asarray(estimator.intercept_)), {}, "identity")
