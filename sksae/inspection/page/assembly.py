"""A report's page, put together: one walk over the rows, and all that is told of them."""

from collections.abc import Sequence
from importlib.metadata import version
from math import prod
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_parameter_constraints
from sklearn.utils.validation import _get_feature_names

from sksae.inspection.atoms import has_atoms, pictured
from sksae.inspection.displays.rows import Look, checked_shape, look_of, scaled_atom, strongest
from sksae.inspection.page.columns import UNIT, glossary
from sksae.inspection.page.contents import MOST_CLASSES, SHOWN, objects_of, table_rows, units_of
from sksae.inspection.page.facts import facts_of, number
from sksae.inspection.page.figures import figures_of
from sksae.inspection.page.pictures import as_bytes, line_source, png_source, significant
from sksae.inspection.page.rebuilt import Rebuilt
from sksae.inspection.page.rows_shown import RowsShown
from sksae.inspection.subject import Block, Subject, sliceable
from sksae.inspection.survey import Survey, survey
from sksae.inspection.table.maker import TableMaker
from sksae.inspection.texts import texts_of

CONSTRAINTS = {
    "n_samples": [Interval(Integral, 1, None, closed="left")],
    "random_state": ["random_state"],
}
# Features that are shown of an atom of bars or words.
N_TOP = 10
ADDS = "What it adds to a row"
EXCITES = "What excites it most, less the mean row"


def page_contents(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    title: str | None,
    image_shape: Sequence[int] | None,
    feature_names: Sequence[str] | None,
    text: Sequence[str] | None,
    compare: Any,
    n_samples: int,
    random_state: int | np.random.RandomState | None,
) -> dict[str, Any]:
    """Return what the template of a page asks for.

    Parameters
    ----------
    estimator, X, y, title, image_shape, feature_names, text, compare, n_samples, random_state
        As in `report`.
    """
    subject = Subject(estimator, needed_by="report")
    validate_parameter_constraints(
        CONSTRAINTS, {"n_samples": n_samples, "random_state": random_state}, caller_name="report"
    )
    random, X = check_random_state(random_state), sliceable(X)
    shape = None
    if image_shape is not None:
        shape = checked_shape(image_shape, _n_pixels(subject, X, image_shape))
    look = look_of(
        "auto",
        n_features=subject.n_features,
        # What reaches the autoencoder may be no pictures any more, but directions of a PCA, say.
        image_shape=shape if shape is not None and prod(shape) == subject.n_features else None,
        names=_names_of_features(subject, X, feature_names),
    )
    maker = TableMaker(
        subject,
        X,
        y,
        feature_names=feature_names,
        text=text,
        compare=compare,
        random_state=random,
    )
    rebuilt = Rebuilt(subject)

    def see(block: Block) -> None:
        maker.see(block)
        rebuilt.see(block)

    found = survey(subject, X, also=see)
    table = maker.table(found)
    shown = RowsShown(X, shape, texts_of(X, text), _names_of_columns(X, feature_names))
    atoms = atoms_shown(pictured(subject, np.arange(subject.n_units)), look)
    classes, names_of_classes = _classes(maker)
    units, rows = units_of(
        found,
        shown,
        atoms,
        labels_shown(table, are_words=shown.kind == "text"),
        classes,
        n_samples,
        random,
    )
    columns, cells = table_rows(table)
    return {
        "title": type(subject.autoencoder).__name__ if title is None else title,
        "summary": _summary(subject, found, rebuilt.r_squared),
        "facts": facts_of(subject, X, found, maker.targets, rebuilt.r_squared),
        "figures": figures_of(subject, found),
        "atlas": [
            {"unit": unit, "src": atom["src"]}
            for unit, atom in enumerate(atoms)
            if atom["kind"] == "image"
        ],
        "atlas_caption": f"{'Atoms' if has_atoms(subject.autoencoder) else 'Pictures'} by the "
        "number of their units, each by a scale of its own: grey is its mean, lighter is more, "
        "darker is less.",
        "columns": [UNIT, *columns],
        "rows": cells,
        "glossary": glossary(columns),
        "version": version("sksae"),
        "data": {
            "units": units,
            "rows": rows,
            "kind": shown.kind,
            "class_names": names_of_classes,
            "atom_title": ADDS if has_atoms(subject.autoencoder) else EXCITES,
            "samples": [(which, heading) for which, (_, heading) in SHOWN.items()],
        },
    }


