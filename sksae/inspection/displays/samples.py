"""TopSamplesDisplay: the rows that units stand for."""

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import _safe_indexing

from sksae.inspection.atoms import most_used
from sksae.inspection.displays.checks import check_counts, check_lengths, check_some
from sksae.inspection.displays.drawing import (
    SMALL,
    Axes,
    AxesLike,
    Figure,
    bare,
    check_matplotlib,
    title,
    write_lines,
)
from sksae.inspection.displays.grid import grid_axes
from sksae.inspection.displays.rows import (
    NAME_LENGTH,
    Look,
    draw_image,
    draw_line,
    look_of,
    strongest,
)
from sksae.inspection.names import check_names
from sksae.inspection.samples import Samples, Which, check_choice, samples_of
from sksae.inspection.subject import Subject, dense_rows
from sksae.inspection.texts import shortened, texts_of

# How many units are shown where the user names none.
MOST_UNITS = 10
TEXT_LENGTH = 92
PANEL_SIZES = {"image": (0.8, 0.95), "line": (1.7, 1.1)}
LINE_HEIGHT = 0.16


class TopSamplesDisplay:
    """The rows that each of some units stands for, with its activation in them.

    Make it by `from_estimator`. Each unit has a line of images or signals, or a list of texts, of
    rows as :func:`~sksae.inspection.top_samples` chooses them, the strongest first.

    Parameters
    ----------
    samples : sequence of Samples
        Of each unit, as :func:`~sksae.inspection.top_samples` returns them.
    shown : sequence of (ndarray of shape (n_found, n_features) or sequence of str)
        Of each unit what is shown of its rows: numbers for images and lines, texts else, which may
        tell rows of a table by what stands out in them; see `from_estimator`.
    units : array-like of int of shape (n_units,), default=None
        The units' numbers; 0, 1, ... by default.
    kind : {"image", "line", "text"}, default="line"
        How rows are shown.
    image_shape : tuple of int, default=None
        (height, width), or (height, width, 3), of images.

    Attributes
    ----------
    figure_ : matplotlib Figure
        What `plot` has drawn into.
    axes_ : ndarray of matplotlib Axes of shape (n_units, n) or (n_units,)
        One for each row of each unit, or for "text" one for each unit.

    See Also
    --------
    top_samples : The rows themselves.
    AtomsDisplay : What units add to rows.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.inspection import TopSamplesDisplay
    >>> X = load_digits().data
    >>> sae = SparseAutoencoderTransformer(64, max_iter=10, random_state=0).fit(X)
    >>> display = TopSamplesDisplay.from_estimator(
    ...     sae, X, units=[3, 5], n=6, which="top_decile", image_shape=(8, 8)
    ... )
    >>> display.axes_.shape
    (2, 6)
    """

    figure_: Figure
    axes_: np.ndarray

    def __init__(
        self,
        samples: Sequence[Samples],
        shown: Sequence[Any],
        *,
        units: ArrayLike | None = None,
        kind: Literal["image", "line", "text"] = "line",
        image_shape: Sequence[int] | None = None,
    ) -> None:
        self.samples = samples
        self.shown = shown
        self.units = units
        self.kind = kind
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        units: ArrayLike | None = None,
        n: int = 10,
        which: Which = "top",
        *,
        image_shape: Sequence[int] | None = None,
        text: Sequence[str] | None = None,
        feature_names: Sequence[str] | None = None,
        n_top: int = 5,
        random_state: int | np.random.RandomState | None = 0,
        ax: AxesLike = None,
    ) -> Self:
        """Draw the rows that units of a fitted estimator stand for.

        X is read once for all units (twice if :func:`~sksae.inspection.top_samples` needs it). Rows
        are shown

        - as texts, shortened to a line, if ``text`` is given or X is a sequence of strings;
        - as images, if ``image_shape`` is given. Black and white are the smallest and the largest
          value of all rows that are shown;
        - as texts of the ``n_top`` features that are furthest from their mean over the training
          rows, with the difference from it and its sign, if features have names that are not just
          counted (x0, x1, ...), or are at most 20;
        - and else as signals, all on one scale.

        Images, features and signals show rows as they reach the autoencoder: behind a
        ``StandardScaler`` in standard deviations, and not in the scale of X. For an autoencoder
        alone they are in the scale of X.

        Parameters
        ----------
        estimator : estimator
            A fitted autoencoder, stack, classifier or regressor, or a Pipeline, search or other
            estimator of scikit-learn with one in it (see :func:`~sksae.metrics.sparsity_scorers`).
        X : {array-like, sparse matrix, DataFrame, sequence} of n_samples rows
            Rows, as ``estimator`` takes them.
        units : int or array-like of int, default=None
            Which units, in this order; by default all of them, or if these are more than 10 those
            that were used most in training (see `AtomsDisplay`).
        n : int >= 1, default=10
            How many rows of each unit at most.
        which : {"top", "top_decile", "inactive"}, default="top"
            Which rows; see :func:`~sksae.inspection.top_samples`.
        image_shape : tuple of int, default=None
            (height, width), or (height, width, 3) where a pixel's three channels are together.
        text : sequence of str of length n_samples, default=None
            What is shown of each row; X itself where it is a sequence of strings.
        feature_names : sequence of str of length n_features, default=None
            Names of the features that reach the autoencoder; by default those that are known.
        n_top : int >= 1, default=5
            How many features of a row are shown, if rows are shown as texts of features.
        random_state : int, RandomState instance or None, default=0
            Draws rows of "top_decile" and "inactive".
        ax : matplotlib Axes or array of them, default=None
            Axes whose area is divided, or as many as there are panels, ``n`` for each unit or
            for texts and features one; by default those of a new figure.

        Returns
        -------
        display : TopSamplesDisplay
            With the rows drawn.

        Raises
        ------
        ValueError
            If there is no autoencoder in ``estimator``, or not so many units; if X, image_shape,
            text or names do not fit; if n, which or n_top is out of its range.
        NotFittedError
            If it is not fitted.
        ImportError
            If matplotlib is not installed.

        Examples
        --------
        >>> from sklearn.feature_extraction.text import TfidfVectorizer
        >>> from sklearn.pipeline import make_pipeline
        >>> from sksae import SparseAutoencoderTransformer
        >>> from sksae.inspection import TopSamplesDisplay
        >>> texts = ["a cat sat", "the dog ran", "cat and cat", "fish swim"] * 20
        >>> pipe = make_pipeline(
        ...     TfidfVectorizer(),
        ...     SparseAutoencoderTransformer(4, sparsity="topk", rho=1, random_state=0),
        ... )
        >>> display = TopSamplesDisplay.from_estimator(pipe.fit(texts), texts, n=3)
        >>> display.kind, len(display.axes_)
        ('text', 4)
        """
        check_matplotlib("TopSamplesDisplay")
        check_choice("TopSamplesDisplay", n=n, which=which, random_state=random_state)
        check_counts("TopSamplesDisplay", n_top=n_top)
        check_names(feature_names)
        subject = Subject(estimator, needed_by="TopSamplesDisplay")
        look = look_of(
            "auto",
            n_features=subject.n_features,
            image_shape=image_shape,
            names=subject.feature_names(X, feature_names),
            kinds=("image", "line", "bar"),
        )
        texts = texts_of(X, text)
        numbers = most_used(subject, MOST_UNITS) if units is None else subject.check_units(units)
        samples = samples_of(subject, X, numbers, n, which, random_state)
        kind: Any = look.kind if look.kind != "bar" and texts is None else "text"
        if texts is not None:
            shown: list[Any] = [[str(texts[row]) for row in each.indices] for each in samples]
        else:
            rows = rows_of(subject, X, samples)
            shown = [_told(each, look, subject, n_top) for each in rows]
        display = cls(samples, shown, units=numbers, kind=kind, image_shape=look.image_shape)
        return display.plot(ax)

    def plot(self, ax: AxesLike = None) -> Self:
        """Draw the rows.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            Axes whose area is divided, or as many as there are panels; by default those of a new
            figure.

        Returns
        -------
        display : TopSamplesDisplay
            Itself.

        Raises
        ------
        ValueError
            If ax is an array of more or fewer axes; if kind is none of those named, or lacks an
            image_shape; if what was given to the constructor is empty or does not fit together.
        ImportError
            If matplotlib is not installed.
        """
        if self.kind not in ("image", "line", "text"):
            raise ValueError(f"kind must be 'image', 'line' or 'text', got {self.kind!r}.")
        n_units = len(self.samples)
        units = np.arange(n_units) if self.units is None else np.ravel(self.units)
        check_some("TopSamplesDisplay", samples=self.samples)
        check_lengths("TopSamplesDisplay", "units", n_units, shown=self.shown, units=units)
        for unit, each, rows in zip(units, self.samples, self.shown, strict=True):
            of = f"rows of unit {unit}"
            check_lengths("TopSamplesDisplay", of, len(each.activations), shown=rows)
        n_most = max(1, *(len(each.activations) for each in self.samples))
        names = [f"unit {unit}" for unit in units]
        if self.kind == "text":
            panels = self._write(ax, names, n_most)
        else:
            panels = self._draw(ax, names, n_most)
        self.figure_, self.axes_ = panels.flat[0].figure, panels
        return self

    def _write(self, ax: AxesLike, names: Sequence[str], n_most: int) -> np.ndarray:
        """Write a list of texts for each unit."""
        size = 7.0, 0.4 + LINE_HEIGHT * n_most
        grid = grid_axes(ax, len(names), 1, caller="TopSamplesDisplay", panel_size=size)
        for panel, name, each, texts in zip(
            grid.panels, names, self.samples, self.shown, strict=True
        ):
            lines = [
                f"{activation:#8.3g}  {shortened(text, TEXT_LENGTH)}"
                for activation, text in zip(each.activations, texts, strict=True)
            ]
            write_lines(panel, lines or ["no such rows"], n_most, monospace=True)
            title(panel, f"{name}: activation and row", "left")
        grid.make_room()
        return grid.panels

    def _draw(self, ax: AxesLike, names: Sequence[str], n_most: int) -> np.ndarray:
        """Draw a line of images or signals for each unit."""
        values = np.concatenate([np.ravel(each) for each in self.shown])
        limits = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
        n_features = next((each.shape[1] for each in self.shown if len(each)), 1)
        look = look_of(self.kind, n_features=n_features, image_shape=self.image_shape, names=None)
        grid = grid_axes(
            ax,
            len(names) * n_most,
            n_most,
            caller="TopSamplesDisplay",
            panel_size=PANEL_SIZES[self.kind],
        )
        panels = grid.panels.reshape(len(names), n_most)
        for line, name, each, rows in zip(panels, names, self.samples, self.shown, strict=True):
            # In an axes of its own, the name stands where a y-axis has its own.
            line[0].set_ylabel(name, fontsize=SMALL)
            for place, panel in enumerate(line):
                if place >= len(rows):
                    bare(panel)
                    continue
                draw_row(panel, rows[place], look, limits)
                title(panel, f"{each.activations[place]:#.3g}")
                panel.tick_params(labelleft=place == 0)
            title(line[0], f"a = {each.activations[0]:#.3g}" if len(rows) else "no such rows")
        if self.kind == "line":
            for panel in panels[:-1].flat:
                panel.tick_params(labelbottom=False)
            for panel in panels[-1]:
                panel.set_xlabel("feature", fontsize=SMALL)
        grid.make_room()
        return panels


