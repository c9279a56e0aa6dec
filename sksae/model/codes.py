"""The ways to be sparse, by name: what is known of each without computing anything.

The engine's room ``codes`` has one file for each. This table is what the check of parameters, the
defaults, the docs and the tests go by; it imports neither torch nor scikit-learn.
"""

from dataclasses import dataclass

import numpy as np

BOUNDED = ("sigmoid", "tanh")


@dataclass(frozen=True)
class CodeFacts:
    """What is known of a code.

    Attributes
    ----------
    activation : str
        Of its units, by default.
    needs_bounds : bool
        Whether activations must be bounded.
    has_penalty : bool
        Whether there is a sparsity term that beta weighs.
    aims_at_mean : bool
        Whether the term itself pulls mean activations to rho; else rho is what beta="auto" aims at,
        as a share of active units.
    scaled_beta, unscaled_beta : float
        What beta is by default: for rows of the norm that makes codes sparse, and for others.
    """

    activation: str = "relu"
    needs_bounds: bool = False
    has_penalty: bool = True
    aims_at_mean: bool = False
    scaled_beta: float = 0.0
    unscaled_beta: float = 0.0


CODES: dict[str | None, CodeFacts] = {
    "kl": CodeFacts(
        activation="sigmoid",
        needs_bounds=True,
        aims_at_mean=True,
        scaled_beta=6.0,
        unscaled_beta=1.0,
    ),
    "l1": CodeFacts(scaled_beta=0.12, unscaled_beta=0.02),
    "l2": CodeFacts(scaled_beta=0.3, unscaled_beta=0.3),
    None: CodeFacts(has_penalty=False),
}


def is_signed(sparsity: str | None, activation: str) -> bool:
    """Return whether the activity of a unit is (1 + a) / 2, and not its activation a itself.

    So it is where rho is compared with means of tanh units: activities lie between 0 and 1.
    """
    return CODES[sparsity].aims_at_mean and activation == "tanh"


def activity(code: np.ndarray, sparsity: str | None, activation: str) -> np.ndarray:
    """Return a code, or means of one, as activities: what is inactive is 0 or little more."""
    return (1.0 + code) / 2.0 if is_signed(sparsity, activation) else code
