"""A dictionary as the arrays and the config of SAELens (https://github.com/decoderesearch/SAELens).

SAELens' inference classes encode rows as they come,

    p = (x - b_dec) W_enc + b_enc,    a = f(p),    x_hat = a W_dec + b_dec,

so that the scaling goes into weights and biases: with z = c + (x - mean) / s and our
p = z W + c_1, z_hat = a D + b that is

    b_dec = mean + s (b - c),    W_enc = W / s,    b_enc = c_1 + b W,    W_dec = s D.

Codes are the same, and with them thresholds. Rows less b_dec are small where the mean is large:
no digit is lost in float32. A gate [pi + b_gate > 0] with magnitudes relu(exp(r) pi + b_mag) has
b_gate in the place of b_enc, and b_mag = m + exp(r) b_gate (see `engine.codes.gated`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sksae.model.codes import CODES, Selection
from sksae.model.network import FittedNetwork, Layer
from sksae.model.scaling import Scaling

# Their architecture for each of our codes; a threshold for each unit is what a common one is too.
ARCHITECTURES = {
    "l1": "standard",
    "topk": "topk",
    "batchtopk": "jumprelu",
    "jumprelu": "jumprelu",
    "gated": "gated",
}
# The arrays of each besides W_enc, W_dec and b_dec; all have one number for each unit.
OF_UNITS = {
    "standard": ("b_enc",),
    "topk": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"),
    "gated": ("b_gate", "r_mag", "b_mag"),
}
# What the config must say, where it says anything else than what is written here.
PLAIN = {"normalize_activations": "none", "reshape_activations": "none"}
# What is read of a config besides metadata of ours, and what of it is yes or no.
SWITCHES = {"apply_b_dec_to_input": True, "rescale_acts_by_decoder_norm": False}
READ = ("architecture", "d_in", "d_sae", "k", *PLAIN, *SWITCHES)
OURS = "sksae_"


class Exported(NamedTuple):
    """A dictionary in SAELens' layout.

    Attributes
    ----------
    arrays : dict of str to ndarray
        W_enc (n_features, n_components), W_dec (n_components, n_features), b_dec, and those of
        `OF_UNITS`.
    config : dict
        What cfg.json holds.
    """

    arrays: dict[str, np.ndarray]
    config: dict[str, Any]

    @property
    def is_of_sksae(self) -> bool:
        """Whether the config says what only we say."""
        return bool(_metadata_read(self.config))


def entries_read(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return all entries of a config by which `from_saelens` goes."""
    read = {f"{name} of the config": config.get(name) for name in READ}
    return read | {"metadata of the config": _metadata_read(config)}


