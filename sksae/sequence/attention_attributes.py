"""A network of sparse attention as fitted attributes, and back: arrays and plain values only."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sksae.base.attributes import curve_attributes
from sksae.model.attention import AttentionArchitecture, AttentionNetwork
from sksae.model.codes import Selection
from sksae.model.loss_parts import RECONSTRUCTION, from_lists
from sksae.training.attention import AttentionFitted, AttentionRecord
from sksae.training.attention_fit import AttentionFit


def attributes_of_network(network: AttentionNetwork) -> dict[str, Any]:
    """Return the fitted attributes that make a network work."""
    selection = network.selection
    return {
        "parameters_": dict(network.parameters),
        "mean_": network.mean,
        "scale_": network.scale,
        "length_": network.architecture.length,
        "threshold_": None if selection is None else selection.threshold,
        "_architecture": asdict(network.architecture),
        "_n_active": None if selection is None else selection.n_active,
    }


def network_in(attributes: Mapping[str, Any]) -> AttentionNetwork:
    """Return the network that fitted attributes describe."""
    architecture = AttentionArchitecture(**attributes["_architecture"])
    selection, n_active = None, attributes["_n_active"]
    if n_active is not None:
        assert architecture.sparsity is not None
        selection = Selection(architecture.sparsity, (n_active,), attributes["threshold_"])
    return AttentionNetwork(
        architecture,
        attributes["parameters_"],
        attributes["mean_"],
        attributes["scale_"],
        selection,
    )


def attributes_of_fit(fit: AttentionFit) -> dict[str, Any]:
    """Return all fitted attributes, but for those of the validation of rows."""
    network, record = fit.fitted
    return attributes_of_network(network) | {
        "beta_": fit.beta,
        "mean_activation_": fit.mean_activation,
        "active_share_": fit.active_share,
        "largest_activation_": record.largest_activation,
        **curve_attributes(record.losses, record.validation_curve, RECONSTRUCTION),
        "n_steps_": record.n_steps,
        "_seed": record.seed,
        "_seen": {"has_varied": record.has_varied},
        "_state": record.state,
    }


def fitted_in(attributes: Mapping[str, Any]) -> AttentionFitted:
    """Return what another training goes on from."""
    record = AttentionRecord(
        seed=attributes["_seed"],
        has_varied=attributes["_seen"]["has_varied"],
        state=attributes["_state"],
        n_steps=attributes["n_steps_"],
        largest_activation=attributes["largest_activation_"],
        losses=from_lists(attributes["loss_curve_"], attributes["loss_parts_"], RECONSTRUCTION),
        validation_curve=attributes["validation_score_curve_"] or [],
    )
    return AttentionFitted(network_in(attributes), record)
