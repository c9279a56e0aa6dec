"""The table of units on a page: its columns, in plain words, and what these words mean."""

from collections.abc import Iterable
from typing import NamedTuple


class Column(NamedTuple):
    """A column.

    Attributes
    ----------
    name : str
        In the table that `feature_table` makes.
    title : str
        On the page.
    meaning : str
        One sentence.
    is_text, is_long : bool
        Whether it holds words, and whether these are many.
    rises : bool
        Whether small numbers are what one looks for.
    """

    name: str
    title: str
    meaning: str
    is_text: bool = False
    is_long: bool = False
    rises: bool = False


UNIT = Column("unit", "Unit", "The number of the unit, its column in the codes.", rises=True)
COLUMNS = (
    Column("label", "Label", "What active rows have in common.", is_text=True, is_long=True),
    Column("label_f1", "F1", "How well the label tells active rows, on rows it was not made of."),
    Column("base_f1", "Base F1", "The F1 of a label that always holds."),
    Column("target_class", "Class", "The class that the unit is compared with.", is_text=True),
    Column("separation", "Separation", "The mean target where it is active, less that elsewhere."),
    Column("separation_low", "from", "The lower end of its 95 % confidence interval."),
    Column("separation_high", "to", "The upper end of its 95 % confidence interval."),
    Column("p_adjusted", "Adjusted p", "By Benjamini and Hochberg, over units.", rises=True),
    Column("correlation", "Correlation", "Of activations with the target."),
    Column("density", "Density", "The share of rows in which the unit is active."),
    Column("mean_activation", "Mean", "The mean activation over all rows."),
    Column("largest_activation", "Largest", "The largest activation."),
    Column("atom_norm", "Norm", "The norm of the unit's atom."),
    Column("nearest_unit", "Twin", "The unit whose atom is most like this one's."),
    Column("nearest_cosine", "Cosine", "The cosine between the two atoms."),
    Column("compared_unit", "Other fit", "The atom of the other fit that is most like this one."),
    Column("compared_cosine", "Other cosine", "The cosine between the two atoms."),
)

ACTIVE = (
    "A unit of a code with exact zeros is active where it is not 0. Any other is active where it "
    "is above half of its largest activation in training."
)
DENSITY = (
    "The share of rows in which a unit is active. Units of density 0 are unused; those that are "
    "active nearly everywhere tell rows apart by how much only."
)
SPARSITY = "Hoyer's measure: 1 if a single unit is active in a row, 0 if all are alike."
LABEL = (
    "A label is made of one half of the rows and checked on the other: F1 is 1 if it holds in just "
    "those rows in which the unit is active. A label that always holds has the base F1."
)
SEPARATION = (
    "The mean target of rows in which the unit is active, less that of others; for classes, how "
    "much larger the share of the class is among them. It is measured on rows on which nothing was "
    "chosen."
)
ADJUSTED = (
    "Many units are tested at once. Among those with an adjusted p below 0.05, one in twenty at "
    "most is expected to have nothing to do with the target."
)
TWIN = (
    "Two atoms with a cosine near 1 say the same. A unit that no other fit has may be an accident "
    "of this one."
)
# Terms, what they mean, and the column without which nobody asks.
TERMS = (
    ("Active", ACTIVE, None),
    ("Density", DENSITY, None),
    ("Sparsity of rows", SPARSITY, None),
    ("Label, F1 and base F1", LABEL, "label"),
    ("Separation", SEPARATION, "separation"),
    ("Adjusted p", ADJUSTED, "p_adjusted"),
    ("Twin", TWIN, "nearest_unit"),
)


def glossary(columns: Iterable[Column]) -> list[tuple[str, str]]:
    """Return the terms that a page with some columns has, and what they mean."""
    names = {column.name for column in columns}
    return [(term, meaning) for term, meaning, name in TERMS if name is None or name in names]
