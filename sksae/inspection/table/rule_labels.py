"""Labels of one or two conditions on named features, such as ``alcohol > 12.8 and hue <= 0.9``."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from sksae.inspection.table.fidelity import (
    FEWEST_ACTIVE,
    Fidelity,
    base_f1,
    f1_score_of,
    fidelity,
    least_gain,
)
from sksae.inspection.table.named_rows import Category

# How many first conditions, each on another feature or side, are tried with all second ones.
N_BEGINNINGS = 4
# Shares of the rows below cut points; with more features there are fewer cut points of each.
MANY_CUTS = (0.005, 0.01, 0.02, *np.arange(0.05, 0.96, 0.05).tolist(), 0.98, 0.99, 0.995)
CUTS = ((100, MANY_CUTS), (500, (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)), (5000, (0.1, 0.5, 0.9)))
MOST_FEATURES = CUTS[-1][0]
# Cut points are told in steps of a power of ten that has so many between the outer tenths.
STEPS_IN_SPREAD = 20
# Rows that rules are found with and checked by, and entries of conditions or features in them.
MOST_MAKING, MOST_CHECKING = 5000, 50_000
MOST_ENTRIES = 2**24
BLOCK_UNITS = 64


class Conditions(NamedTuple):
    """Statements on one feature each, those on a side of a feature one after the other.

    Attributes
    ----------
    feature : ndarray of int of shape (n_conditions,)
        Which feature.
    is_above : ndarray of bool of shape (n_conditions,)
        Whether it is "above", else "not above".
    cut : ndarray of str of shape (n_conditions,)
        The cut point, as it is told.
    """

    feature: np.ndarray
    is_above: np.ndarray
    cut: np.ndarray

    def hold(self, rows: np.ndarray, which: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return which conditions hold in which rows, shape (n_conditions, n_rows), of bool."""
        values, cuts = rows.T[self.feature[which]], self.cut[which].astype(np.float64)[:, None]
        return np.where(self.is_above[which][:, None], values > cuts, values <= cuts)


class Rule(NamedTuple):
    """One or two conditions.

    Attributes
    ----------
    conditions : tuple of int
        Which; none is no rule.
    is_both : bool
        Whether both must hold, else one of them.
    """

    conditions: tuple[int, ...] = ()
    is_both: bool = True


def most_rows(n_features: int) -> tuple[int, int]:
    """Return how many rows rules are found with at most, and how many they are checked by."""
    making = MOST_ENTRIES // (2 * n_features * len(_shares(n_features)))
    return min(MOST_MAKING, making), min(MOST_CHECKING, MOST_ENTRIES // n_features)


@np.errstate(all="ignore")
def rule_labels(
    names: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray],
    active: tuple[sp.csc_array, sp.csc_array],
) -> tuple[np.ndarray, Fidelity]:
    """Return labels of units, None for those without one, and their fidelity.

    Parameters
    ----------
    names : ndarray of {str, Category} of shape (n_features,)
        Names of features.
    rows : tuple of two ndarray of float64 of shape (n_rows, n_features)
        Rows that labels are made of, and those that they are checked by.
    active : tuple of two csc_array of float64 of shape (n_rows, n_units)
        1 where units are active in them.
    """
    (first, second), (first_active, second_active) = rows, active
    conditions = conditions_on(first)
    n_units = first_active.shape[1]
    rules = [Rule()] * n_units
    if len(conditions.cut):
        rules = found_rules(conditions.hold(first), groups_of(conditions), first_active)
    n_both, n_holding = np.full(n_units, np.nan), np.full(n_units, np.nan)
    for unit, rule in enumerate(rules):
        if rule.conditions:
            hold = conditions.hold(second, np.array(rule.conditions))
            holds = np.asarray(hold.all(axis=0) if rule.is_both else hold.any(axis=0))
            stored = slice(*second_active.indptr[unit : unit + 2])
            n_both[unit] = np.count_nonzero(holds[second_active.indices[stored]])
            n_holding[unit] = np.count_nonzero(holds)
    n_active = np.where(np.isnan(n_holding), np.nan, np.diff(second_active.indptr))
    kinds = np.array([_is_indicator(column) for column in first.T])
    labels = [as_statement(rule, conditions, names, kinds) or None for rule in rules]
    return np.array(labels, dtype=object), fidelity(n_both, n_holding, n_active, len(second))


