"""What a table of units is made of: checked at first, then shown rows, then put together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.validation import _num_samples

from sksae.inspection.atoms import added_atoms
from sksae.inspection.names import check_names
from sksae.inspection.subject import Block, Subject
from sksae.inspection.survey import Survey
from sksae.inspection.table.atoms_alike import (
    check_compared,
    directions_of,
    nearest,
    nearest_in,
)
from sksae.inspection.table.halves import choosing_half
from sksae.inspection.table.labels import labels_of
from sksae.inspection.table.named_rows import NamedRows, named_rows
from sksae.inspection.table.separation import Correlations, separation_of
from sksae.inspection.table.targets import check_targets
from sksae.inspection.texts import texts_of
from sksae.process.extras import check_installed

Columns = dict[str, Any]


class TableMaker:
    """Makes a table of what a walk over rows has found, which may serve other ends too.

    What the user gave is checked at once. Then a `survey` of all units shows `see` each block,
    and `table` puts the table together.

    Parameters
    ----------
    subject : Subject
        Whose units.
    X, y, feature_names, text, compare, random_state
        As `feature_table` has them.

    Attributes
    ----------
    targets : Targets or None
        What units are compared with.
    first_half : ndarray of bool of shape (n_samples,)
        Which rows classes are chosen and labels made on; the others are measured on.

    Raises
    ------
    ImportError, ValueError, TypeError
        As `feature_table` does.
    """

    def __init__(
        self,
        subject: Subject,
        X: Any,
        y: Any = None,
        *,
        feature_names: Sequence[str] | None = None,
        text: Sequence[str] | None = None,
        compare: Any = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        caller, n_samples = subject.needed_by, _num_samples(X)
        check_installed(caller, "table", "pandas")
        check_names(feature_names)
        validate_parameter_constraints(
            {"random_state": ["random_state"]}, {"random_state": random_state}, caller_name=caller
        )
        self._subject = subject
        self._random = check_random_state(random_state)
        self.targets = None if y is None else check_targets(y, n_samples, subject.estimator)
        self._material = _material(subject, X, text, feature_names)
        self._compared = None if compare is None else check_compared(compare, subject)
        classes = None if self.targets is None else self.targets.codes
        self.first_half = choosing_half(n_samples, self._random, classes)
        self._correlations = None
        if self.targets is not None:
            self._correlations = Correlations(self.targets, ~self.first_half, subject.n_units)

    def see(self, block: Block) -> None:
        """Note what is needed of a block besides what is active."""
        if self._correlations is not None:
            self._correlations.see(block)

    @np.errstate(all="ignore")
    def table(self, found: Survey) -> Any:
        """Return the table, a DataFrame.

        Parameters
        ----------
        found : Survey
            Of all units and rows, whose blocks were shown to `see`.
        """
        import pandas as pd

        marks = found.marks
        columns = {
            "density": found.density,
            "mean_activation": found.mean,
            "largest_activation": found.largest,
            **self._of_atoms(),
            **self._of_targets(marks),
            **self._of_labels(marks),
        }
        return pd.DataFrame(columns, index=pd.RangeIndex(marks.shape[1], name="unit"))

    def _of_atoms(self) -> Columns:
        """Return columns on atoms."""
        atoms, directions = added_atoms(self._subject), directions_of(self._subject)
        norms = np.full(self._subject.n_units, np.nan)
        number, cosine = np.full(len(norms), -1), norms
        if atoms is not None:
            norms = np.linalg.norm(atoms.astype(np.float64), axis=1)
        if directions is not None:
            number, cosine = nearest(directions)
        columns = {
            "atom_norm": norms,
            "nearest_unit": _or_missing(number),
            "nearest_cosine": cosine,
        }
        if self._compared is not None and atoms is not None:
            number, cosine = nearest_in(atoms, self._compared)
            columns |= {"compared_unit": _or_missing(number), "compared_cosine": cosine}
        return columns

    def _of_targets(self, marks: sp.csc_array) -> Columns:
        """Return columns on y."""
        if self.targets is None or self._correlations is None:
            return {}
        found = separation_of(self.targets, marks, self.first_half)
        columns: Columns = {}
        if self.targets.classes is not None:
            # The last one is taken by those of which nothing is said.
            names = np.array([*self.targets.classes.tolist(), None], dtype=object)
            columns["target_class"] = _objects(names[found.column])
        return columns | {
            "correlation": self._correlations.of(found.column),
            "separation": found.difference,
            "separation_low": found.low,
            "separation_high": found.high,
            "p_value": found.p_value,
            "p_adjusted": found.p_adjusted,
        }

    def _of_labels(self, marks: sp.csc_array) -> Columns:
        """Return columns on labels."""
        if self._material is None:
            return {}
        found = labels_of(self._material, marks, self.first_half, self._random)
        if found is None:
            return {}
        return {
            "label": _objects(found.label),
            "label_f1": found.fidelity.f1,
            "label_precision": found.fidelity.precision,
            "label_recall": found.fidelity.recall,
            "base_f1": found.fidelity.base_f1,
        }


def _material(
    subject: Subject, X: Any, text: Sequence[str] | None, feature_names: Sequence[str] | None
) -> np.ndarray | NamedRows | None:
    """Return what labels are made of: texts, or rows with names; None if there is neither."""
    texts = texts_of(X, text)
    if texts is None:
        return named_rows(subject, X, feature_names)
    if feature_names is not None:
        named_rows(subject, X, feature_names)  # raises if they are too many or too few
    return texts


def _or_missing(numbers: np.ndarray) -> Any:
    """Return numbers of units in a column in which -1 is a missing one."""
    import pandas as pd

    return pd.arrays.IntegerArray(numbers.astype(np.int64), numbers < 0)


def _objects(values: np.ndarray) -> Any:
    """Return a column of objects, in which None stays None."""
    import pandas as pd

    return pd.Series(values, dtype=object)
