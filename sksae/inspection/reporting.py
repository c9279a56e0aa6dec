"""The report: all that is to be seen of an autoencoder on one page, in one file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sksae.inspection.page.assembly import page_contents
from sksae.inspection.page.writing import rendered
from sksae.process.extras import check_installed
from sksae.process.files import checked_path, write_whole


@np.errstate(all="ignore")
def report(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    path: str | os.PathLike[str],
    title: str | None = None,
    image_shape: tuple[int, ...] | None = None,
    feature_names: Sequence[str] | None = None,
    text: Sequence[str] | None = None,
    compare: Any = None,
    n_samples: int = 8,
    random_state: int | np.random.RandomState | None = 0,
) -> Path:
    """Write a page that shows what an autoencoder has learnt.

    The page is one HTML file that needs neither a network nor a server: it opens from a disk and
    can be sent by mail. It says what was trained on which rows, and shows the curves of the
    training, the activity of units and the sparsity of rows. It has a table of all units
    (`feature_table`) that can be sorted and searched. For each unit it shows what the unit adds to
    a row, the strongest rows, some rows of the strongest tenth, some rows in which it is not
    active, a histogram, and the label with a measure of how well it fits. The page is light or
    dark, as the system is, and works with a keyboard and with a screen reader. **It contains rows
    of X**: everybody who gets the file sees them.

    The same estimator and rows give the same file, if random_state is an int.

    Parameters
    ----------
    estimator : estimator
        A fitted autoencoder, stack, classifier or regressor, or a Pipeline, search or other
        estimator of scikit-learn with one in it (see :func:`~sksae.metrics.sparsity_scorers`).
    X : {array-like, sparse matrix, DataFrame, sequence} of n_samples rows
        Rows, as ``estimator`` takes them. New rows say more than training rows.
    y : array-like of shape (n_samples,), default=None
        Numbers or classes that units are compared with, as in `feature_table`.
    path : str or path
        Path of the file, in an existing folder. An existing file is replaced at the end, when the
        page is complete; its permissions stay the same.
    title : str, default=None
        Title of the page; None is the name of the estimator's class.
    image_shape : tuple of int, default=None
        If rows of X are pictures: (height, width), or (height, width, 3) for colours. If the same
        number of features reaches the autoencoder, atoms are pictures too.
    feature_names : sequence of str, default=None
        Names of the features that reach the autoencoder. By default the names of the columns of X,
        or the names that the steps before the autoencoder give, if there are any.
    text : sequence of str of length n_samples, default=None
        The text of each row, for rows that are made from texts, such as embeddings. By default X
        itself, if it consists of strings.
    compare : estimator or array-like of shape (n_atoms, n_features), default=None
        A second fit whose atoms are compared with these, as in `feature_table`.
    n_samples : int >= 1, default=8
        Number of rows of each kind that are shown for a unit.
    random_state : int, RandomState instance or None, default=0
        Draws the rows that are shown, and the rows on which labels are checked.

    Returns
    -------
    path : Path
        Of the file.

    Raises
    ------
    ImportError
        If jinja2, matplotlib or pandas is missing: ``pip install "sksae[report]"``.
    OSError
        If the file cannot be written; an existing file stays unchanged.
    ValueError
        If there is no autoencoder in ``estimator``; if X, y, text or names do not fit together, or
        image_shape does not fit the rows.
    NotFittedError
        If the autoencoder is not fitted.

    See Also
    --------
    feature_table : The table of units as a DataFrame.
    AtomsDisplay, ActivityDisplay, LossCurveDisplay, TopSamplesDisplay : Its pictures one by one.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_digits
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.inspection import report
    >>> X, y = load_digits(return_X_y=True)
    >>> sae = SparseAutoencoderTransformer(32, max_iter=30, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = report(sae, X, y, path=Path(folder) / "digits.html", image_shape=(8, 8))
    ...     page.stat().st_size < 1e6
    True
    """
    check_installed("report", "report", "jinja2", "matplotlib", "pandas", "PIL")
    target = checked_path(path)
    contents = page_contents(
        estimator,
        X,
        y,
        title=title,
        image_shape=image_shape,
        feature_names=feature_names,
        text=text,
        compare=compare,
        n_samples=n_samples,
        random_state=random_state,
    )
    write_whole({target: rendered(contents)})
    return target
