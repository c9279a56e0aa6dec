"""Of a table of parameters the fast run has each value: what `each_once` chooses, and how many."""

from itertools import product
from types import SimpleNamespace

import pytest
from each_once import is_needed


def chosen(*lists):
    """Return the combinations of values that are in the fast run."""
    names = [f"list_{number}" for number in range(len(lists))]
    marks = [
        SimpleNamespace(args=(name, values)) for name, values in zip(names, lists, strict=True)
    ]

    def item(values):
        return SimpleNamespace(
            nodeid="a test",
            iter_markers=lambda name: marks,
            callspec=SimpleNamespace(params=dict(zip(names, values, strict=True))),
        )

    return [values for values in product(*lists) if is_needed(item(values))]


@pytest.mark.parametrize(
    "lengths", [(7,), (8, 2, 2, 2), (2, 3), (3, 3), (10, 2, 6), (5, 4, 3, 2), (4, 4, 4), (1, 3)]
)
def test_each_value_occurs_and_no_more_than_the_longest_list_needs(lengths):
    lists = [[f"{number}{at}" for at in range(n)] for number, n in enumerate(lengths)]
    found = chosen(*lists)
    assert len(found) == max(lengths)
    for values, list_ in zip(zip(*found, strict=True), lists, strict=True):
        assert set(values) == set(list_)


def test_short_lists_do_not_go_hand_in_hand():
    assert len({values[1:] for values in chosen("abcdefgh", (True, False), ("x", "y"))}) == 4
