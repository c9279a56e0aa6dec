"""The weight decay of a linear layer on codes, found by cross-validation."""

import numpy as np

from sksae.process.processes import processes_in_use

# What is tried.
DECAYS = np.logspace(-5, 1, 13)
N_FOLDS = 5
# With more rows the decay found is about the same. Fewer rows that differ tell nothing: then it is
# DECAY_OF_FEW.
MOST_ROWS = 5_000
FEWEST_ROWS, DECAY_OF_FEW = 10, 1e-2
# Rows of the same target are alike if projections of their codes differ by less than this share of
# the range of all.
ALIKE = 1e-5


def best_decay(codes: np.ndarray, target: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the weight decay with which a linear layer best predicts rows that it has not seen.

    By cross-validation of ridge regression. Rows that are alike are left out together, so that a
    row given twice counts as one of twice the weight, here as in J.

    Parameters
    ----------
    codes : ndarray of shape (n_rows, n_components)
        What the layer is given.
    target : ndarray of shape (n_rows, n_outputs)
        What it shall give, of mean 0 and deviation 1.
    weight : ndarray of shape (n_rows,) or None
        What each row counts, more than 0.

    Returns
    -------
    alpha : float
        As in the J of `SparseAutoencoderRegressor`.
    """
    # Imported here: `import sksae` must cost little.
    from sklearn.linear_model import Ridge

    codes, target, weight = _some_of_all(codes, target, weight)
    weight = np.ones(len(codes)) if weight is None else weight / weight.mean()
    codes, fold = codes.astype(np.float64), folds(codes, target)
    if fold is None:
        return DECAY_OF_FEW
    errors = np.zeros(len(DECAYS))
    for k in range(N_FOLDS):
        left_out = fold == k
        kept = ~left_out
        # Where the heaviest rows by far are left out, the others must not vanish.
        row_weights = weight[kept] / weight[kept].max()
        for at, decay in enumerate(DECAYS):
            ridge = Ridge(decay * row_weights.sum())
            ridge.fit(codes[kept], target[kept], sample_weight=row_weights)
            found = ridge.predict(codes[left_out]).reshape(target[left_out].shape)
            errors[at] += weight[left_out] @ np.square(found - target[left_out]).sum(axis=1)
    return float(processes_in_use().of_first(DECAYS[np.argmin(errors)]))


def _some_of_all(
    codes: np.ndarray, target: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return no more rows than `MOST_ROWS`; those of all processes where there are several.

    Parameters
    ----------
    codes, target, weight
        As in `best_decay`.
    """
    processes = processes_in_use()
    n_rows = int(processes.total(len(codes)))
    if n_rows > MOST_ROWS:
        some = np.linspace(0, len(codes) - 1, MOST_ROWS * len(codes) // n_rows).astype(int)
        weight = None if weight is None else weight[some]
        codes, target = codes[some], target[some]
    if not processes.are_several:
        return codes, target, weight
    parts = processes.gathered([codes, target, np.ones(0) if weight is None else weight])
    codes, target, gathered = (np.concatenate(each) for each in zip(*parts, strict=True))
    return codes, target, None if weight is None else gathered


def folds(codes: np.ndarray, target: np.ndarray) -> np.ndarray | None:
    """Return the fold of each row, the same for rows that are alike and in whatever order they are.

    None if too few rows differ.
    """
    # By the size of targets first: whether a target or its negative is to be learnt makes no
    # difference. Codes differ in their last digits by the way in which they were computed.
    _, of_target = np.unique(np.column_stack([np.abs(target), target]), axis=0, return_inverse=True)
    key = codes @ np.random.default_rng(0).normal(size=codes.shape[1])
    order = np.lexsort((key, of_target.ravel()))
    is_new = np.diff(of_target.ravel()[order]) > 0
    is_new |= np.diff(key[order]) > ALIKE * np.ptp(key)
    which = np.empty(len(codes), dtype=np.intp)
    which[order] = np.concatenate([[0], np.cumsum(is_new)])
    n_different = int(which.max()) + 1
    if n_different < FEWEST_ROWS:
        return None
    return np.random.default_rng(0).permutation(n_different)[which] % N_FOLDS
