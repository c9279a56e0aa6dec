"""Marks of missing targets: such as never occur, and those that columns of tables have."""

import re
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from stacking import assert_nothing_half_fitted, make_rows, no_training, pair

from sksae import SparseAutoencoderClassifier, SparseAutoencoderRegressor
from sksae.base.targets import read_classes, read_labels, read_numbers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = make_rows()
NUMBERS = X[:, 0] - X[:, 1]
LABELS = np.digitize(NUMBERS, [np.median(NUMBERS)])
WORDS = np.array(["ant", "bee"])[LABELS]
WITHOUT = np.arange(60) % 3 == 0
EVERY_MARK = (False, None, np.nan, -1, "")
CELLS = {
    "float": [None if gone else float(label) for gone, label in zip(WITHOUT, LABELS, strict=True)],
    "int": [None if gone else int(label) for gone, label in zip(WITHOUT, LABELS, strict=True)],
    "bool": [None if gone else bool(label) for gone, label in zip(WITHOUT, LABELS, strict=True)],
    "str": [None if gone else str(word) for gone, word in zip(WITHOUT, WORDS, strict=True)],
}


def classifier(unlabeled):
    params = {"max_iter": 2, "batch_size": 20, "random_state": 0, "unlabeled": unlabeled}
    return SparseAutoencoderClassifier(pair(), **params)


def regressor(unlabeled):
    params = {"max_iter": 2, "batch_size": 20, "random_state": 0, "unlabeled": unlabeled}
    return SparseAutoencoderRegressor(pair(), **params)


# Marks that never occur.


@pytest.mark.each_once
@pytest.mark.parametrize("mark", [-1, 7.5, None, np.nan, "?"])
@pytest.mark.parametrize(("make", "y"), [(classifier, LABELS), (regressor, NUMBERS)])
def test_a_mark_that_never_occurs_warns_and_does_nothing(make, y, mark):
    said = re.escape(f"unlabeled={mark!r} does not occur in y: all 60 rows")
    with pytest.warns(UserWarning, match=said):
        warned = make(mark).fit(X, y)
    np.testing.assert_array_equal(warned.predict(X), make(False).fit(X, y).predict(X))


@pytest.mark.parametrize("mark", ["?", None, np.nan])
def test_a_mark_that_strings_might_hold_warns(mark):
    with pytest.warns(UserWarning, match="does not occur in y"):
        classifier(mark).fit(X, WORDS.astype(object))


@pytest.mark.parametrize("y", [WORDS, WORDS.astype(object), WORDS.tolist()], ids=type)
def test_a_number_is_no_mark_among_strings(monkeypatch, y):
    no_training(monkeypatch)
    model = classifier(-1)
    said = r"unlabeled=-1 is a number .* labels are strings.*unlabeled='' say, or None.*False"
    with pytest.raises(ValueError, match=said):
        model.fit(X, y)
    assert_nothing_half_fitted(model, "predict")


@pytest.mark.parametrize("mark", [-1, np.nan])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_mark_of_which_numpy_made_a_string_is_told(method, mark):
    # In an array of strings it is one, and would be a class.
    y = np.array([mark if gone else word for gone, word in zip(WITHOUT, WORDS, strict=True)])
    assert y.dtype.kind == "U"
    with pytest.raises(ValueError, match=f"unlabeled={mark} is a number.*unlabeled='{mark}'"):
        getattr(classifier(mark), method)(X, y)
    assert classifier(str(mark)).fit(X, y).classes_.tolist() == ["ant", "bee"]


@pytest.mark.parametrize(
    ("make", "mark", "y"),
    [
        (classifier, -1, LABELS),
        (classifier, "?", WORDS),
        (classifier, np.nan, WORDS.astype(object)),
        # Other pieces may hold -1 beside strings.
        (classifier, -1, WORDS.astype(object)),
        (classifier, -1, WORDS.tolist()),
        (regressor, np.nan, NUMBERS),
    ],
)
def test_a_piece_without_the_mark_is_nothing_unusual(make, mark, y):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        make(mark).partial_fit(X, y).partial_fit(X[:20], y[:20])


