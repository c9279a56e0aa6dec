"""The ways to be sparse: one file for each, loaded when it is asked for.

`model.codes` is the table of their names. A file defines CODE, a `Code`; its name in the table is
that of the file.
"""

from collections.abc import Callable, Sequence
from importlib import import_module

import numpy as np
import torch
from torch import Tensor

from sksae.engine.codes.code import Code
from sksae.model.codes import CODES, Selection


def make_code(name: str | None, activation: str) -> Code:
    """Return the code of that name for units with that activation.

    Raises
    ------
    TypeError
        If a part of the code is missing that the table says it has.
    """
    if name is None:
        return Code(activation)
    kind: type[Code] = import_module(f"{__name__}.{name}").CODE
    check_complete(name, kind)
    return kind(activation)


def selector(selection: Selection | None) -> Callable[[Tensor, int], None] | None:
    """Return what selects the units of a layer, given activations and the axis of units.

    None where all are kept.
    """
    if selection is None:
        return None
    if not CODES[selection.code].is_exact:
        # The activation itself decides.
        return None
    code = make_code(selection.code, CODES[selection.code].activation)

    def select(activations: Tensor, axis: int) -> None:
        code.select(activations, selection, axis)

    return select


def selector_of_models(
    selections: Sequence[Selection | None],
) -> Callable[[Tensor, int], None]:
    """Return what selects the units of a layer, for models each of which keeps others."""
    selectors = [selector(selection) for selection in selections]

    def select(activations: Tensor, axis: int) -> None:
        for own, of_model in zip(selectors, activations, strict=True):
            if own is not None:
                own(of_model, axis)

    return select


def select_columns(selection: Selection | None, rows: np.ndarray) -> None:
    """Leave of rows of activations, an array that may be written to, what a layer keeps."""
    select = selector(selection)
    if select is not None:
        select(torch.from_numpy(rows), -1)


def check_complete(name: str, kind: type[Code]) -> None:
    """Raise if a code lacks a part that the table of names promises."""
    facts = CODES[name]
    needed: tuple[str, ...] = ()
    if facts.is_exact:
        needed = ("select", "active", *(("bound",) if facts.selects_by_batch else ()))
    elif facts.counts_units:
        needed = ("active", "backward", "price")
        needed += ("mean_penalty",) if facts.aims_at_count else ("entry_penalty",)
    elif facts.aims_at_mean:
        needed = ("mean_penalty", "mean_gradient", "activity")
    elif facts.has_penalty:
        needed = ("row_penalty", "row_gradient")
    if facts.revives_units:
        needed += ("upkeep",)
    missing = [part for part in needed if getattr(kind, part) is getattr(Code, part)]
    if facts.has_penalty and kind.law is None:
        missing.append("law")
    if missing:
        raise TypeError(f"The code {name!r} has no {', '.join(missing)}: {kind.__name__} needs it.")
    for attribute, promised in (
        ("penalises_means", facts.aims_at_mean),
        ("penalises_counts", facts.aims_at_count),
    ):
        if getattr(kind, attribute) != promised:
            raise TypeError(
                f"{attribute} of {kind.__name__} is not what the table of codes says of {name!r}."
            )
