"""What was trained on what: the tables at the head of a report."""

from importlib.metadata import PackageNotFoundError, version
from re import sub
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.utils._pprint import _changed_params

from sksae.inspection.subject import Subject
from sksae.inspection.survey import ALWAYS_ON, Survey
from sksae.inspection.table.targets import Targets
from sksae.inspection.texts import shortened, texts_of

# Numbers from the first to the second are written in groups of three digits, without decimals.
GROUPED, EXPONENTIAL = 1e3, 1e9
# What a user looks for first, given or not.
ALWAYS = ("n_components", "sparsity", "rho", "beta", "random_state")
# Attributes that tell how a fit went, and what they are called on the page.
OF_FIT = {
    "n_iter_": None,  # epochs or iterations
    "n_steps_": "steps",
    "loss_": "J at the end",
    "beta_": "beta",
    "alpha_": "alpha",
}
MOST_CHARACTERS = 200
PACKAGES = ("sksae", "scikit-learn", "numpy", "torch")
# In the place of a number that is not known.
MISSING = "\N{EN DASH}"


class Group(NamedTuple):
    """A small table: a title, and names with values."""

    title: str
    rows: list[tuple[str, str]]


def facts_of(
    subject: Subject, X: Any, found: Survey, targets: Targets | None, r_squared: float
) -> list[Group]:
    """Return what is told of the estimator, its fit and the rows that are looked at.

    Parameters
    ----------
    subject : Subject
        What is inspected.
    X : {array-like, sparse matrix, sequence}
        Rows.
    found : Survey
        Of the rows.
    targets : Targets or None
        What units are compared with.
    r_squared : float
        Of their reconstruction, nan if there is none.
    """
    return [
        Group("Parameters", _parameters(subject.autoencoder)),
        Group("Fit", _fit(subject.autoencoder)),
        Group("Rows of this report", _rows(subject, X, found, targets, r_squared)),
        Group("Versions", _versions()),
    ]


def number(value: Any) -> str:
    """Return a number as people read it: three significant digits, whole numbers in groups."""
    if isinstance(value, bool | np.bool_):
        return str(value)
    if isinstance(value, float | np.floating):
        if np.isnan(value):
            return MISSING
        if not GROUPED <= abs(float(value)) < EXPONENTIAL:
            return f"{value:.3g}"
        value = round(float(value))
    return f"{value:,}".replace(",", "\u202f")


def _parameters(autoencoder: Any) -> list[tuple[str, str]]:
    """Return the main parameters and those that were changed."""
    given, changed = autoencoder.get_params(deep=False), _changed_params(autoencoder)
    names = [*(name for name in ALWAYS if name in given)]
    names += [name for name in given if name in changed and name not in names]
    return [("class", type(autoencoder).__name__)] + [
        (name, number(given[name]) if isinstance(given[name], float | int) else told(given[name]))
        for name in names
    ]


def _fit(autoencoder: Any) -> list[tuple[str, str]]:
    """Return how the fit went, as far as it is known."""
    rows = [("features", number(autoencoder.n_features_in_))]
    for name, title in OF_FIT.items():
        value = getattr(autoencoder, name, None)
        if value is not None:
            rows.append((steps_of(autoencoder) if title is None else title, number(value)))
    return rows


def steps_of(autoencoder: Any) -> str:
    """Return what one entry of a loss curve is."""
    return "iterations" if getattr(autoencoder, "solver", "adam") == "lbfgs" else "epochs"


def told(value: Any) -> str:
    """Return a parameter's value in words that are the same each time."""
    if isinstance(value, np.random.RandomState):
        return "a RandomState"
    return shortened(sub(r" at 0x[0-9A-Fa-f]+", "", repr(value)), MOST_CHARACTERS)


def _rows(
    subject: Subject, X: Any, found: Survey, targets: Targets | None, r_squared: float
) -> list[tuple[str, str]]:
    """Return what is told of the rows that are looked at, and of units in them."""
    density = found.density
    rows = [("rows", f"{number(found.n_samples)} in {_container(X)}")]
    if targets is not None:
        classes = targets.classes
        rows.append(("target", "numbers" if classes is None else f"{len(classes)} classes"))
    return [
        *rows,
        ("R² of the reconstruction", number(r_squared)),
        ("active units in a row", f"{density.sum():.3g} of {subject.n_units}"),
        ("sparsity of rows (Hoyer)", number(float(found.row_sparsity.mean()))),
        ("unused units", number(int(np.count_nonzero(density == 0.0)))),
        ("units that are always on", number(int(np.count_nonzero(density > ALWAYS_ON)))),
    ]


def _container(X: Any) -> str:
    """Return what holds rows, in words."""
    if sp.issparse(X):
        return f"a sparse matrix of {X.dtype}, {1.0 - X.nnz / np.prod(X.shape):.1%} zeros"
    if texts_of(X, None) is not None:
        return "a sequence of texts"
    if isinstance(X, np.ndarray):
        return f"{'a memory map' if isinstance(X, np.memmap) else 'an array'} of {X.dtype}"
    return f"a {type(X).__name__}"


def _versions() -> list[tuple[str, str]]:
    """Return the versions of what computed, without importing it."""
    found = []
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return found