def _metadata_read(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of ours."""
    metadata = config.get("metadata")
    if not isinstance(metadata, dict):
        return {}
    return {name: metadata[name] for name in sorted(metadata) if name.startswith(OURS)}


def to_saelens(network: FittedNetwork) -> Exported:
    """Return a fitted network in SAELens' layout, in the precision of its weights.

    Parameters
    ----------
    network : FittedNetwork
        Of one encoding and one decoding layer, with a linear output.

    Raises
    ------
    ValueError
        If SAELens has nothing like it.
    """
    _check_network(network)
    encoder, decoder = network.layers
    scaling, architecture = network.scaling, ARCHITECTURES[str(network.sparsity)]
    W, D = encoder.coef.astype(np.float64), decoder.coef.astype(np.float64)
    b_dec = scaling.mean + scaling.scale * (decoder.intercept - scaling.shift)
    b_enc = encoder.intercept + decoder.intercept.astype(np.float64) @ W
    wide: dict[str, np.ndarray] = {
        "W_enc": W / scaling.scale,
        "W_dec": D * scaling.scale,
        "b_dec": b_dec,
    }
    if architecture == "gated":
        log_gain = encoder.units["log_gain"].astype(np.float64)
        b_mag = encoder.units["offset"] + np.exp(log_gain) * b_enc
        wide |= {"b_gate": b_enc, "r_mag": log_gain, "b_mag": b_mag}
    else:
        wide["b_enc"] = b_enc
    if architecture == "jumprelu":
        wide["threshold"] = _thresholds_of(encoder)
    dtype = encoder.coef.dtype
    config: dict[str, Any] = {
        "architecture": architecture,
        "d_in": network.n_features,
        "d_sae": network.n_components,
        "dtype": dtype.name,
        "device": "cpu",
        "apply_b_dec_to_input": True,
        **PLAIN,
        "metadata": _metadata_of(network),
    }
    if architecture == "topk":
        assert encoder.selection is not None
        config |= {"k": encoder.selection.n_active, "rescale_acts_by_decoder_norm": False}
    arrays = {name: np.ascontiguousarray(each, dtype=dtype) for name, each in wide.items()}
    return Exported(arrays, config)


def from_saelens(exported: Exported) -> FittedNetwork:
    """Return the network that arrays and a config in SAELens' layout describe.

    Raises
    ------
    ValueError
        If arrays are missing or misshapen, or the config asks for what is not known here.
    """
    config, arrays = exported.config, exported.arrays
    architecture = _checked_architecture(config)
    _check_arrays(architecture, config, arrays)
    metadata = config.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise ValueError(f"cfg.json: metadata={metadata!r} must be a mapping.")
    applies_bias, rescales = (_switch_of(config, name) for name in SWITCHES)
    sparsity = _sparsity_of(architecture, metadata, arrays)
    scale, n_active, prefixes = _told_by(metadata, len(arrays["W_dec"]))
    dtype = np.float64 if arrays["W_enc"].dtype == np.float64 else np.float32
    wide = {name: each.astype(np.float64) for name, each in arrays.items()}
    W, D = wide["W_enc"] * scale, wide["W_dec"] / scale
    b_dec, b_enc = wide["b_dec"], wide["b_gate" if architecture == "gated" else "b_enc"]
    if not applies_bias:
        b_enc = b_enc + b_dec @ wide["W_enc"]
    units: dict[str, np.ndarray] = {}
    selection = None
    if architecture == "topk":
        selection = Selection("topk", (_k_of(config),), prefixes=prefixes)
        if rescales:
            norms = np.linalg.norm(wide["W_dec"], axis=1)
            if not norms.all():
                raise ValueError(
                    "W_dec has rows of zeros, by whose norm rescale_acts_by_decoder_norm divides."
                )
            W, b_enc, D = W * norms, b_enc * norms, D / norms[:, None]
    elif architecture == "gated":
        with np.errstate(over="ignore", invalid="ignore"):  # It is told below.
            offset = wide["b_mag"] - np.exp(wide["r_mag"]) * b_enc
        units = {"log_gain": wide["r_mag"], "offset": offset}
        selection = Selection(sparsity, (n_active,))
    elif sparsity == "batchtopk":
        selection = Selection(sparsity, (n_active,), float(wide["threshold"][0]), prefixes)
    elif sparsity == "jumprelu":
        # Their activations are positive parts besides.
        units = {"threshold": np.maximum(wide["threshold"], 0.0)}
        selection = Selection(sparsity, (n_active,))
    with np.errstate(over="ignore"):  # It is told below.
        W, D, b_enc = W.astype(dtype), D.astype(dtype), b_enc.astype(dtype)
        units = {name: each.astype(dtype) for name, each in units.items()}
    if not all(np.isfinite(each).all() for each in (W, D, b_enc, *units.values())):
        raise ValueError(f"The weights are too large: with sksae_scale={scale} they overflow.")
    layers = (
        Layer(W, b_enc, units, CODES[sparsity].activation, selection=selection),
        Layer(D, np.zeros(len(b_dec), dtype), {}, "identity"),
    )
    scaling = Scaling(mean=b_dec, scale=scale, shift=0.0, centre=b_dec, scaled=True)
    return FittedNetwork(layers, 1, scaling, sparsity)


def _thresholds_of(encoder: Layer) -> np.ndarray:
    """Return the threshold of each unit: its own, or that of all."""
    if "threshold" in encoder.units:
        return encoder.units["threshold"]
    assert encoder.selection is not None
    assert encoder.selection.threshold is not None
    return np.full(encoder.coef.shape[1], encoder.selection.threshold)


def _check_network(network: FittedNetwork) -> None:
    """Raise if SAELens has nothing like a network."""
    if network.pursuit is not None:
        raise ValueError(
            "SAELens encodes by the encoder alone: set transform_algorithm='encode' before, or its "
            "codes would be others."
        )
    if network.sparsity not in ARCHITECTURES or (
        network.sparsity == "l1" and network.code_activation != "relu"
    ):
        raise ValueError(
            f"SAELens has no model like sparsity={network.sparsity!r} with "
            f"activation={network.code_activation!r}: it has 'topk', 'batchtopk', 'jumprelu', "
            "'gated', and 'l1' with activation='relu'."
        )
    if len(network.layers) != 2 or network.output_activation != "identity":
        raise ValueError(
            "SAELens has dictionaries alone, of one encoding and one decoding layer with a linear "
            f"output: this model has {len(network.layers)} layers and "
            f"output_activation={network.output_activation!r}."
        )


def _checked_architecture(config: Mapping[str, Any]) -> str:
    """Return the architecture that a config names, or raise if something in it is not known."""
    architecture = config.get("architecture")
    if not isinstance(architecture, str) or architecture not in OF_UNITS:
        raise ValueError(
            f"cfg.json: architecture={architecture!r} is not known here, which has "
            f"{', '.join(map(repr, OF_UNITS))}. Models that are saved for training have others: "
            "save them for inference."
        )
    for name, plain in PLAIN.items():
        if config.get(name, plain) != plain:
            raise ValueError(
                f"cfg.json: {name}={config[name]!r} is not part of the weights, and is not known "
                f"here: fold it into them with SAELens, and save the model with {name}={plain!r}."
            )
    return str(architecture)


def _check_arrays(
    architecture: str, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Raise if an array is missing, is not known, or has another shape than the config says."""
    sizes = [config.get(name) for name in ("d_in", "d_sae")]
    if not all(type(size) is int and size >= 1 for size in sizes):
        raise ValueError(
            f"cfg.json: d_in and d_sae must be numbers of features and of units, got {sizes}."
        )
    n_features, n_components = sizes
    shapes: dict[str, tuple[Any, ...]] = {
        "W_enc": (n_features, n_components),
        "W_dec": (n_components, n_features),
        "b_dec": (n_features,),
    } | dict.fromkeys(OF_UNITS[architecture], (n_components,))
    missing, unknown = sorted(shapes.keys() - arrays), sorted(arrays.keys() - shapes)
    if missing or unknown:
        raise ValueError(
            f"The weights of architecture={architecture!r} are {', '.join(sorted(shapes))}: "
            + "; ".join(
                f"{', '.join(names)} {what}"
                for names, what in ((missing, "missing"), (unknown, "not known"))
                if names
            )
            + "."
        )
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {arrays[name].shape}.")
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} holds numbers that are not finite.")


