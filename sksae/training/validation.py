"""What the parameters of `SparseAutoencoderTransformer` mean together, and which make no sense."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from sksae.model.codes import CODES, listed
from sksae.model.numbers import HALF, Matrix, kept_dtype
from sksae.model.scaling import Columns
from sksae.process.warning import warn_user
from sksae.training.moments import extremes_of

SOLVERS = ("adam", "sgd", "lbfgs")
LARGEST = float(np.finfo(np.float64).max)
OUTPUT_RANGES = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, np.inf)}


def check_ints(given: Mapping[str, Any]) -> None:
    """Raise on an int that no float can hold: scikit-learn takes any int for a number.

    Parameters
    ----------
    given : mapping
        All parameters by name; sequences and dicts may hold such ints too.
    """
    for name, value in given.items():
        if value is None or isinstance(value, str | float | bool):
            continue
        values = value.values() if isinstance(value, dict) else value
        for one in values if np.iterable(values) else (values,):
            if isinstance(one, int) and abs(one) > LARGEST:
                raise ValueError(
                    f"{name} has an int of {one.bit_length()} bits: it must be at most "
                    f"{LARGEST:.3g}."
                )


def resolve_activation(activation: str, sparsity: str | None) -> str:
    """Return the code's activation: "auto" is what suits the sparsity."""
    facts = CODES[sparsity]
    if activation == "auto":
        return facts.activation
    if facts.activations is not None and activation not in facts.activations:
        any_activation = [name for name, each in CODES.items() if name and each.activations is None]
        raise ValueError(
            f"sparsity={sparsity!r} {facts.why_activations}: activation must be "
            f"{listed((*facts.activations, 'auto'))}, got {activation!r}. Use "
            f"sparsity={listed(any_activation)} with this activation."
        )
    return activation


def resolve_rho(rho: float, n_components: int) -> float:
    """Return rho as a share of units; an int counts units."""
    if not isinstance(rho, Integral):
        return float(rho)
    if rho >= n_components:
        raise ValueError(
            f"rho={rho} counts active units and must be less than n_components={n_components}; "
            "give a float in (0, 1) for a share of them."
        )
    return int(rho) / n_components


def resolve_hidden_layer_sizes(sizes: Sequence[int] | int) -> tuple[int, ...]:
    """Return the sizes of the layers between input and code as a tuple of ints."""
    layers = (sizes,) if isinstance(sizes, int | np.integer) else tuple(sizes)
    for size in layers:
        if not isinstance(size, Integral) or size < 1:
            raise ValueError(f"hidden_layer_sizes must hold integers of at least 1, got {sizes!r}.")
    return tuple(int(size) for size in layers)


def resolve_output_activation(output_activation: str, loss: str) -> str:
    """Return the output's activation: "auto" is what suits the loss."""
    needed = "sigmoid" if loss == "cross_entropy" else None
    if output_activation == "auto":
        return needed or "identity"
    if needed not in (None, output_activation):
        raise ValueError(
            f"output_activation={output_activation!r} cannot be had with loss={loss!r}, which "
            f"compares probabilities: use output_activation='auto' or {needed!r}, or "
            "loss='squared_error'."
        )
    return output_activation


def check_probabilities(X: Matrix, index: np.ndarray | None, loss: str) -> None:
    """Raise if rows that the loss takes for probabilities are none.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    index : ndarray of int or None
        Those that count; None for all.
    loss : {"squared_error", "cross_entropy"}
        Of the output.
    """
    if loss != "cross_entropy":
        return
    low, high = extremes_of(X, index)
    # A scaler that maps rows to [0, 1] may leave it by a rounding.
    rounding = 8.0 * float(np.finfo(X.dtype if X.dtype.kind == "f" else np.float64).eps)
    if low < -rounding or high > 1.0 + rounding:
        raise ValueError(
            f"X holds values from {low:.4g} to {high:.4g}, but loss={loss!r} takes them for "
            "probabilities: scale X into [0, 1] before, by sklearn.preprocessing.MinMaxScaler or "
            "by dividing it by its largest possible value, or use loss='squared_error'."
        )