def conditions_on(rows: np.ndarray) -> Conditions:
    """Return the conditions from among which rules are chosen.

    Parameters
    ----------
    rows : ndarray of float64 of shape (n_rows, n_features)
        Rows, which may have nan.
    """
    shares = _shares(rows.shape[1])
    found = [(feature, cut_points(column, shares)) for feature, column in enumerate(rows.T)]
    parts = [
        (feature, is_above, cut) for feature, cuts in found for is_above in (0, 1) for cut in cuts
    ]
    feature, is_above, cut = zip(*parts, strict=True) if parts else ((), (), ())
    return Conditions(
        np.array(feature, dtype=np.intp), np.array(is_above, dtype=bool), np.array(cut, dtype=str)
    )


def _shares(n_features: int) -> tuple[float, ...]:
    """Return the shares of rows below cut points."""
    return next(shares for most, shares in CUTS if n_features <= most)


def cut_points(values: np.ndarray, shares: tuple[float, ...]) -> list[str]:
    """Return where a feature may be cut, in rising order, in few digits.

    Parameters
    ----------
    values : ndarray of float64 of shape (n_rows,)
        Of the feature; nan are left out.
    shares : tuple of float in (0, 1)
        Which quantiles are cut points. All values are, if there are no more.
    """
    values = np.sort(values[np.isfinite(values)])
    distinct = values[np.concatenate([[True], np.diff(values) > 0.0])] if len(values) else values
    if len(distinct) < 2:
        return []
    few = len(distinct) <= len(shares)
    if few and (distinct == np.round(distinct)).all():
        return [f"{each:.0f}" for each in distinct[:-1]]
    if few:
        cuts = (distinct[1:] + distinct[:-1]) / 2.0
        spread = np.diff(distinct).min() * STEPS_IN_SPREAD / 2.0
    else:
        cuts = np.quantile(values, shares)
        spread = np.subtract(*np.quantile(values, [0.9, 0.1])) or distinct[-1] - distinct[0]
    exponent = int(np.floor(np.log10(spread / STEPS_IN_SPREAD)))
    told = dict.fromkeys(_told(cut, exponent) for cut in cuts)
    return [cut for cut in told if values[0] <= float(cut) < values[-1]]


def _told(cut: float, exponent: int) -> str:
    """Return a number to the nearest 10^exponent."""
    if -5 < exponent < 6:
        told = f"{round(cut, -exponent):.{max(0, -exponent)}f}"
        return told if float(told) else "0"
    digits = max(0, int(np.floor(np.log10(abs(cut) or 1.0))) - exponent)
    return f"{cut:.{digits}e}"


def groups_of(conditions: Conditions) -> np.ndarray:
    """Return where in the conditions those on another feature or side begin."""
    side = 2 * conditions.feature + conditions.is_above
    return np.flatnonzero(np.concatenate([[True], np.diff(side) != 0]))


def found_rules(hold: np.ndarray, groups: np.ndarray, active: sp.csc_array) -> list[Rule]:
    """Return the rule for each unit that tells best in which rows it is active, by F1.

    None if "always" has a larger one.

    Parameters
    ----------
    hold : ndarray of bool of shape (n_conditions, n_rows)
        Which conditions hold in which rows.
    groups : ndarray of int
        Where those on another feature or side begin.
    active : csc_array of float64 of shape (n_rows, n_units)
        1 where units are active.
    """
    # Counts are sums of products of 0 and 1, exact in float32 and quick.
    holds = hold.astype(np.float32)
    n_active = np.diff(active.indptr)
    rules = []
    for start in range(0, active.shape[1], BLOCK_UNITS):
        which = slice(start, start + BLOCK_UNITS)
        block = active[:, which].toarray().astype(np.float32)
        for rule, n in zip(_best_rules(holds, groups, block), n_active[which], strict=True):
            rules.append(rule if FEWEST_ACTIVE <= n < active.shape[0] else Rule())
    return rules