def draw_row(ax: Axes, row: np.ndarray, look: Look, limits: tuple[float, float]) -> None:
    """Draw a row as an image or a signal, on the scale that others have too."""
    if look.kind == "image":
        assert look.image_shape is not None
        draw_image(ax, row, look.image_shape, *limits)
    else:
        draw_line(ax, row)
        room = 0.05 * (limits[1] - limits[0] or 1.0)
        ax.set_ylim(limits[0] - room, limits[1] + room)


def rows_of(subject: Subject, X: Any, samples: Sequence[Samples]) -> list[np.ndarray]:
    """Return the rows of each unit as they reach the autoencoder, which are sent there once.

    Parameters
    ----------
    subject : Subject
        Whose rows.
    X : {array-like, sparse matrix, sequence} of n_samples rows
        Rows as the estimator takes them.
    samples : sequence of Samples
        Which of them, for each unit.
    """
    every = np.unique(np.concatenate([each.indices for each in samples]))
    if not len(every):
        return [np.empty((0, subject.n_features)) for _ in samples]
    dense = dense_rows(subject.rows(_safe_indexing(X, every)))
    return [dense[np.searchsorted(every, each.indices)] for each in samples]


def _told(rows: np.ndarray, look: Look, subject: Subject, n_top: int) -> Any:
    """Return what is shown of a unit's rows: numbers, or the features that stand out, as text."""
    if look.kind != "bar":
        return rows
    return [features_told(row - subject.network.scaling.centre, look.names, n_top) for row in rows]


def features_told(differences: np.ndarray, names: np.ndarray, n_top: int) -> str:
    """Return the features that are furthest from their mean, and how far, as a line of text.

    Parameters
    ----------
    differences : ndarray of shape (n_features,)
        Of a row from the mean row.
    names : ndarray of str of shape (n_features,)
        Of the features.
    n_top : int
        How many at most; fewer if there is no room for them.
    """
    line = ""
    for at in strongest(differences, n_top, signed=False):
        told = f"{shortened(names[at], NAME_LENGTH)} {differences[at]:+.3g}"
        longer = f"{line}, {told}" if line else told
        if differences[at] == 0.0 or len(longer) > TEXT_LENGTH:
            break
        line = longer
    return line