def _sparsity_of(
    architecture: str, metadata: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> str:
    """Return the name of the code, which more than one of ours may share in SAELens."""
    if (
        architecture == "jumprelu"
        and metadata.get("sksae_sparsity") == "batchtopk"
        and np.ptp(arrays["threshold"]) == 0.0
        and arrays["threshold"][0] >= 0.0
    ):
        return "batchtopk"
    return {"standard": "l1"}.get(architecture, architecture)


def _metadata_of(network: FittedNetwork) -> dict[str, Any]:
    """Return what SAELens does not ask for, and we read again."""
    selection = network.encoder[-1].selection
    return {
        "sksae_sparsity": network.sparsity,
        # By what rows were divided in training, which is the unit of codes.
        "sksae_scale": float(network.scaling.scale),
        "sksae_n_active": None if selection is None else selection.n_active,
        "sksae_prefixes": [] if selection is None else list(selection.prefixes),
    }


def _told_by(metadata: Mapping[str, Any], n_components: int) -> tuple[float, int, tuple[int, ...]]:
    """Return what `_metadata_of` told of a network of so many units, as far as it is there.

    Returns
    -------
    scale : float
        1 where nobody knows.
    n_active : int
        0 where nobody knows.
    prefixes : tuple of int
    """
    scale = metadata.get("sksae_scale", 1.0)
    n_active = metadata.get("sksae_n_active") or 0
    prefixes = metadata.get("sksae_prefixes") or []
    largest = int(np.finfo(np.float64).max)  # As an integer it is compared with any other.
    if isinstance(scale, bool) or not isinstance(scale, float | int) or not 0 < scale <= largest:
        raise ValueError(f"cfg.json: sksae_scale={scale!r} must be a positive number.")
    if not _is_count(n_active, n_components) and n_active != 0:
        raise ValueError(f"cfg.json: sksae_n_active={n_active!r} must be a number of units.")
    if not isinstance(prefixes, list) or not (
        all(_is_count(each, n_components) for each in prefixes)
        and prefixes == sorted(set(prefixes))
        and prefixes[-1:] in ([], [n_components])
    ):
        raise ValueError(
            f"cfg.json: sksae_prefixes={prefixes!r} must be numbers of units that increase to all."
        )
    return float(scale), n_active, tuple(prefixes)


def _is_count(value: object, n_components: int) -> bool:
    """Return whether something is a number of units, of so many."""
    return type(value) is int and 1 <= value <= n_components


def _switch_of(config: Mapping[str, Any], name: str) -> bool:
    """Return what a config says that is yes or no."""
    value = config.get(name, SWITCHES[name])
    if not isinstance(value, bool):
        raise ValueError(f"cfg.json: {name}={value!r} must be true or false.")
    return value


def _k_of(config: Mapping[str, Any]) -> int:
    """Return how many units topk keeps."""
    k = config.get("k")
    if type(k) is not int or not _is_count(k, config["d_sae"]):
        raise ValueError(f"cfg.json: k={k!r} must be a number of units, from 1 to d_sae.")
    return k