def check_scaling(output_activation: str, scale_data: bool) -> None:
    """Raise if the output cannot reach the scaled data at all."""
    if scale_data and output_activation == "relu":
        raise ValueError(
            "output_activation='relu' cannot reconstruct scaled data, half of which is negative: "
            "use scale_data=False or output_activation='identity'."
        )


def check_exact(
    sparsity: str | None, solver: str, output_activation: str, hidden_layer_sizes: Sequence[int]
) -> None:
    """Raise if parameters do not go with a code that says how many units are active.

    Parameters
    ----------
    sparsity : str or None
        Name of the code.
    solver, output_activation, hidden_layer_sizes
        Parameters of these names.
    """
    facts = CODES[sparsity]
    if not facts.counts_units:
        return
    check_solver_of_code(sparsity, solver)
    if output_activation == "prelu" and not hidden_layer_sizes:
        raise ValueError(
            f"output_activation='prelu' cannot be had with sparsity={sparsity!r}, whose atoms have "
            "unit norm: use output_activation='identity'."
        )
    if hidden_layer_sizes and not facts.may_be_deep:
        by_row = listed(
            name for name, each in CODES.items() if each.counts_units and each.may_be_deep
        )
        raise ValueError(
            f"hidden_layer_sizes={tuple(hidden_layer_sizes)!r} cannot be had with "
            f"sparsity={sparsity!r}: use sparsity={by_row}, or hidden_layer_sizes=()."
        )


def check_sparse_output(sparse_output: bool, sparsity: str | None, activation: str) -> None:
    """Raise if codes are to be sparse matrices and hardly any of their entries would be 0.

    Parameters
    ----------
    sparse_output : bool
        Whether they are to be.
    sparsity : str or None
        Name of the code.
    activation : str
        Of its units.
    """
    if not sparse_output or CODES[sparsity].is_sparse(activation):
        return
    suited = listed(name for name, facts in CODES.items() if facts.is_sparse("relu"))
    raise ValueError(
        f"sparse_output=True needs codes most of whose entries are exactly 0, which "
        f"sparsity={sparsity!r} with activation={activation!r} does not make: use "
        f"sparsity={suited} with activation='relu', or sparse_output=False."
    )


def check_n_active(n_active: int, n_components: int) -> None:
    """Raise if codes cannot have so many active units."""
    if not isinstance(n_active, Integral) or not 1 <= n_active <= n_components:
        raise ValueError(
            f"transform_n_active={n_active!r} is a number of active units: it must be an int from "
            f"1 to n_components={n_components}, or None."
        )


def check_solver_of_code(sparsity: str | None, solver: str) -> None:
    """Raise if a solver cannot train a code that selects its units."""
    if solver == "lbfgs" and CODES[sparsity].counts_units:
        raise ValueError(
            f"solver='lbfgs' cannot train sparsity={sparsity!r}: J jumps where other units become "
            "active, and a line search does not get past that. Use solver='adam' or 'sgd'."
        )


def check_noise(noise: str | None, noise_level: float) -> None:
    """Raise if there is nothing left of the rows."""
    if noise == "masking" and noise_level >= 1.0:
        raise ValueError(
            f"noise_level={noise_level!r} is the share of entries that noise='masking' blanks: it "
            "must be at least 0 and less than 1."
        )


def check_precision(dtype: str, **values: float) -> None:
    """Raise on a number that the precision of training cannot hold."""
    limits = np.finfo(kept_dtype(dtype))
    eps, largest = float(limits.eps), float(limits.max)
    for name, value in values.items():
        low, high = (eps, 1.0 - eps) if name == "rho" else (0.0, largest)
        if not low <= value <= high:
            raise ValueError(
                f"{name}={value!r} is out of reach of dtype={dtype!r}: it must be between "
                f"{low:.3g} and {high:.8g}."
            )


