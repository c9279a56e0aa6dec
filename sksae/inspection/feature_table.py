"""All units in a table: how active they are, what they have to do with a target, and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sksae.inspection.subject import Subject
from sksae.inspection.survey import survey
from sksae.inspection.table_maker import TableMaker

if TYPE_CHECKING:
    import pandas as pd


@np.errstate(all="ignore")
def feature_table(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    feature_names: Sequence[str] | None = None,
    text: Sequence[str] | None = None,
    compare: Any = None,
    random_state: int | np.random.RandomState | None = 0,
) -> pd.DataFrame:
    """Return a table."""
    subject = Subject(estimator, needed_by="feature_table")
    maker = TableMaker(
        subject,
        X,
        y,
        feature_names=feature_names,
        text=text,
        compare=compare,
        random_state=random_state,
    )
    return maker.table(survey(subject, X, also=maker.see))
