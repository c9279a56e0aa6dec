"""A SparseAutoencoderClassifier, 6 features and 5 units, in numpy.

Written by sksae 0.1.0; the arrays are in the file of the same name.
"""

from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_suffix(".npz")
CONTENT = FILE.read_bytes()
if sha256(CONTENT).hexdigest() != "31a93658b5236aa017033a231497e0a59e3f13a870c72e174de668c58e14eae6":
    raise ValueError(f"{FILE} is damaged, or of another model: write both again.")
with np.load(BytesIO(CONTENT), allow_pickle=False) as file:
    ARRAYS = dict(file)
del CONTENT


def transform(X):
    """Return codes, (n_rows, 5), of rows, (n_rows, 6)."""
    a = (np.asarray(X, float) - ARRAYS["centre"]) / ARRAYS["scale"] + ARRAYS["offset"]
    p = a @ ARRAYS["coef_1"] + ARRAYS["intercept_1"]
    a = np.exp(-np.logaddexp(0, -p))
    return a


def predict_proba(X):
    """Return the probability of each class, (n_rows, n_classes)."""
    scores = transform(X) @ ARRAYS["top_coef"] + ARRAYS["top_intercept"]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def predict(X):
    """Return the likeliest class of each row."""
    return ARRAYS["classes"][predict_proba(X).argmax(axis=1)]