def _n_pixels(subject: Subject, X: Any, image_shape: Sequence[int]) -> int:
    """Return of how many features a picture is: the columns of X, or what the autoencoder sees."""
    shape = np.shape(X) if sp.issparse(X) or hasattr(X, "shape") else np.shape(X[:1])
    are_columns = len(shape) == 2 and np.ndim(image_shape) == 1 and prod(image_shape) == shape[1]
    return int(shape[1]) if are_columns else subject.n_features


def atoms_shown(atoms: np.ndarray, look: Look) -> list[dict[str, Any]]:
    """Return what a page needs to draw each atom.

    Parameters
    ----------
    atoms : ndarray of shape (n_units, n_features)
        What units stand for.
    look : Look
        How they are drawn.
    """
    if look.kind == "image":
        assert look.image_shape is not None
        pixels = [as_bytes(scaled_atom(atom), -1.0, 1.0) for atom in atoms]
        shape = look.image_shape[:2] if look.image_shape[2:] == (1,) else look.image_shape
        return [{"kind": "image", "src": png_source(each.reshape(shape))} for each in pixels]
    if look.kind == "line":
        return [{"kind": "line", "line": line_source(atom)} for atom in atoms]
    found = []
    for atom in atoms:
        chosen = strongest(atom, N_TOP, signed=look.kind == "words")
        names = [str(name) for name in look.names[chosen]]
        values = [significant(value) for value in atom[chosen]]
        found.append({"kind": look.kind, "names": names, "values": values})
    return found


def labels_shown(table: Any, *, are_words: bool) -> list[dict[str, Any]]:
    """Return for each unit its label, the words to be marked in texts, and how well it holds.

    Parameters
    ----------
    table : DataFrame
        As `feature_table` returns it.
    are_words : bool
        Whether labels are words of texts.
    """
    if "label" not in table.columns:
        return [{"label": None} for _ in range(len(table))]
    shown: list[dict[str, Any]] = []
    labels = objects_of(table["label"])
    for label, row in zip(labels, table.itertuples(), strict=True):
        if label is None:
            shown.append({"label": None, "says": "No short label catches it."})
            continue
        says = (
            f"On rows that it was not made of the label has F1 {number(row.label_f1)} (precision "
            f"{number(row.label_precision)}, recall {number(row.label_recall)}); a label that "
            f"always holds has {number(row.base_f1)}."
        )
        terms = label.split(", ") if are_words else []
        shown.append({"label": label, "says": says, "terms": terms})
    return shown


def _names_of_features(subject: Subject, X: Any, given: Sequence[str] | None) -> np.ndarray | None:
    """Return names of what reaches the autoencoder; those given may be names of the columns."""
    if given is not None and len(given) != subject.n_features:
        given = None  # of the columns of X, as the table has checked
    return subject.feature_names(X, given)


def _names_of_columns(X: Any, given: Sequence[str] | None) -> np.ndarray | None:
    """Return names of the columns of X, if they have any."""
    if given is not None and np.shape(X)[1:] == (len(given),):
        return np.array([str(name) for name in given], dtype=object)
    return _get_feature_names(X)


def _classes(maker: TableMaker) -> tuple[np.ndarray | None, list[str]]:
    """Return the class of each row as a number, and the classes' names; None if too many."""
    targets = maker.targets
    if targets is None or targets.classes is None or len(targets.classes) > MOST_CLASSES:
        return None, []
    return targets.codes, [str(name) for name in targets.classes.tolist()]


def _summary(subject: Subject, found: Survey, r_squared: float) -> str:
    """Return the page in one line."""
    n_rows, n_active = number(found.n_samples), number(float(found.density.sum()))
    told = (
        f"{number(subject.n_units)} units of {number(subject.n_features)} features, seen "
        f"on {n_rows} rows; {n_active} units are active in a row"
    )
    return told + ("." if np.isnan(r_squared) else f", R² of the reconstruction {r_squared:.3f}.")
