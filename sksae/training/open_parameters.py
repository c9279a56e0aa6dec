"""What a specification leaves open until rows are known: beta, alpha and the learning rate."""

from sksae.training import defaults
from sksae.training.specification import Specification


def resolve_beta(
    specification: Specification, beta: float | str | None, divergence: float | None = None
) -> float | str:
    """Return the weight of the sparsity term of an autoencoder, given or by default.

    Parameters
    ----------
    specification : Specification
        The autoencoder that is asked for.
    beta : float, str or None
        As it was given.
    divergence : float or None
        Of the rows (see `Scaling`).
    """
    return defaults.resolve_beta(
        beta,
        specification.sparsity,
        specification.is_loss_scaled,
        defaults.loss_ratio(divergence),
    )


def resolve_alpha(specification: Specification, alpha: float | None, n_features: int) -> float:
    """Return the weight decay of an autoencoder, given or by default.

    Parameters
    ----------
    specification : Specification
        The autoencoder that is asked for.
    alpha : float or None
        As it was given.
    n_features : int
        Of the rows.
    """
    return defaults.resolve_alpha(
        alpha,
        specification.sparsity,
        len(specification.hidden_layer_sizes),
        n_features,
        specification.is_scaled,
        of_probabilities=specification.loss == "cross_entropy",
    )


def resolve_learning_rate(
    specification: Specification,
    learning_rate: float | str,
    n_features: int,
) -> float:
    """Return the learning rate of an autoencoder, given or by default.

    Parameters
    ----------
    specification : Specification
        The autoencoder that is asked for.
    learning_rate : float or "auto"
        As it was given.
    n_features : int
        Of the rows.
    """
    return defaults.resolve_learning_rate(
        learning_rate,
        specification.solver,
        specification.sparsity,
        n_features,
        specification.is_scaled,
        is_tied=specification.tied_weights,
        of_probabilities=specification.loss == "cross_entropy",
    )