def test_a_column_of_strings_holds_no_number_in_any_piece():
    model = classifier(-1)
    with pytest.raises(ValueError, match="unlabeled=-1 is a number"):
        model.partial_fit(X, WORDS)
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="unlabeled=-1 is a number"):
        model.partial_fit(X, pandas.Series(WORDS, dtype="string"))


# Tables.


def columns():
    """Yield the name of each column with missing targets, itself, and the mark that it has."""
    try:
        import polars
    except ImportError:
        pass
    else:
        for kind, cells in CELLS.items():
            # numpy makes nan of the nulls of numbers, and None of all others.
            yield (
                f"polars {kind}",
                polars.Series(cells),
                np.nan if kind in ("float", "int") else None,
            )
        yield "polars Categorical", polars.Series(CELLS["str"], dtype=polars.Categorical), None
        yield "polars Enum", polars.Series(CELLS["str"], dtype=polars.Enum(["ant", "bee"])), None
    try:
        import pandas
    except ImportError:
        return
    for dtype, kind in {
        "float64": "float",
        "Float64": "float",
        "Int64": "int",
        "boolean": "bool",
        "str": "str",
        "string": "str",
        "category": "str",
    }.items():
        column = pandas.Series(CELLS[kind], dtype=dtype)
        # Before pandas 3 a column of str is one of objects.
        yield f"pandas {dtype}", column, None if column.dtype == object else np.nan
    for kind, cells in CELLS.items():
        yield f"pandas object of {kind}", pandas.Series(cells, dtype=object), None
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return
    for kind in ("double", "int64", "bool", "string"):
        cells = CELLS[{"double": "float", "int64": "int", "string": "str"}.get(kind, kind)]
        yield f"pyarrow {kind}", pandas.Series(cells, dtype=f"{kind}[pyarrow]"), np.nan


def for_each(columns):
    parts = [pytest.param(column, mark, id=name) for name, column, mark in columns]
    return pytest.mark.parametrize(("column", "right"), parts)


COLUMNS = list(columns())
each_column = for_each(COLUMNS)
each_column_of_numbers = for_each(
    column for column in COLUMNS if not any(isinstance(value, str) for value in column[1])
)


def is_same(one, other):
    return one is other or (one != one and other != other)


@each_column
def test_nulls_are_labels_that_are_missing_under_their_mark(column, right):
    found = read_labels(column, right)
    np.testing.assert_array_equal(found.index, np.flatnonzero(~WITHOUT))
    np.testing.assert_array_equal(found.codes[~WITHOUT, 0], LABELS[~WITHOUT])
    assert len(found.classes) == 2
    assert read_classes(column, right).tolist() == found.classes.tolist()


@each_column
def test_under_another_mark_nulls_are_refused_with_a_hint(column, right):
    hint = f"unlabeled={'None' if right is None else 'nan'}"
    for mark in EVERY_MARK:
        if not is_same(mark, right):
            for read in (read_labels, read_classes):
                with pytest.raises(ValueError, match=hint):
                    read(column, mark)
            with pytest.raises(ValueError, match=hint):
                read_numbers(column, mark, None)


@each_column_of_numbers
def test_nulls_are_numbers_that_are_missing_under_their_mark(column, right):
    found = read_numbers(column, right, None)
    np.testing.assert_array_equal(found.index, np.flatnonzero(~WITHOUT))
    assert found.seen.mean[0] == pytest.approx(LABELS[~WITHOUT].mean())


def test_polars_nulls_from_fit_to_prediction():
    polars = pytest.importorskip("polars")
    words = classifier(None).fit(X, polars.Series(CELLS["str"]))
    assert words.classes_.tolist() == ["ant", "bee"]
    numbers = polars.Series(CELLS["int"])
    for make in (classifier, regressor):
        with pytest.raises(ValueError, match=r"Input y contains NaN.*unlabeled=nan.*nulls"):
            make(None).fit(X, numbers)
        assert np.isfinite(make(np.nan).fit(X, numbers).predict(X)).all()
