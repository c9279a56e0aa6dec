"""The weights that a training starts from."""

from itertools import pairwise

import numpy as np

from sksae.engine.activations import ACTIVATIONS, STARTS
from sksae.model.architecture import Architecture
from sksae.model.flat import to_flat


def starting_parameters(
    architecture: Architecture,
    random_state: np.random.RandomState,
    *,
    code_bias: float,
    threshold: float = 0.0,
    target_mean: np.ndarray,
) -> np.ndarray:
    """Draw the weights a training starts from, as one flat float64 vector.

    Weights are uniform in +-sqrt(6 / (fan_in + fan_out + 1)) (UFLDL notes, "Backpropagation";
    Glorot & Bengio 2010). Atoms of exact codes have unit norm and directions that are uniform on
    the sphere, and the encoder has the same ones (Gao et al. 2024, arXiv 2406.04093).

    Biases stand where the trivial solution already is: the code's at
    ``code_bias``, the output's at the inverse output activation of the target's mean; others
    at 0. With hidden layers that is where biases and weights together put the mean row: units
    behind a code that is never 0 would else begin on one side of their kink for all rows, those
    on the flat side dead. Slopes of prelu start at 0.25.

    Parameters
    ----------
    architecture : Architecture
        Layers.
    random_state : RandomState
        Source of the weights.
    code_bias : float
        Pre-activation of every code unit at the mean input.
    threshold : float, default=0.0
        Of every code unit that has one.
    target_mean : ndarray of shape (n_features,)
        Mean of the rows to be reconstructed.

    Returns
    -------
    flat : ndarray of shape (n_parameters,)
    """
    coefs = _weights(architecture, random_state)
    biases = [np.zeros(n_out) for n_out in architecture.sizes[1:]]
    biases[architecture.code_layer] += code_bias
    biases[-1] += ACTIVATIONS[architecture.activations[-1]].inverse(target_mean)
    starts = STARTS | {"threshold": threshold}
    units = [
        {name: np.full(n_out, starts[name]) for name in names}
        for names, n_out in zip(architecture.unit_parameters, architecture.sizes[1:], strict=True)
    ]
    if architecture.n_layers > 2:
        _let_mean_row_meet(architecture, coefs, biases, units)
    return to_flat(architecture, coefs, biases, units)


def _weights(architecture: Architecture, random_state: np.random.RandomState) -> list[np.ndarray]:
    """Draw the weights of each layer, of shape (n_in, n_out)."""
    if architecture.is_dictionary:
        shape = (architecture.n_components, architecture.sizes[0])
        atoms = random_state.standard_normal(shape)
        atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
        return [atoms.T, atoms]
    coefs: list[np.ndarray] = []
    for layer, (n_in, n_out) in enumerate(pairwise(architecture.sizes)):
        owner, bound = architecture.owners[layer], np.sqrt(6.0 / (n_in + n_out + 1))
        is_own = owner == layer
        coefs.append(
            random_state.uniform(-bound, bound, (n_in, n_out)) if is_own else coefs[owner].T
        )
    return coefs


def _let_mean_row_meet(
    architecture: Architecture,
    coefs: list[np.ndarray],
    biases: list[np.ndarray],
    units: list[dict[str, np.ndarray]],
) -> None:
    """Move biases such that the pre-activations of the mean row, zeros, are what they were.

    Parameters
    ----------
    architecture : Architecture
        Layers of the network.
    coefs : list of ndarray of shape (n_in, n_out)
        Weights of each layer.
    biases : list of ndarray of shape (n_out,)
        Moved in place.
    units : list of dict of str to ndarray of shape (n_out,)
        What each layer learns for each unit besides, by name.
    """
    row = np.zeros(architecture.sizes[0])
    for layer, activation in enumerate(architecture.activations):
        came_with_weights = architecture.input_scales[layer] * (row @ coefs[layer])
        row = ACTIVATIONS[activation].evaluate(biases[layer], units[layer])
        biases[layer] -= came_with_weights
