"""Checks of what displays are asked for, in scikit-learn's words."""

from numbers import Integral

from sklearn.utils._param_validation import Interval, validate_parameter_constraints


def check_counts(caller: str, **counts: int | None) -> None:
    """Raise on a number that is no whole number of at least 1, or None.

    Parameters
    ----------
    caller : str
        Whom errors name.
    **counts : int or None
        Numbers by the names of their parameters.

    Raises
    ------
    ValueError
        If one is something else.
    """
    allowed = [Interval(Integral, 1, None, closed="left"), None]
    validate_parameter_constraints(dict.fromkeys(counts, allowed), dict(counts), caller_name=caller)
