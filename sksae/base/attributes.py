"""Fitted networks as an autoencoder's fitted attributes, ``coefs_`` and so on, and back.

Nowhere else are the names of these attributes known. They hold numpy arrays, numbers, strings and
plain containers of them only.
"""

from collections.abc import Sequence
from copy import copy, deepcopy
from typing import Any, TypeVar

import numpy as np

from sksae.model.codes import Selection
from sksae.model.loss_parts import (
    RECONSTRUCTION,
    TARGET,
    LossParts,
    as_lists,
    from_lists,
    totals,
)
from sksae.model.network import FittedNetwork, Layer
from sksae.model.scaling import Scaling
from sksae.training.record import FitResult, Fitted, TrainingRecord
from sksae.training.seen import Seen
from sksae.training.supervised_values import SupervisedRecord, SupervisedResult

E = TypeVar("E")

# What a code learns for its units, by the attribute that holds it.
OF_CODE_UNITS = {
    "thresholds_": "threshold",
    "log_gains_": "log_gain",
    "magnitude_offsets_": "offset",
}
# What only training goes on from, as it is where nothing is known of one before.
OF_TRAINING: dict[str, Any] = {"_seed": None, "_seen": None, "_state": {}}
# What only rows tell of a network.
OF_ROWS = ("loss_", "mean_activation_", "active_share_", "largest_activation_", "row_sparsity_")
# The number of this arrangement of fitted attributes, those of stacks included, whose members carry
# it; a file with another one is not guessed at.
LAYOUT = 5
# The releases that read each arrangement. No release had one before 5.
READ_BY = {5: ">=0.1.0"}


def network_attributes(network: FittedNetwork) -> dict[str, Any]:
    """Return the fitted attributes that make a network work.

    Parameters
    ----------
    network : FittedNetwork
        Of layers without input scales; intercepts are stored in the precision of the weights.

    Returns
    -------
    attributes : dict
        Names and values.
    """
    layers, scaling, code = network.layers, network.scaling, network.encoder[-1]
    selection = code.selection
    return {
        "_layout": LAYOUT,
        "coefs_": [layer.coef for layer in layers],
        "intercepts_": [layer.intercept.astype(layer.coef.dtype, copy=False) for layer in layers],
        "slopes_": [layer.units.get("slope") for layer in layers],
        **{name: code.units.get(learnt) for name, learnt in OF_CODE_UNITS.items()},
        "mean_": scaling.mean,
        "scale_": scaling.scale,
        "_shift": scaling.shift,
        "_centre": scaling.centre,
        "_activations": network.activations,
        "_tied": network.is_tied,
        "_scaled": scaling.scaled,
        "_stretch": scaling.stretch,
        "_divergence": scaling.divergence,
        "_loss": network.loss,
        "_sparsity": network.sparsity,
        "_budgets": None if selection is None else selection.budgets,
        "_prefixes": None if selection is None else selection.prefixes,
        "threshold_": None if selection is None else selection.threshold,
    }


def network_of(estimator: Any) -> FittedNetwork:
    """Return the network that an autoencoder's fitted attributes describe."""
    n_encoder_layers, budgets = len(estimator.coefs_) // 2, estimator._budgets
    parts = zip(
        estimator.coefs_,
        estimator.intercepts_,
        ({} if slope is None else {"slope": slope} for slope in estimator.slopes_),
        estimator._activations,
        strict=True,
    )
    layers = [
        Layer(*each, is_tied=estimator._tied and at < n_encoder_layers)
        for at, each in enumerate(parts)
    ]
    if budgets is not None:
        selection = Selection(
            estimator._sparsity, budgets, estimator.threshold_, estimator._prefixes
        )
        code, of_units = layers[n_encoder_layers - 1], {}
        for name, learnt in OF_CODE_UNITS.items():
            if getattr(estimator, name) is not None:
                of_units[learnt] = getattr(estimator, name)
        layers[n_encoder_layers - 1] = code._replace(
            selection=selection, units={**code.units, **of_units}
        )
    scaling = Scaling(
        mean=estimator.mean_,
        scale=estimator.scale_,
        shift=estimator._shift,
        centre=estimator._centre,
        scaled=estimator._scaled,
        stretch=estimator._stretch,
        divergence=estimator._divergence,
    )
    return FittedNetwork(
        tuple(layers), n_encoder_layers, scaling, estimator._sparsity, estimator._loss
    )


def result_attributes(result: FitResult) -> dict[str, Any]:
    """Return all fitted attributes of an autoencoder, but for those of its rows' validation."""
    record = result.record
    return network_attributes(result.network) | {
        "loss_": result.loss,
        "beta_": result.beta,
        "alpha_": result.alpha,
        "mean_activation_": result.mean_activation,
        "active_share_": result.active_share,
        "row_sparsity_": result.row_sparsity,
        "largest_activation_": record.largest_activation,
        **curve_attributes(record.losses, record.validation_curve, RECONSTRUCTION),
        "n_steps_": record.n_steps,
        "_seed": record.seed,
        "_seen": record.seen.as_dict(),
        "_state": record.state,
        "_stopped_by": record.stopped_by,
    }


