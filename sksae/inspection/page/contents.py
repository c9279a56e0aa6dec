"""What stands on a report's page, as plain values for its template and its script."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from sksae.inspection.page.columns import COLUMNS, Column
from sksae.inspection.page.facts import MISSING, number
from sksae.inspection.page.pictures import significant
from sksae.inspection.page.rows_shown import RowsShown
from sksae.inspection.samples import Which, chosen_rows
from sksae.inspection.survey import Survey

N_BINS = 20
# Activations that differ by less than this share of them are one.
ROUNDING = 1e-9
# Of classes whose shares are shown for each unit.
MOST_CLASSES = 20
# Which rows are shown for a unit, how many times as many as asked for, and their heading.
SHOWN: dict[Which, tuple[float, str]] = {
    "top": (1.0, "Strongest rows"),
    "top_decile": (1.0, "Some of the strongest tenth of the rows in which it is active"),
    "inactive": (0.5, "Rows in which it is not active"),
}


class Cell(NamedTuple):
    """One cell of the table of units."""

    text: str
    value: str
    is_text: bool
    is_long: bool = False


def table_rows(table: Any) -> tuple[list[Any], list[dict[str, Any]]]:
    """Return the columns that a table of units has on the page, and its rows.

    Parameters
    ----------
    table : DataFrame
        As `feature_table` returns it.
    """
    known = [column for column in COLUMNS if column.name in table.columns]
    values = {column: objects_of(table[column.name]) for column in known}
    # A column of nothing but gaps, as norms of a stack's atoms are, is left out.
    values = {
        column: found for column, found in values.items() if any(v is not None for v in found)
    }
    rows = []
    for at, unit in enumerate(table.index):
        cells = [Cell(str(unit), str(unit), False)]
        cells += [_cell(found[at], column) for column, found in values.items()]
        rows.append({"unit": int(unit), "cells": cells})
    return list(values), rows


def objects_of(column: Any) -> list[Any]:
    """Return the values of a column of a table, None for whatever is missing."""
    return [
        None if is_missing else value
        for value, is_missing in zip(column.tolist(), column.isna().tolist(), strict=True)
    ]


def _cell(value: Any, column: Column) -> Cell:
    if value is None:
        return Cell(MISSING, "", column.is_text, column.is_long)
    if column.is_text:
        return Cell(str(value), "", True, column.is_long)
    return Cell(number(value), repr(float(value)), False)


def units_of(
    found: Survey,
    shown: RowsShown,
    atoms: list[dict[str, Any]],
    labels: list[dict[str, Any]],
    classes: np.ndarray | None,
    n: int,
    random: np.random.RandomState,
) -> tuple[list[dict[str, Any]], dict[int, Any]]:
    """Return what is shown of each unit, and once each row that is shown for some.

    Parameters
    ----------
    found : Survey
        Of the rows, all units.
    shown : RowsShown
        How rows are shown.
    atoms : list of dict
        For each unit what it stands for.
    labels : list of dict
        For each unit label, terms and what is said of them.
    classes : ndarray of int of shape (n_samples,) or None
        The class of each row, from 0.
    n : int
        Rows of each kind.
    random : RandomState
        Draws rows.
    """
    shares = None if classes is None else shares_by_class(found, classes)
    units: list[dict[str, Any]] = []
    for unit in range(found.active.shape[1]):
        chosen = {
            which: chosen_rows(found, unit, max(1, round(n * times)), which, random)
            for which, (times, _) in SHOWN.items()
        }
        if np.isin(chosen["top_decile"].indices, chosen["top"].indices).all():
            del chosen["top_decile"]
        units.append(
            {
                "unit": unit,
                **labels[unit],
                "atom": atoms[unit],
                "histogram": histogram(found.of_unit(unit)[1]),
                "classes": None if shares is None else [significant(s) for s in shares[:, unit]],
                "samples": {
                    which: [
                        (int(row), significant(activation))
                        for row, activation in zip(*samples, strict=True)
                    ]
                    for which, samples in chosen.items()
                },
            }
        )
    indices = np.unique(
        [row for unit in units for samples in unit["samples"].values() for row, _ in samples]
    ).astype(np.intp)
    rows = dict(zip(indices.tolist(), shown.show(indices), strict=True))
    return units, rows


def histogram(activations: np.ndarray) -> dict[str, Any] | None:
    """Return how often a unit is how active where it is, or None if it never is."""
    if not len(activations):
        return None
    activations = activations.astype(np.float64)
    low, high = float(activations.min()), float(activations.max())
    if high - low <= ROUNDING * max(abs(low), abs(high)):
        return {"counts": [len(activations)], "low": significant(low), "high": significant(high)}
    counts, _ = np.histogram(activations, bins=N_BINS, range=(low, high))
    return {"counts": counts.tolist(), "low": significant(low), "high": significant(high)}


def shares_by_class(found: Survey, classes: np.ndarray) -> np.ndarray:
    """Return in which share of the rows of each class each unit is active, (n_classes, n_units)."""
    n_classes = int(classes.max()) + 1
    of_class = sp.csr_array(
        (np.ones(len(classes)), (classes, np.arange(len(classes)))),
        shape=(n_classes, len(classes)),
    )
    counts = np.bincount(classes, minlength=n_classes)
    return (of_class @ found.marks).toarray() / counts[:, None]
