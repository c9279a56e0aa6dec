"""What a dictionary with k active units is worth, by one and the same code for all of them."""

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse as sp
from _topk_data import Rows
from _topk_dictionary import Dictionary
from sklearn.linear_model import LogisticRegression

BLOCK = 4096  # rows whose activations are held at a time
PENALTY, MAX_ITER = 0.01, 1000  # C and iterations of the classifier

Figures = dict[str, float | None]


def figures_of(dictionary: Dictionary, rows: Rows, ks: Sequence[int]) -> Figures:
    """Return FVU, activity and accuracy.

    "FVU" and all that follows from "active" on are of the code as the package reads it: the k
    largest, or those above the threshold. "FVU, 16 largest" is of that code cut to so many a row.

    Parameters
    ----------
    dictionary : Dictionary
    rows : Rows
    ks : sequence of int
        The one it was learnt with, and smaller ones.
    """
    train = codes(dictionary, rows.X_train, ks[0])
    test = codes(dictionary, rows.X_test, ks[0])
    figures: Figures = {"FVU": fvu(dictionary, test, rows)}
    for k in ks:
        figures[f"FVU, {k} largest"] = fvu(
            dictionary, codes(dictionary, rows.X_test, k, by_threshold=False), rows
        )
    figures["active"] = test.nnz / test.shape[0]
    figures["dead"] = 1 - len(np.unique(train.indices)) / train.shape[1]
    return figures | accuracy(train, test, rows)


# --- codes -----------------------------------------------------------------------------------


def codes(dictionary: Dictionary, X: np.ndarray, k: int, by_threshold: bool = True) -> sp.csr_array:
    """Return the codes of rows.

    Parameters
    ----------
    dictionary : Dictionary
    X : ndarray of shape (n_rows, n_features)
    k : int
        So many are active, those of them that are not 0.
    by_threshold : bool
        Whether it is those above the dictionary's threshold instead, where it has one.
    """
    by_threshold &= not np.isnan(dictionary.threshold).any()
    blocks = []
    for activations in all_activations(dictionary, X):
        if by_threshold:
            activations[activations <= dictionary.threshold] = 0.0
            blocks.append(sp.csr_array(activations))
            continue
        which = np.argpartition(activations, -k, axis=1)[:, -k:]
        values = np.take_along_axis(activations, which, axis=1)
        starts = np.arange(0, values.size + 1, k)
        block = sp.csr_array((values.ravel(), which.ravel(), starts), shape=activations.shape)
        block.eliminate_zeros()
        blocks.append(block)
    return sp.vstack(blocks, format="csr")


def all_activations(dictionary: Dictionary, X: np.ndarray) -> Iterator[np.ndarray]:
    """Yield relu(X W_enc + b_enc), some rows at a time."""
    for start in range(0, len(X), BLOCK):
        yield np.maximum(X[start : start + BLOCK] @ dictionary.W_enc + dictionary.b_enc, 0.0)


# --- figures ---------------------------------------------------------------------------------


def fvu(dictionary: Dictionary, test: sp.csr_array, rows: Rows) -> float:
    """Return the squared residuals of all test rows over those from the training mean, 0 here."""
    rebuilt = test @ dictionary.W_dec + dictionary.b_dec
    return share_left(rows, rebuilt)


def share_left(rows: Rows, rebuilt: np.ndarray) -> float:
    residuals = np.square(rows.X_test - rebuilt, dtype=np.float64).sum()
    return float(residuals / np.square(rows.X_test, dtype=np.float64).sum())


def pca_figures(rows: Rows, ks: Sequence[int]) -> Figures:
    """Return what so many principal components of the training rows leave, and their accuracy."""
    _, V = np.linalg.eigh(rows.X_train.T.astype(np.float64) @ rows.X_train)
    figures: Figures = {}
    for k in ks:
        V_k = V[:, -k:].astype(np.float32)
        figures[f"FVU, {k} largest"] = share_left(rows, rows.X_test @ V_k @ V_k.T)
    V_k = V[:, -ks[0] :].astype(np.float32)
    figures = {"FVU": figures[f"FVU, {ks[0]} largest"], **figures, "active": float(ks[0])}
    return figures | accuracy(rows.X_train @ V_k, rows.X_test @ V_k, rows)


def accuracy(train, test, rows: Rows) -> Figures:
    """Return the share of test rows that a linear classifier gets right, and its standard error.

    All features are divided by one number, so that the training codes have a mean squared norm of
    as much as there are features in a row: the penalty then means the same for all of them. The
    error takes the rows of a document as one draw.
    """
    if rows.y_train is None:
        return {}
    squares = train.power(2).sum() if sp.issparse(train) else np.square(train).sum()
    size = np.sqrt(squares / train.shape[0] / rows.X_train.shape[1])
    classifier = LogisticRegression(C=PENALTY, max_iter=MAX_ITER).fit(train / size, rows.y_train)
    right = classifier.predict(test / size) == rows.y_test
    share = right.mean()
    _, group = np.unique(rows.groups_test, return_inverse=True)
    error = np.sqrt(np.square(np.bincount(group, right - share)).sum()) / len(right)
    return {"accuracy": float(share), "+-": float(error)}
