"""The ways to be sparse, by name: what is known of each without computing anything.

The engine's room ``codes`` has one file for each. The check of parameters, the defaults, the advice
in warnings, the docs and the tests go by this table; it imports neither torch nor scikit-learn.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

# An array of numpy, or of torch.
A = TypeVar("A", bound=Any)

BOUNDED = ("sigmoid", "tanh")
# Activations of units that are exactly 0 where they are not active.
RECTIFIED = ("relu", "jumprelu", "gated")
# A unit that is never 0 is active above this share of its largest activity.
HALF_MAXIMUM = 0.5


@dataclass(frozen=True)
class CodeFacts:
    """What is known of a code.

    Attributes
    ----------
    activation : str
        Of its units, by default.
    activations : tuple of str or None
        Which ones a user may name; None is any, () is none, as it has one of its own.
    why_activations : str
        Why no others, to be read after "sparsity='name' ".
    has_penalty : bool
        Whether J has a sparsity term, which beta weighs.
    counts_units : bool
        Whether rho is a number of active units, and training goes by these alone (see
        `engine.exact`).
    selects_by_batch : bool
        Whether that is a mean over the rows of a minibatch in training, and at inference a
        threshold decides; else it is so in each row.
    aims_at_mean : bool
        Whether the penalty pulls mean activations to rho. Else rho is what beta="auto" aims at, as
        a share of active units.
    aims_at_count : bool
        Whether the penalty pulls the number of active units to what rho says.
    may_be_deep : bool
        Whether there may be hidden layers.
    makes_zeros : bool
        Whether the penalty leaves most activations of relu units at exactly 0.
    revives_units : bool
        Whether with beta="auto" units that died begin anew.
    scaled_beta, unscaled_beta : float or "auto"
        What beta is by default: for rows of the norm that makes codes sparse, and for others.
    scaled_alpha, deep_alpha : float
        What alpha is by default for such rows: without hidden layers and with them.
    alpha_falls : bool
        Whether without hidden layers it is less for wide rows.
    logit_alpha : float
        What alpha is by default without hidden layers where the output's weights make logits.
    sgd_rate : float
        The learning rate of sgd by default for such rows.
    """

    activation: str = "relu"
    activations: tuple[str, ...] | None = None
    why_activations: str = ""
    has_penalty: bool = True
    counts_units: bool = False
    selects_by_batch: bool = False
    aims_at_mean: bool = False
    aims_at_count: bool = False
    may_be_deep: bool = True
    makes_zeros: bool = False
    revives_units: bool = False
    scaled_beta: float | str = 0.0
    unscaled_beta: float | str = 0.0
    scaled_alpha: float = 1e-3
    deep_alpha: float = 1e-4
    alpha_falls: bool = False
    logit_alpha: float = 1e-3
    sgd_rate: float = 3e-3

    @property
    def says_count(self) -> bool:
        """Whether rho is a number of active units, whatever beta is."""
        return self.is_exact or self.aims_at_count

    @property
    def is_exact(self) -> bool:
        """Whether rho alone says how many units are active; then there is no penalty."""
        return self.counts_units and not self.has_penalty

    def uses_rho(self, beta: object) -> bool:
        """Return whether rho has an effect with a beta as the user gave it."""
        return self.says_count or self.aims_at_mean or (self.has_penalty and beta == "auto")

    def is_sparse(self, activation: str) -> bool:
        """Return whether most entries of a code of such units are exactly 0."""
        return self.counts_units or (self.makes_zeros and activation == "relu")

    @property
    def is_read_at_will(self) -> bool:
        """Whether a fitted code can be read at another number of active units."""
        return self.is_exact and not self.selects_by_batch


CODES: dict[str | None, CodeFacts] = {
    "kl": CodeFacts(
        activation="sigmoid",
        activations=BOUNDED,
        why_activations="compares mean activations with rho, which needs a bounded code",
        aims_at_mean=True,
        scaled_beta=6.0,
        unscaled_beta=1.0,
        # With the norm that scale_data gives to rows, weights of a bounded code must be as dear as
        # this for its units to be selective. Units of relu can grow instead, and would die of it,
        # as hidden ones would. Wide rows spread their norm over more directions, each of which
        # must stay worth its atoms.
        scaled_alpha=1.2e-2,
        deep_alpha=1e-3,
        alpha_falls=True,
        # A sigmoid output's slope of 1/4 at most makes large atoms dear by itself.
        logit_alpha=2e-3,
        sgd_rate=1e-2,
    ),
    "l1": CodeFacts(scaled_beta=0.12, unscaled_beta=0.02, makes_zeros=True, revives_units=True),
    "l2": CodeFacts(scaled_beta=0.3, unscaled_beta=0.3),
    "topk": CodeFacts(
        activations=("relu",),
        why_activations="keeps the largest activations, and others must have no gradient",
        has_penalty=False,
        counts_units=True,
    ),
    "batchtopk": CodeFacts(
        activations=("relu",),
        why_activations="keeps the largest activations, and others must have no gradient",
        has_penalty=False,
        counts_units=True,
        selects_by_batch=True,
        may_be_deep=False,
    ),
    "jumprelu": CodeFacts(
        activation="jumprelu",
        activations=(),
        why_activations="has an activation of its own",
        counts_units=True,
        aims_at_count=True,
        may_be_deep=False,
        scaled_beta="auto",
        unscaled_beta="auto",
    ),
    "gated": CodeFacts(
        activation="gated",
        activations=(),
        why_activations="has an activation of its own",
        counts_units=True,
        may_be_deep=False,
        scaled_beta=0.12,
        unscaled_beta=0.02,
    ),
    None: CodeFacts(has_penalty=False),
}


def listed(names: Iterable[str | None]) -> str:
    """Return names as they stand in a sentence: 'a', 'b' or 'c'."""
    *most, last = map(repr, names)
    return f"{', '.join(most)} or {last}" if most else last


class Selection(NamedTuple):
    """Which units of a layer are kept in each row; the others are 0.

    Attributes
    ----------
    code : str
        The name of the code that selects.
    budgets : tuple of int
        Numbers of units by which the loss reads a row, increasing; the last one is how many are
        kept, of each row or of a batch's rows on average; 0 where nobody knows.
    threshold : float, optional
        Where units above it are kept, however many these are.
    prefixes : tuple of int
        Numbers of the first units, increasing, all of them at last, of which those that are kept
        are read by the loss in the place of budgets; empty where there are none.
    """

    code: str
    budgets: tuple[int, ...]
    threshold: float | None = None
    prefixes: tuple[int, ...] = ()

    @property
    def n_readings(self) -> int:
        """How many times the loss reads a row."""
        return len(self.prefixes) or len(self.budgets)

    @property
    def n_active(self) -> int:
        """How many units are kept."""
        return self.budgets[-1]

    @property
    def with_one_budget(self) -> "Selection":
        """The selection of as many units, by all of which the loss reads a row at once."""
        return self._replace(budgets=self.budgets[-1:])

    def with_n_active(self, n_active: int) -> "Selection":
        """Return the selection of another number of units; its budgets are those below, and it."""
        below = (budget for budget in self.budgets if budget < n_active)
        return self._replace(budgets=(*below, n_active))


def mean_activation(mean_code: A, activation: str) -> A:
    """Return the activity of units whose code has that mean; tanh is read as (1 + a) / 2."""
    return cast(A, (1.0 + mean_code) / 2.0) if activation == "tanh" else mean_code


def activity(code: A, sparsity: str | None, activation: str) -> A:
    """Return a code such that what is inactive is 0 or little more.

    That of a tanh unit whose mean activation is held at rho is (1 + a) / 2.

    Parameters
    ----------
    code : ndarray or tensor
        Activations.
    sparsity : str or None
        Name of the code.
    activation : str
        Of its units.
    """
    return mean_activation(code, activation) if CODES[sparsity].aims_at_mean else code


def largest_activity(
    lowest: np.ndarray, highest: np.ndarray, sparsity: str | None, activation: str
) -> np.ndarray:
    """Return the largest activity of units, in magnitude, given their extreme activations.

    Parameters
    ----------
    lowest, highest : ndarray of shape (n_components,)
        Activations.
    sparsity, activation : str or None, str
        As in `activity`.
    """
    ends = (activity(each.astype(np.float64), sparsity, activation) for each in (lowest, highest))
    return np.maximum(*map(np.abs, ends))


def largest_so_far(before: np.ndarray | None, now: np.ndarray) -> np.ndarray:
    """Return the larger of the activities before and now, those before None or nan if unknown."""
    return now if before is None else np.where(np.isnan(before), now, np.maximum(before, now))


def hoyer_sparsity(ratio: A, length: int) -> A:
    """Return Hoyer's sparsity of vectors, given their l1 norm over their l2 norm.

    Parameters
    ----------
    ratio : ndarray or tensor
        In [1, sqrt(length)]; 1 for zeros, which are as sparse as one entry alone.
    length : int
        Entries of a vector; all of a single one count as sparse.
    """
    root = length**0.5
    return cast(A, (root - ratio) / (root - 1.0)) if length > 1 else cast(A, ratio * 0.0 + 1.0)


def row_sparsity(activities: np.ndarray) -> np.ndarray:
    """Return Hoyer's sparsity of rows of activities that are at least 0."""
    unit = activities.max(axis=1, keepdims=True).astype(np.float64)
    shares = activities / np.where(unit > 0.0, unit, 1.0)
    l1, l2 = shares.sum(axis=1), np.linalg.norm(shares, axis=1)
    ratio = np.divide(l1, l2, out=np.ones_like(l1), where=l2 > 0.0)
    return hoyer_sparsity(ratio.clip(1.0, activities.shape[1] ** 0.5), activities.shape[1])


def has_zeros(activation: str) -> bool:
    """Return whether units are exactly 0 where they are not active."""
    return activation in RECTIFIED


def active_above(largest: np.ndarray, activation: str) -> np.ndarray:
    """Return above which activity each unit is active.

    Parameters
    ----------
    largest : ndarray of shape (n_components,)
        Largest activity of each unit.
    activation : str
        Of the units.
    """
    return np.zeros_like(largest) if has_zeros(activation) else HALF_MAXIMUM * largest