def check_solver(solver: str) -> None:
    """Raise on a solver that nobody knows: scikit-learn looks at parameters in a first fit only."""
    if solver not in SOLVERS:
        raise ValueError(f"solver must be {listed(SOLVERS)}, got {solver!r}.")


def check_half(dtype: str, solver: str) -> None:
    """Raise if products are to be in half precision and the solver cannot do with that."""
    if dtype == HALF and solver == "lbfgs":
        raise ValueError(
            f"dtype={dtype!r} is too coarse for solver='lbfgs', whose line search compares values "
            "of J that are close to each other: use solver='adam' or 'sgd', or dtype='float32'."
        )


def check_learning_rate(learning_rate: float | str, solver: str, dtype: str) -> None:
    """Raise on a learning rate that the precision of training cannot hold, where there is one.

    Parameters
    ----------
    learning_rate : float or "auto"
        As it was given.
    solver : str
        Who moves the parameters.
    dtype : str
        Precision of training.
    """
    if solver != "lbfgs" and not isinstance(learning_rate, str):
        check_precision(dtype, learning_rate=float(learning_rate))


def warn_of_idle_penalty(
    sparsity: str | None, given: Mapping[str, Any], defaults: Mapping[str, Any]
) -> None:
    """Warn of parameters, set by the user, that have no effect with this sparsity.

    Parameters
    ----------
    sparsity : str or None
        Name of the code.
    given, defaults : mapping
        Parameters by name, as they are and by default.
    """
    facts = CODES[sparsity]
    has_effect = {
        "rho": facts.uses_rho(given["beta"]),
        "beta": facts.has_penalty,
        "budgets": facts.is_exact,
        "prefixes": facts.is_exact,
        "transform_n_active": facts.is_read_at_will or given["transform_algorithm"] == "omp",
    }
    for name, has in has_effect.items():
        value = given[name]
        # Of arrays it is not asked whether they are the default, which is none.
        is_set = value is not None and (np.ndim(value) > 0 or value != defaults[name])
        if is_set and not has:
            warn_user(f"{name}={given[name]!s} has no effect with sparsity={sparsity!r}.")


def warn_of_idle_decay(sparsity: str | None, alpha: float | None, tied_weights: bool) -> None:
    """Warn of a weight decay set by the user where only the encoder decays, and it is not free to.

    Parameters
    ----------
    sparsity : str or None
        Name of the code.
    alpha : float or None
        Weight decay as it was given.
    tied_weights : bool
        Whether the encoder has the atoms as its weights.
    """
    if alpha and tied_weights:
        warn_user(
            f"alpha={alpha!s} has no effect with sparsity={sparsity!r} and tied_weights=True: the "
            "encoder's weights are the atoms, which have unit norm."
        )


def warn_of_idle_noise(noise: str | None, level: float, default: float) -> None:
    """Warn of a noise_level set by the user where there is no noise.

    Parameters
    ----------
    noise : str or None
        Kind of noise.
    level, default : float
        The noise_level as it is and by default.
    """
    if noise is None and level != default:
        warn_user(f"noise_level={level!s} has no effect with noise=None.")


def warn_of_unreachable_targets(
    X: Matrix, output_activation: str, scale_data: bool, columns: Columns | None = None
) -> None:
    """Warn if values of X lie outside the range of the output activation.

    Columns, where they are known of all rows, save a pass over them.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    output_activation : str
        Into whose range the network's rows must fit (see `row_range`).
    scale_data : bool
        Whether rows are scaled.
    columns : Columns, optional
        What is known of the columns, where that is of all rows.
    """
    if scale_data or output_activation not in OUTPUT_RANGES:
        return
    low, high = OUTPUT_RANGES[output_activation]
    if columns is None:
        smallest, largest = extremes_of(X, None)
    else:
        smallest, largest = columns.lowest.min(), columns.highest.max()
    if smallest < low or largest > high:
        warn_user(
            f"X holds values from {smallest:.4g} to {largest:.4g}, but "
            f"output_activation={output_activation!r} reaches [{low:g}, {high:g}] only: scale X "
            "into that range, or use scale_data=True or output_activation='identity'."
        )