def _best_rules(holds: np.ndarray, groups: np.ndarray, active: np.ndarray) -> list[Rule]:
    """Return the best rule for each of some units; as in `found_rules`, dense and in float32."""
    units = np.arange(active.shape[1])
    n_active, n_holding = active.sum(axis=0), holds.sum(axis=1)[:, None]
    n_both = holds @ active
    f1 = f1_score_of(n_both, n_holding, n_active)
    best = f1.argmax(axis=0)
    always = base_f1(n_active, len(active))
    says_more = f1[best, units] > always
    rules = [Rule((int(each),) if more else ()) for each, more in zip(best, says_more, strict=True)]
    reached = np.maximum(f1[best, units] + least_gain(n_active), always)
    of_groups = np.maximum.reduceat(f1, groups, axis=0)
    for group in np.argsort(-of_groups, axis=0, kind="stable")[:N_BEGINNINGS]:
        # The best condition of this group, for each unit.
        begins = np.array([_best_of(f1[:, unit], groups, group[unit]) for unit in units])
        of_first = holds[begins].T
        both_hold, both_hold_active = holds @ of_first, holds @ (of_first * active)
        either_holds = n_holding + n_holding[begins].T - both_hold
        either_active = n_both + n_both[begins, units] - both_hold_active
        for is_both, score in (
            (True, f1_score_of(both_hold_active, both_hold, n_active)),
            (False, f1_score_of(either_active, either_holds, n_active)),
        ):
            seconds = score.argmax(axis=0)
            for unit in np.flatnonzero(score[seconds, units] > reached):
                rules[unit] = Rule((int(begins[unit]), int(seconds[unit])), is_both)
                reached[unit] = score[seconds[unit], unit]
    return rules


def _best_of(f1: np.ndarray, groups: np.ndarray, group: int) -> int:
    """Return which condition of a group has the largest F1."""
    end = groups[group + 1] if group + 1 < len(groups) else len(f1)
    return int(groups[group] + f1[groups[group] : end].argmax())


def as_statement(rule: Rule, conditions: Conditions, names: np.ndarray, kinds: np.ndarray) -> str:
    """Return a rule as text, empty for none.

    Parameters
    ----------
    rule : Rule
        The rule.
    conditions : Conditions
        Those that it names.
    names : ndarray of {str, Category} of shape (n_features,)
        Of features.
    kinds : ndarray of bool of shape (n_features,)
        Whether a feature has the values 0 and 1 alone.
    """
    which = np.array(rule.conditions, dtype=np.intp)
    features, above, cuts = (each[which] for each in conditions)
    is_range = rule.is_both and len(which) == 2 and features[0] == features[1]
    if is_range and above[0] != above[1]:
        low, high = cuts[np.argsort(~above)]
        return f"{low} < {names[features[0]]} <= {high}"
    parts = [
        _statement(names[feature], is_above, cut, kinds[feature])
        for feature, is_above, cut in zip(features, above, cuts, strict=True)
    ]
    return (" and " if rule.is_both else " or ").join(parts)


def _statement(name: str | Category, is_above: bool, cut: str, is_indicator: bool) -> str:
    """Return a condition as text."""
    if isinstance(name, Category):
        return f"{name.column} {'=' if is_above else '!='} {name.word}"
    if is_indicator:
        return f"{name} = {int(is_above)}"
    return f"{name} {'>' if is_above else '<='} {cut}"


def _is_indicator(values: np.ndarray) -> bool:
    """Return whether all values are 0 or 1."""
    return bool(np.isin(values, (0.0, 1.0)).all())
