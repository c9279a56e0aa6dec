"""Labels of words: terms that a unit's active rows contain more often than the others."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer

from sksae.inspection.table.fidelity import (
    FEWEST_ACTIVE,
    Fidelity,
    base_f1,
    f1_score_of,
    fidelity,
    least_gain,
)

# Words that are not digits alone.
TOKEN = r"(?u)\b(?!\d+\b)\w\w+\b"
# A term that is in fewer of them is no candidate.
FEWEST_ROWS = 2
MOST_TERMS = 5
# Among how many terms, those with the largest z-scores, a label's are chosen.
N_CANDIDATES = 20
# The prior weighs as much as so many rows. A weak one, of ten, ranks a term that is in active rows
# alone behind common ones: its variance is that of a count of nearly 0.
PRIOR_ROWS = 100.0
# Units whose rows are held at a time where labels are checked.
BLOCK_UNITS = 256


class Incidence(NamedTuple):
    """Which rows contain which terms.

    Attributes
    ----------
    terms : ndarray of str of shape (n_terms,)
        The terms.
    first, second : csr_array of float64 of shape (n_rows, n_terms)
        1 where a row contains a term: for the rows that labels are made of, and for those that
        they are checked by.
    """

    terms: np.ndarray
    first: sp.csr_array
    second: sp.csr_array


def incidence_of_texts(text: np.ndarray, first: np.ndarray) -> Incidence | None:
    """Return which texts contain which words; None if there are no words.

    Parameters
    ----------
    text : ndarray of str of shape (n_samples,)
        The texts.
    first : ndarray of bool of shape (n_samples,)
        Which of them labels are made of: their words are the terms.
    """
    vectorizer = CountVectorizer(binary=True, dtype=np.float64, token_pattern=TOKEN)
    try:
        counts = vectorizer.fit_transform(text[first])
    except ValueError:  # texts without a word
        return None
    terms = np.asarray(vectorizer.get_feature_names_out(), dtype=object)
    return Incidence(terms, sp.csr_array(counts), sp.csr_array(vectorizer.transform(text[~first])))


def incidence_of_features(
    names: np.ndarray, rows: sp.csr_array, first: np.ndarray
) -> Incidence | None:
    """Return which rows contain which features, those that are not 0; None if there are none.

    Parameters
    ----------
    names : ndarray of str of shape (n_features,)
        Names of features.
    rows : sparse matrix of shape (n_samples, n_features)
        Their values.
    first : ndarray of bool of shape (n_samples,)
        Which rows labels are made of.
    """
    contains = sp.csr_array(rows != 0).astype(np.float64)
    return Incidence(names, contains[first], contains[~first]) if contains.nnz else None


@np.errstate(all="ignore")
def term_labels(
    incidence: Incidence, first: sp.csc_array, second: sp.csc_array
) -> tuple[np.ndarray, Fidelity]:
    """Return labels of units, None for those without one, and their fidelity.

    Parameters
    ----------
    incidence : Incidence
        Which rows contain which terms.
    first, second : csc_array of float64 of shape (n_rows, n_units)
        1 where units are active: in the rows that labels are made of, and in the others.
    """
    by_term = sp.csc_array(incidence.first)
    scores = z_scores(by_term, first)
    chosen = [
        chosen_terms(by_term, _column(first, unit), _column(scores, unit))
        for unit in range(first.shape[1])
    ]
    labels = np.array([", ".join(incidence.terms[each]) or None for each in chosen], dtype=object)
    return labels, _checked(incidence.second, chosen, second)


def z_scores(incidence: sp.csc_array, active: sp.csc_array) -> sp.csc_array:
    r"""Return by how much terms are over-represented among active rows, (n_terms, n_units).

    Of terms that are in no active row of a unit nothing is stored. With :math:`y_w` and
    :math:`y'_w`, the numbers of a unit's active and inactive rows that contain a term, their sums
    n and n', and a prior :math:`\alpha_w` of sum :math:`\alpha_0` that is in proportion to the
    numbers of all rows that contain it,

    .. math:: \delta_w = \log \frac{y_w + \alpha_w}{n + \alpha_0 - y_w - \alpha_w}
              - \log \frac{y'_w + \alpha_w}{n' + \alpha_0 - y'_w - \alpha_w}, \quad
              z_w = \delta_w \bigg/ \sqrt{\frac{1}{y_w + \alpha_w} + \frac{1}{y'_w + \alpha_w}}

    equations 16, 20 and 22 of [1]_, with rows that contain a term in the place of its occurrences.

    Parameters
    ----------
    incidence : csc_array of float64 of shape (n_rows, n_terms)
        1 where a row contains a term.
    active : csc_array of float64 of shape (n_rows, n_units)
        1 where a unit is active.

    References
    ----------
    .. [1] B. Monroe, M. Colaresi and K. Quinn, "Fightin' words: lexical feature selection and
           evaluation for identifying the content of political conflict", Political Analysis 16,
           2008.
    """
    counts = sp.csc_array(incidence.T @ active)
    total = np.asarray(incidence.sum(axis=0)).ravel()
    everything = total.sum()
    prior_sum = PRIOR_ROWS * everything / incidence.shape[0]
    unit = np.repeat(np.arange(counts.shape[1]), np.diff(counts.indptr))
    in_active, in_all = counts.data, total[counts.indices]
    n_active = np.asarray(counts.sum(axis=0)).ravel()[unit]
    prior = in_all * (prior_sum / everything)
    one, other = in_active + prior, in_all - in_active + prior
    delta = np.log(one / (n_active + prior_sum - one)) - np.log(
        other / (everything - n_active + prior_sum - other)
    )
    scores = delta / np.sqrt(1.0 / one + 1.0 / other)
    scores[in_active < FEWEST_ROWS] = -np.inf
    return sp.csc_array((scores, counts.indices, counts.indptr), shape=counts.shape)


def chosen_terms(
    incidence: sp.csc_array,
    active: tuple[np.ndarray, np.ndarray],
    scores: tuple[np.ndarray, np.ndarray],
) -> list[int]:
    """Return which terms make a unit's label, that which says most first.

    Of the terms with the largest scores, one after the other, the one by which "the row contains
    one of these terms" gains most F1. None if "always" would have a larger one.

    Parameters
    ----------
    incidence : csc_array of float64 of shape (n_rows, n_terms)
        Which rows contain which terms.
    active : tuple of ndarray
        In which rows the unit is active, and 1 for each.
    scores : tuple of ndarray
        Terms, and the z-scores of them.
    """
    rows, (terms, values) = active[0], scores
    if not FEWEST_ACTIVE <= len(rows) < incidence.shape[0]:
        return []
    best = terms[np.argsort(-values, kind="stable")[:N_CANDIDATES]]
    candidates = best[np.sort(-values, kind="stable")[:N_CANDIDATES] < 0.0]
    contains = incidence[:, candidates].toarray().astype(bool)
    in_row = np.zeros(len(contains), dtype=bool)
    in_row[rows] = True
    holds, reached, chosen = np.zeros(len(contains), dtype=bool), 0.0, list[int]()
    gain = least_gain(np.array(len(rows)))
    while len(chosen) < min(MOST_TERMS, len(candidates)):
        n_both, n_holding = _counts(contains & ~holds[:, None], in_row)
        f1 = f1_score_of(
            n_both + np.count_nonzero(holds & in_row),
            n_holding + np.count_nonzero(holds),
            np.array(len(rows)),
        )
        one = int(f1.argmax())
        if f1[one] < reached + gain:
            break
        reached = f1[one]
        holds |= contains[:, one]
        chosen.append(int(candidates[one]))
    says_more = reached > base_f1(np.array(len(rows)), len(contains))
    return chosen if says_more else []


def _counts(contains: np.ndarray, in_row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many rows, active ones and all, contain each term."""
    return contains[in_row].sum(axis=0), contains.sum(axis=0)


def _checked(incidence: sp.csr_array, chosen: list[list[int]], active: sp.csc_array) -> Fidelity:
    """Return the fidelity of "the row contains one of these terms", a block of units at a time."""
    lengths = np.array([len(each) for each in chosen])
    terms = np.array([term for each in chosen for term in each], dtype=np.intp)
    label = sp.csc_array(
        (np.ones(len(terms)), terms, np.concatenate([[0], lengths.cumsum()])),
        shape=(incidence.shape[1], len(chosen)),
    )
    n_both, n_holding = np.zeros(len(chosen)), np.zeros(len(chosen))
    for start in range(0, len(chosen), BLOCK_UNITS):
        which = slice(start, start + BLOCK_UNITS)
        holds = (incidence @ label[:, which]).astype(bool).astype(np.float64)
        n_holding[which] = np.asarray(holds.sum(axis=0)).ravel()
        n_both[which] = np.asarray(holds.multiply(active[:, which]).sum(axis=0)).ravel()
    n_active = np.asarray(active.sum(axis=0)).ravel()
    labelled = np.where(lengths > 0, 1.0, np.nan)
    return fidelity(labelled * n_both, n_holding, labelled * n_active, active.shape[0])


def _column(matrix: sp.csc_array, column: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which entries of a column are stored, and their values."""
    stored = slice(matrix.indptr[column], matrix.indptr[column + 1])
    return matrix.indices[stored], matrix.data[stored]