def curve_attributes(
    losses: Sequence[LossParts], validation_curve: list[float], of_error: str
) -> dict[str, Any]:
    """Return the fitted attributes that have an entry an epoch, and how many these are.

    Parameters
    ----------
    losses : sequence of LossParts
        Of the epochs.
    validation_curve : list of float
        Scores of the rows held out; empty where there are none.
    of_error : {"reconstruction", "target"}
        What the loss of rows is called.
    """
    return {
        "loss_curve_": totals(losses),
        "loss_parts_": as_lists(losses, of_error),
        "validation_score_curve_": validation_curve or None,
        "n_iter_": len(losses),
    }


def loaded_attributes(network: FittedNetwork) -> dict[str, Any]:
    """Return all fitted attributes of an autoencoder of whose training nothing is known."""
    unknown = np.full(network.n_components, np.nan)
    return network_attributes(network) | {
        "n_features_in_": network.n_features,
        "loss_": np.nan,
        "beta_": None,
        "alpha_": None,
        "mean_activation_": unknown,
        "active_share_": unknown.copy(),
        "row_sparsity_": np.nan,
        "largest_activation_": unknown.copy(),
        **curve_attributes([], [], RECONSTRUCTION),
        "n_steps_": 0,
        "_stopped_by": None,
        **deepcopy(OF_TRAINING),
    }


def fitted_of(estimator: Any) -> Fitted:
    """Return what another training of an autoencoder goes on from.

    Raises
    ------
    ValueError
        If nothing is known of the one before.
    """
    check_goes_on(estimator)
    return Fitted(network_of(estimator), record_of(estimator))


def goes_on(estimator: Any) -> bool:
    """Return whether a fitted estimator has what another training goes on from."""
    return estimator._seen is not None


def check_goes_on(estimator: Any) -> None:
    """Check that another training can go on from a fitted estimator.

    Raises
    ------
    ValueError
        If nothing is known of the one before.
    """
    if not goes_on(estimator):
        raise ValueError(
            f"This {type(estimator).__name__} was loaded, or made slim, without what training "
            "goes on from: partial_fit and warm_start cannot. Fit it anew, with warm_start=False."
        )


def record_of(estimator: Any) -> TrainingRecord:
    """Return how the training went that an autoencoder's fitted attributes tell of."""
    return TrainingRecord(
        seed=estimator._seed,
        seen=Seen(**estimator._seen),
        state=estimator._state,
        n_steps=estimator.n_steps_,
        stopped_by=estimator._stopped_by,
        largest_activation=estimator.largest_activation_,
        losses=from_lists(estimator.loss_curve_, estimator.loss_parts_, RECONSTRUCTION),
        validation_curve=estimator.validation_score_curve_ or [],
    )


def supervised_attributes(result: SupervisedResult) -> dict[str, Any]:
    """Return the fitted attributes of a supervised stack that tell how its training went."""
    record = result.record
    return {
        "alpha_": result.alpha,
        "loss_": result.loss,
        "largest_activation_": record.largest_activation,
        "row_sparsity_": result.row_sparsity,
        "n_steps_": record.n_steps,
        "_seed": record.seed,
        "_state": record.state,
        "_n_frozen": record.n_frozen,
        "_noise_unit": record.noise_unit,
        "_alpha_of_none": record.alpha_of_none,
    }


def supervised_record_of(estimator: Any) -> SupervisedRecord:
    """Return how the training went that a supervised stack's fitted attributes tell of."""
    return SupervisedRecord(
        seed=estimator._seed,
        state=estimator._state,
        n_frozen=estimator._n_frozen,
        noise_unit=estimator._noise_unit,
        alpha_of_none=estimator._alpha_of_none,
        n_steps=estimator.n_steps_,
        largest_activation=estimator.largest_activation_,
        losses=from_lists(estimator.loss_curve_, estimator.loss_parts_, TARGET),
        validation_curve=estimator.validation_score_curve_ or [],
    )


def with_network(estimator: E, network: FittedNetwork) -> E:
    """Return a copy of a fitted autoencoder that has another network.

    The solver's state belongs to the network before: a training that goes on from the copy begins
    with a new solver.
    """
    other = copy(estimator)
    for name, value in network_attributes(network).items():
        setattr(other, name, value)
    other._state = {}  # type: ignore[attr-defined]
    return other


def forget_rows(estimator: Any) -> None:
    """Set what only rows tell of a network to nan, in an estimator whose network has changed."""
    for name in OF_ROWS:
        if hasattr(estimator, name):
            value = np.full(np.shape(getattr(estimator, name)), np.nan)
            setattr(estimator, name, value if value.ndim else float("nan"))


def with_seen(estimator: E, seen: Seen) -> E:
    """Return a copy of a fitted autoencoder of whose rows something else is known."""
    other = copy(estimator)
    other._seen = seen.as_dict()  # type: ignore[attr-defined]
    return other
