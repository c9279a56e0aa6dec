"""ReconstructionDisplay: rows, their codes, and what is rebuilt of them."""

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from sksae.inspection.displays.checks import check_counts, check_lengths, check_shape
from sksae.inspection.displays.drawing import (
    BLUE,
    GREY,
    SMALL,
    Axes,
    AxesLike,
    Figure,
    check_matplotlib,
    title,
    whole_numbers,
)
from sksae.inspection.displays.grid import grid_axes
from sksae.inspection.displays.rows import (
    Look,
    draw_bars,
    draw_image,
    draw_line,
    look_of,
    strongest,
)
from sksae.inspection.names import check_names, given_names
from sksae.inspection.subject import Subject, checked_numbers, dense_rows
from sksae.metrics.activity import rest_of

N_ROWS = 4
KINDS = ("image", "line", "bar")
PANEL_SIZES = {"image": (1.7, 1.4), "line": (2.4, 1.6), "bar": (2.6, 2.0)}
# Images are square, and a code is wide.
WIDTHS = {"image": (1.0, 2.2, 1.0, 1.0), "line": (1.0,) * 4, "bar": (1.0,) * 4}


class ReconstructionDisplay:
    r"""Rows beside their codes, their reconstructions and their errors.

    Make it by `from_estimator`. Each row has four panels: the row as it reaches the autoencoder;
    its code, a stem for each unit that is not at rest; the reconstruction; and the error, which is
    the reconstruction minus the row for each feature, with its squared norm

    .. math:: \lVert \hat x - x \rVert^2 ,

    which is minus what ``score_samples`` of the autoencoder returns.

    Parameters
    ----------
    rows, codes, reconstructions : array-like of shape (n_shown, n_features or n_units)
        Of each row that is shown.
    squared_errors : array-like of shape (n_shown,)
        Of each row.
    row_numbers : array-like of int of shape (n_shown,), default=None
        Numbers of the rows; 0, 1, ... by default.
    kind : {"auto", "image", "line", "bar"}, default="auto"
        How rows are shown; see `from_estimator`.
    image_shape : tuple of int, default=None
        (height, width), or (height, width, 3), of images.
    feature_names : sequence of str, default=None
        Names of the features; x0, x1, ... by default.
    mean : array-like of shape (n_features,), default=None
        "bar" shows how far features are from this mean; 0 by default.
    rest : float, default=0.0
        Value of units at rest, where stems begin: -1 for tanh units with ``sparsity="kl"``.

    Attributes
    ----------
    figure_ : matplotlib Figure
        What `plot` has drawn into.
    axes_ : ndarray of matplotlib Axes of shape (n_shown, 4)
        The panels.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.inspection import ReconstructionDisplay
    >>> X = load_digits().data
    >>> sae = SparseAutoencoderTransformer(64, max_iter=10, random_state=0).fit(X)
    >>> display = ReconstructionDisplay.from_estimator(sae, X, rows=[0, 7], image_shape=(8, 8))
    >>> bool((display.squared_errors == -sae.score_samples(X[[0, 7]])).all())
    True
    """

    figure_: Figure
    axes_: np.ndarray

    def __init__(
        self,
        rows: ArrayLike,
        codes: ArrayLike,
        reconstructions: ArrayLike,
        squared_errors: ArrayLike,
        *,
        row_numbers: ArrayLike | None = None,
        kind: Literal["auto", "image", "line", "bar"] = "auto",
        image_shape: Sequence[int] | None = None,
        feature_names: Sequence[str] | None = None,
        mean: ArrayLike | None = None,
        rest: float = 0.0,
    ) -> None:
        self.rows = np.asarray(rows, dtype=np.float64)
        self.codes = np.asarray(codes, dtype=np.float64)
        self.reconstructions = np.asarray(reconstructions, dtype=np.float64)
        self.squared_errors = np.asarray(squared_errors, dtype=np.float64)
        self.row_numbers = row_numbers
        self.kind = kind
        self.image_shape = image_shape
        self.feature_names = feature_names
        self.mean = mean
        self.rest = rest

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        rows: ArrayLike | None = None,
        *,
        kind: Literal["auto", "image", "line", "bar"] = "auto",
        image_shape: Sequence[int] | None = None,
        feature_names: Sequence[str] | None = None,
        n_top: int = 10,
        ax: AxesLike = None,
    ) -> Self:
        """Draw how a fitted estimator rebuilds some rows.

        Parameters
        ----------
        estimator : estimator
            A fitted autoencoder or stack, or a Pipeline, search or other estimator of scikit-learn
            with one in it (see :func:`~sksae.metrics.sparsity_scorers`). Classifiers and regressors
            rebuild nothing.
        X : {array-like, sparse matrix, DataFrame, sequence} of n_samples rows
            Rows, as ``estimator`` takes them.
        rows : int or array-like of int, default=None
            Which rows of X, by their numbers; the first four by default.
        kind : {"auto", "image", "line", "bar"}, default="auto"
            "image" is an image of ``image_shape``. Black and white are the smallest and the largest
            value of the row and its reconstruction; of the error medium grey is 0, and black and
            white are the largest error in magnitude. "line" is a signal. "bar" are the ``n_top``
            features in which the row is furthest from the mean of the training rows. "auto" is
            "image" if ``image_shape`` is given, "bar" if features have names that are not just
            counted (x0, x1, ...) or are at most 20, and else "line".
        image_shape : tuple of int, default=None
            (height, width), or (height, width, 3) where a pixel's three channels are together.
        feature_names : sequence of str of length n_features, default=None
            Names of the features that reach the autoencoder; by default those that are known.
        n_top : int >= 1, default=10
            How many features "bar" shows.
        ax : matplotlib Axes or array of them, default=None
            Axes whose area is divided, or four for each row; by default those of a new figure.

        Returns
        -------
        display : ReconstructionDisplay
            With the rows drawn.

        Raises
        ------
        ValueError
            If there is no autoencoder in ``estimator``, or one that rebuilds nothing; if X, rows,
            image_shape or names do not fit.
        TypeError
            If rows are no whole numbers.
        NotFittedError
            If it is not fitted.
        ImportError
            If matplotlib is not installed.
        """
        check_matplotlib("ReconstructionDisplay")
        check_counts("ReconstructionDisplay", n_top=n_top)
        check_names(feature_names)
        subject = Subject(estimator, needed_by="ReconstructionDisplay")
        autoencoder: Any = subject.autoencoder
        if not subject.network.decoder:
            raise ValueError(
                f"ReconstructionDisplay: a {type(autoencoder).__name__} reconstructs nothing, as "
                "its decoders are those of pre-training and do not know the fine-tuned codes. Draw "
                "a StackedSparseAutoencoder or a SparseAutoencoderTransformer."
            )
        look = look_of(
            kind,
            n_features=subject.n_features,
            image_shape=image_shape,
            names=subject.feature_names(X, feature_names),
            kinds=KINDS,
        )
        n_samples = _num_samples(X)
        shown = np.arange(min(N_ROWS, n_samples)) if rows is None else rows
        numbers = checked_numbers(shown, n_samples, name="rows", of="rows")
        given: Any = subject.rows(_safe_indexing(X, numbers))
        codes = autoencoder.transform(given)
        display = cls(
            dense_rows(given),
            dense_rows(codes),
            autoencoder.inverse_transform(codes),
            -autoencoder.score_samples(given),
            row_numbers=numbers,
            kind=look.kind,  # type: ignore[arg-type]
            image_shape=look.image_shape,
            feature_names=list(look.names),
            mean=subject.network.scaling.centre,
            rest=rest_of(autoencoder),
        )
        return display.plot(ax, n_top=n_top)

    def plot(self, ax: AxesLike = None, *, n_top: int = 10) -> Self:
        """Draw four panels for each row.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            Axes whose area is divided, or four for each row; by default those of a new figure.
        n_top : int >= 1, default=10
            How many features "bar" shows.

        Returns
        -------
        display : ReconstructionDisplay
            Itself.

        Raises
        ------
        ValueError
            If ax is an array of more or fewer axes; if what was given to the constructor is empty
            or does not fit together.
        ImportError
            If matplotlib is not installed.
        """
        check_counts("ReconstructionDisplay", n_top=n_top)
        self._check()
        n_shown, n_features = self.rows.shape
        look = look_of(
            self.kind,
            n_features=n_features,
            image_shape=self.image_shape,
            names=given_names(self.feature_names, n_features),
            kinds=KINDS,
        )
        size = PANEL_SIZES[look.kind]
        if look.kind == "bar":
            size = size[0], 0.6 + 0.15 * min(n_top, n_features)
        grid = grid_axes(
            ax,
            4 * n_shown,
            4,
            caller="ReconstructionDisplay",
            panel_size=size,
            width_ratios=WIDTHS[look.kind],
        )
        panels = grid.panels.reshape(n_shown, 4)
        numbers = np.arange(n_shown) if self.row_numbers is None else np.ravel(self.row_numbers)
        for shown, (line, number) in enumerate(zip(panels, numbers, strict=True)):
            self._draw_row(line, shown, look, n_top)
            title(line[0], f"row {number}")
            title(line[1], "code (activation)")
            title(line[2], "reconstruction")
            title(line[3], f"error (squared: {self.squared_errors[shown]:.4g})")
        for panel, name in zip(panels[-1], _x_labels(look.kind), strict=True):
            panel.set_xlabel(name, fontsize=SMALL)
        grid.make_room()
        self.figure_, self.axes_ = grid.figure, panels
        return self

    def _check(self) -> None:
        """Raise unless what the constructor was given fits together."""
        caller = "ReconstructionDisplay"
        check_shape(caller, ("n_shown", "n_features"), rows=self.rows)
        n_shown, n_features = self.rows.shape
        check_shape(caller, (n_shown, "n_units"), codes=self.codes)
        check_shape(caller, self.rows.shape, reconstructions=self.reconstructions)
        check_shape(caller, (n_shown,), squared_errors=self.squared_errors)
        if self.row_numbers is not None:
            check_lengths(caller, "rows", n_shown, row_numbers=np.ravel(self.row_numbers))
        if self.mean is not None:
            check_shape(caller, (n_features,), mean=np.asarray(self.mean))

    def _draw_row(self, line: np.ndarray, shown: int, look: Look, n_top: int) -> None:
        """Draw a row, its code, its reconstruction and the error."""
        row, rebuilt = self.rows[shown], self.reconstructions[shown]
        values = {0: row, 2: rebuilt, 3: rebuilt - row}
        draw_code(line[1], self.codes[shown], self.rest)
        low, high = float(min(row.min(), rebuilt.min())), float(max(row.max(), rebuilt.max()))
        largest = float(np.abs(values[3]).max())
        limits = {0: (low, high), 2: (low, high), 3: (-largest, largest)}
        if look.kind == "bar":
            mean = np.zeros_like(row) if self.mean is None else np.asarray(self.mean)
            chosen = strongest(row - mean, n_top, signed=False)
            names = [str(name) for name in look.names[chosen]]
        for place, of_features in values.items():
            panel = line[place]
            if look.kind == "image":
                assert look.image_shape is not None
                draw_image(panel, of_features, look.image_shape, *limits[place])
            elif look.kind == "bar":
                # The names stand beside the row once.
                draw_bars(panel, of_features[chosen], names if place == 0 else [""] * len(names))
            else:
                draw_line(panel, of_features)
        # One scale for the row and for what is rebuilt of it.
        if look.kind == "line":
            line[2].sharey(line[0])
        elif look.kind == "bar":
            line[2].sharex(line[0])


def draw_code(ax: Axes, code: np.ndarray, rest: float) -> None:
    """Draw a stem for each unit that is not at rest, from the level of rest."""
    units = np.flatnonzero(code != rest)
    ax.axhline(rest, color=GREY, linewidth=0.5)
    ax.vlines(units, rest, code[units], color=BLUE, linewidth=1.0)
    ax.plot(units, code[units], ".", color=BLUE, markersize=3.0)
    ax.set_xlim(-0.5, len(code) - 0.5)
    ax.tick_params(labelsize=SMALL - 1)
    ax.locator_params(axis="y", nbins=4)
    whole_numbers(ax.xaxis, 4)


def _x_labels(kind: str) -> tuple[str, ...]:
    if kind == "image":
        return "", "unit", "", ""
    of_features = "feature" if kind == "line" else "value"
    return of_features, "unit", of_features, of_features
