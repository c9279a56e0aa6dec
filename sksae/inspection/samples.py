"""Which rows a unit stands for: the strongest, a tenth of those it is active in, or none."""

from math import ceil
from numbers import Integral
from typing import Any, Literal, NamedTuple

import numpy as np
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints

from sksae.inspection.subject import Subject, sliceable
from sksae.inspection.survey import Survey, survey
from sksae.metrics.activity import rest_of

Which = Literal["top", "top_decile", "inactive"]
# Of the rows in which a unit is active, the strongest of which "top_decile" takes some.
DECILE = 0.1

CONSTRAINTS = {
    "n": [Interval(Integral, 1, None, closed="left")],
    "which": [StrOptions({"top", "top_decile", "inactive"})],
    "random_state": ["random_state"],
}


class Samples(NamedTuple):
    """Rows that were chosen for a unit.

    Attributes
    ----------
    indices : ndarray of int of shape (n_found,)
        Which rows of X.
    activations : ndarray of shape (n_found,)
        Of the unit in each of them.
    """

    indices: np.ndarray
    activations: np.ndarray


@np.errstate(all="ignore")
def top_samples(
    estimator: Any,
    X: Any,
    unit: int,
    n: int = 10,
    *,
    which: Which = "top",
    random_state: int | np.random.RandomState | None = 0,
) -> Samples:
    """Return the rows that show what a unit stands for.

    The strongest rows alone mislead: what the ten rows with the largest activations have in common
    is often more special than what the unit responds to. Rows drawn from the strongest tenth of the
    rows in which it is active show its general meaning. Rows in which it is not active show what it
    does not respond to.

    X is read in blocks, once (twice for sigmoid, tanh, prelu and identity codes, if the model does
    not know how large their activations become). Memory is needed for one block only: X may be a
    memory map larger than memory.

    Parameters
    ----------
    estimator : estimator
        A fitted autoencoder, stack, classifier or regressor, or a Pipeline, search or other
        estimator of scikit-learn with one in it (see :func:`~sksae.metrics.sparsity_scorers`).
    X : {array-like, sparse matrix, DataFrame, sequence} of n_samples rows
        Rows, as ``estimator`` takes them.
    unit : int
        Which column of the codes.
    n : int >= 1, default=10
        How many rows at most.
    which : {"top", "top_decile", "inactive"}, default="top"
        "top" are the n rows in which the unit is strongest; "top_decile" n rows drawn at random
        from the strongest tenth (rounded up) of those in which it is active; "inactive" n rows
        drawn at random from those in which it is not active. :func:`~sksae.metrics.is_active`
        defines "active".
    random_state : int, RandomState instance or None, default=0
        Draws rows of "top_decile" and "inactive".

    Returns
    -------
    samples : Samples
        A named tuple of two arrays: ``indices`` of rows of X, and ``activations`` of the unit in
        these rows. Both are sorted by activity, the largest first (the magnitude of activations, or
        (1 + a) / 2 if tanh units rest at -1); equal rows are in the order of X. They have fewer
        than n entries if there are no more such rows.

    Raises
    ------
    ValueError
        If there is no such unit, or no autoencoder in ``estimator``; if n or which is out of its
        range, or X does not fit.
    NotFittedError
        If it is not fitted.

    See Also
    --------
    TopSamplesDisplay : Pictures of these rows.
    feature_table : All units in a table, with labels.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.inspection import top_samples
    >>> X, y = load_digits(return_X_y=True)
    >>> sae = SparseAutoencoderTransformer(64, max_iter=30, random_state=0).fit(X)
    >>> indices, activations = top_samples(sae, X, unit=3, n=5, which="top_decile")
    >>> indices.shape, bool((activations[:-1] >= activations[1:]).all())
    ((5,), True)
    """
    check_choice("top_samples", n=n, which=which, random_state=random_state)
    subject = Subject(estimator, needed_by="top_samples")
    units = subject.check_units(unit, name="unit")
    if len(units) > 1:
        raise ValueError(f"unit must be one number, got {unit!r}.")
    return samples_of(subject, X, units, n, which, random_state)[0]


def samples_of(
    subject: Subject,
    X: Any,
    units: np.ndarray,
    n: int,
    which: Which,
    random_state: int | np.random.RandomState | None,
) -> list[Samples]:
    """Return rows chosen for each of some units, in one walk over X.

    Parameters
    ----------
    subject : Subject
        Whose units.
    X : {array-like, sparse matrix, sequence} of n_samples rows
        Rows as the estimator takes them.
    units : ndarray of int of shape (n_units,)
        Which units.
    n, which, random_state
        As in `top_samples`, which gives the same rows for one unit.
    """
    found = survey(subject, X, units)
    chosen = [
        chosen_rows(found, column, n, which, check_random_state(random_state))
        for column in range(len(units))
    ]
    if which != "inactive":
        return chosen
    # What inactive units do in a row is not kept.
    return [
        _with_activations(subject, X, one, unit) for one, unit in zip(chosen, units, strict=True)
    ]


def _with_activations(subject: Subject, X: Any, found: Samples, unit: int) -> Samples:
    """Return rows with the activations of a unit in them, in order."""
    if not len(found.indices):
        return found
    of_rows = subject.blocks(_safe_indexing(sliceable(X), found.indices))
    activations = np.concatenate([_column(block.codes, unit) for block in of_rows])
    return in_order(found.indices, activations, rest_of(subject.autoencoder))


def check_choice(caller: str, **options: object) -> None:
    """Raise on an option of `top_samples` that is out of its range, in scikit-learn's words."""
    validate_parameter_constraints(CONSTRAINTS, options, caller_name=caller)


def chosen_rows(
    found: Survey, column: int, n: int, which: Which, random: np.random.RandomState
) -> Samples:
    """Return rows chosen for a unit, with nan for the activations of "inactive" ones.

    Parameters
    ----------
    found : Survey
        Of the rows.
    column : int
        The unit's place among those that were surveyed.
    n, which
        As in `top_samples`.
    random : RandomState
        Draws rows.
    """
    indices, activations = found.of_unit(column)
    if which == "inactive":
        others = np.setdiff1d(np.arange(found.n_samples), indices, assume_unique=True)
        drawn = random.choice(others, min(n, len(others)), replace=False)
        return Samples(np.sort(drawn), np.full(len(drawn), np.nan))
    strongest = in_order(indices, activations, found.rest)
    if which == "top":
        return Samples(strongest.indices[:n], strongest.activations[:n])
    n_decile = ceil(DECILE * len(indices))
    drawn = np.sort(random.choice(n_decile, min(n, n_decile), replace=False))
    return Samples(strongest.indices[drawn], strongest.activations[drawn])


def in_order(indices: np.ndarray, activations: np.ndarray, rest: float) -> Samples:
    """Return rows in falling order of activity, equal ones in the order of X.

    Parameters
    ----------
    indices : ndarray of int of shape (n_rows,)
        Which rows.
    activations : ndarray of shape (n_rows,)
        Of a unit in these.
    rest : float
        Its activation where it is not active.
    """
    order = np.lexsort((indices, -np.abs(activations - rest)))
    return Samples(indices[order], activations[order])


def _column(codes: Any, unit: int) -> np.ndarray:
    """Return one unit's activations."""
    column = codes[:, [unit]]
    return np.asarray(column if isinstance(column, np.ndarray) else column.toarray()).ravel()
