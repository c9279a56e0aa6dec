"""Of a table of parameters the few tests that have each value once."""


def place_of(item, mark):
    """Return the place of a test's values in a list of parametrize, and the length of the list."""
    names, cases = mark.args
    if isinstance(names, str):
        names = [name.strip() for name in names.split(",")]
        if len(names) == 1:
            cases = [case if hasattr(case, "marks") else (case,) for case in cases]
    here = [item.callspec.params[name] for name in names]
    for at, case in enumerate(cases):
        values = case.values if hasattr(case, "marks") else case
        if all(value is mine for value, mine in zip(values, here, strict=True)):
            return at, len(cases)
    raise LookupError(f"{item.nodeid} has values that are not in its list")


def is_needed(item):
    """Tell whether a test is among the few that have each value of each of its parameters once.

    Those go along the longest list of values; the others begin again when they are through, each
    shifted by another number of places, so that it is not always the same values that meet.
    """
    places = [place_of(item, mark) for mark in item.iter_markers("parametrize")]
    step, _ = max(places, key=lambda place: place[1])
    return all(
        at == (step + shift * (step // length)) % length
        for shift, (at, length) in enumerate(sorted(places, key=lambda place: -place[1]))
    )
