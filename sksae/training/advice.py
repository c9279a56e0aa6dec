"""What a user is told of parameters and rows before training; and which parameters are unusual."""

from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple

from sksae.model.codes import CODES
from sksae.model.numbers import Matrix
from sksae.process.warning import warn_user
from sksae.training import diagnostics, validation
from sksae.training.open_parameters import resolve_alpha, resolve_beta, resolve_learning_rate
from sksae.training.outcome import Unusual
from sksae.training.plan import Plan
from sksae.training.specification import Specification

# A learning rate that is less than this share of the usual one may be why nothing was learnt.
TOO_SLOW = 0.1


class RowsTold(NamedTuple):
    """How to speak of the rows of a training.

    Attributes
    ----------
    names : sequence of str or None
        Of features, where they are known.
    are_codes : bool
        Whether they are codes of another autoencoder, and not the user's.
    """

    names: Sequence[str] | None = None
    are_codes: bool = False


def warn_before_training(
    specification: Specification, X: Matrix, plan: Plan, rows_told: RowsTold
) -> None:
    """Warn of parameters that do nothing, or ask for what cannot be, and of unsuitable rows.

    Parameters
    ----------
    specification : Specification
        What is asked for.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    plan : Plan
        Of their training.
    rows_told : RowsTold
        How to speak of them.
    """
    given, usual = specification.given, specification.usual
    validation.warn_of_idle_penalty(specification.sparsity, given, usual)
    if plan.architecture.is_dictionary:
        validation.warn_of_idle_decay(
            specification.sparsity, specification.alpha, specification.tied_weights
        )
    validation.warn_of_idle_noise(
        specification.noise, specification.noise_level, usual["noise_level"]
    )
    validation.warn_of_unreachable_targets(
        X,
        specification.row_range,
        specification.scale_data,
        plan.scaling.columns if plan.index is None else None,
    )
    if plan.scaling.columns is not None:
        _warn_of_rows(specification, X, plan, rows_told)


def _warn_of_rows(specification: Specification, X: Matrix, plan: Plan, rows_told: RowsTold) -> None:
    """Warn of columns that spoil a training, and of unscaled rows that the defaults are not for.

    Parameters
    ----------
    specification, X, plan, rows_told
        As in `warn_before_training`.
    """
    scaling, message = plan.scaling, None
    is_of_probabilities = specification.loss == "cross_entropy"
    if not rows_told.are_codes:
        message = diagnostics.message_on_columns(
            X, plan.index, scaling, rows_told.names, keeps_to_unit=is_of_probabilities
        )
    # By the cross entropy the defaults do not go by the norm.
    if message is None and not is_of_probabilities and _goes_by_defaults(specification):
        message = diagnostics.message_on_norm(
            scaling, specification.output_activation, may_multiply=not rows_told.are_codes
        )
    if message is not None:
        warn_user(message)


def _goes_by_defaults(specification: Specification) -> bool:
    """Return whether alpha, beta or the learning rate is one that suits rows of a certain norm."""
    given: set[float | str | None] = {specification.given["alpha"]}
    if CODES[specification.sparsity].has_penalty:
        beta = specification.given["beta"]
        given.add(0.0 if beta == "auto" else beta)
    if specification.solver != "lbfgs":
        given.add(specification.given["learning_rate"])
    return not given.isdisjoint({None, "auto"})


def unusual_parameters(
    specification: Specification, n_features: int, divergence: float | None = None
) -> list[Unusual]:
    """Return the parameters that are set higher than what their defaults stand for.

    And a learning rate that is far lower.

    Parameters
    ----------
    specification : Specification
        What is asked for.
    n_features : int
        Of the rows.
    divergence : float or None
        Of the rows (see `Scaling`).
    """
    sparsity, solver = specification.sparsity, specification.solver
    given, default = specification.given, specification.usual
    usual: dict[str, Any] = {
        "learning_rate": resolve_learning_rate(specification, "auto", n_features),
        "alpha": resolve_alpha(specification, None, n_features),
        "beta": resolve_beta(specification, None, divergence),
        "noise_level": default["noise_level"],
        "tol": default["tol"],
    }
    without_effect = {
        "learning_rate": solver == "lbfgs",
        "beta": not isinstance(usual["beta"], float) or not CODES[sparsity].has_penalty,
        "noise_level": specification.noise is None,
    }
    return [
        Unusual(name, float(value), default[name], usual[name])
        for name in usual
        if not without_effect.get(name)
        and isinstance(value := given[name], Real)
        and (
            float(value) > usual[name]
            or (name == "learning_rate" and float(value) < TOO_SLOW * usual[name])
        )
    ]
