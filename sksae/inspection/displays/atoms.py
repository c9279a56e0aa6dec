"""AtomsDisplay: what each unit adds to a row, or is looking for in it."""

from collections.abc import Sequence
from math import ceil, sqrt
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from sksae.inspection.atoms import has_atoms, most_used, pictured
from sksae.inspection.displays.checks import check_counts, check_shape
from sksae.inspection.displays.drawing import (
    SMALL,
    AxesLike,
    Figure,
    check_matplotlib,
)
from sksae.inspection.displays.grid import grid_axes
from sksae.inspection.displays.rows import draw_atom, look_of
from sksae.inspection.names import check_names, given_names
from sksae.inspection.subject import Subject

# How many units are shown where the user names none: as many as can be looked at together.
MOST_UNITS = {"image": 64, "line": 24, "bar": 12, "words": 20}
MOST_COLUMNS = {"image": 16, "line": 4, "bar": 4, "words": 5}
PANEL_SIZES = {"image": (0.75, 0.9), "line": (2.2, 1.4), "bar": (2.6, 2.0), "words": (1.6, 1.8)}


class AtomsDisplay:
    r"""What units add to a row, as images, lines, bars or words.

    Make it by `from_estimator`. An atom is a row of ``components_``: what one unit of the code adds
    to a row, in the scale of X (to its logits, with ``loss="cross_entropy"``). Networks with hidden
    layers, stacks, classifiers and regressors have no atoms. For them the display shows the row
    that excites a unit most, minus the mean training row. Among all rows at the distance r from the
    mean row, it is the row with the largest pre-activation p of unit j; r is the norm of scaled
    rows (usually 6, see ``scale_data``),

    .. math:: \arg\max_{\lVert u \rVert = 1} p_j(\bar z + r u) ,

    found by gradient ascent [1]_, which finds a local maximum. In a single layer it is
    :math:`u_i = W_{ij} / \sqrt{\sum_i W_{ij}^2}` [2]_.

    Parameters
    ----------
    atoms : array-like of shape (n_shown, n_features)
        What to show of each unit.
    units : array-like of int of shape (n_shown,), default=None
        The units' numbers; 0, 1, ... by default.
    kind : {"auto", "image", "line", "bar", "words"}, default="auto"
        How it is shown; see `from_estimator`.
    image_shape : tuple of int, default=None
        (height, width), or (height, width, 3), of images.
    feature_names : sequence of str, default=None
        Names of the features; x0, x1, ... by default.
    are_atoms : bool, default=True
        Whether they are atoms, and not differences of rows from their mean.

    Attributes
    ----------
    figure_ : matplotlib Figure
        What `plot` has drawn into.
    axes_ : ndarray of matplotlib Axes of shape (n_shown,)
        One for each unit.

    See Also
    --------
    TopSamplesDisplay : Rows in which units are active.
    sksae.metrics.dictionary_coherence : How alike atoms are.

    References
    ----------
    .. [1] D. Erhan, Y. Bengio, A. Courville and P. Vincent, "Visualizing higher-layer features of a
           deep network", technical report 1341, University of Montreal, 2009, section 3.
    .. [2] UFLDL tutorial, "Visualizing a trained autoencoder", and its ``display_network``.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.inspection import AtomsDisplay
    >>> sae = SparseAutoencoderTransformer(25, max_iter=10, random_state=0).fit(load_digits().data)
    >>> display = AtomsDisplay.from_estimator(sae, image_shape=(8, 8))
    >>> display.axes_.shape
    (25,)
    """

    def __init__(
        self,
        atoms: ArrayLike,
        *,
        units: ArrayLike | None = None,
        kind: Literal["auto", "image", "line", "bar", "words"] = "auto",
        image_shape: Sequence[int] | None = None,
        feature_names: Sequence[str] | None = None,
        are_atoms: bool = True,
    ) -> None:
        self.atoms = atoms
        self.units = units
        self.kind = kind
        self.image_shape = image_shape
        self.feature_names = feature_names
        self.are_atoms = are_atoms

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        units: ArrayLike | None = None,
        kind: Literal["auto", "image", "line", "bar", "words"] = "auto",
        image_shape: Sequence[int] | None = None,
        feature_names: Sequence[str] | None = None,
        n_top: int = 10,
        n_columns: int | None = None,
        ax: AxesLike = None,
    ) -> Self:
        """Draw what units of a fitted estimator add to a row.

        Parameters
        ----------
        estimator : estimator
            A fitted autoencoder, stack, classifier or regressor, or a Pipeline, search or other
            estimator of scikit-learn with one in it (see :func:`~sksae.metrics.sparsity_scorers`).
            Features are those that reach the autoencoder.
        units : int or array-like of int, default=None
            Which units, in this order. By default all of them. If there are more than 64 images, 24
            lines, 12 panels of bars or 20 of words, it is this number of units that were used most
            in training, the most used first: by ``active_share_`` if units have exact zeros, by
            ``mean_activation_`` otherwise; if neither is known, the first units.
        kind : {"auto", "image", "line", "bar", "words"}, default="auto"
            "image" is an image of ``image_shape``. The mean of each atom is subtracted, and it is
            divided by its largest magnitude, as in UFLDL's display_network: medium grey (or,
            in colour, medium in each channel) is the mean of the atom, white is more and black is
            less. "line" is a signal. "bar" are the ``n_top`` features with the largest weights in
            magnitude, with their names; the colour shows the sign as well. "words" are the names of
            the ``n_top`` features with the largest weights. "auto" is "image" if ``image_shape`` is
            given; "words" if more than 50 features have names that are not just counted (x0, x1,
            ...); "bar" if fewer have, or there are at most 20 features; and else "line".
        image_shape : tuple of int, default=None
            (height, width), or (height, width, 3) where a pixel's three channels are together.
        feature_names : sequence of str of length n_features, default=None
            Names of the features that reach the autoencoder; by default those that it or the step
            before it knows, as words of a vocabulary.
        n_top : int >= 1, default=10
            How many features "bar" and "words" show.
        n_columns : int >= 1, default=None
            How many panels are beside each other; by default about as many as below each other.
        ax : matplotlib Axes or array of them, default=None
            Axes whose area is divided among the units, or one axes for each unit; by default
            those of a new figure.

        Returns
        -------
        display : AtomsDisplay
            With the pictures drawn.

        Raises
        ------
        ValueError
            If there is no autoencoder in ``estimator``, or not so many units; if image_shape or
            names do not fit the number of features, or the kind needs them.
        NotFittedError
            If it is not fitted.
        ImportError
            If matplotlib is not installed.

        Examples
        --------
        >>> from sklearn.datasets import load_wine
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> from sksae import SparseAutoencoderTransformer
        >>> from sksae.inspection import AtomsDisplay
        >>> wine = load_wine()
        >>> pipe = make_pipeline(
        ...     StandardScaler(), SparseAutoencoderTransformer(6, max_iter=10, random_state=0)
        ... )
        >>> display = AtomsDisplay.from_estimator(
        ...     pipe.fit(wine.data), feature_names=wine.feature_names, n_top=5
        ... )
        >>> display.kind, len(display.axes_)
        ('bar', 6)
        """
        check_matplotlib("AtomsDisplay")
        subject = Subject(estimator, needed_by="AtomsDisplay")
        check_names(feature_names)
        look = look_of(
            kind,
            n_features=subject.n_features,
            image_shape=image_shape,
            names=subject.feature_names(given=feature_names),
        )
        if units is None:
            numbers = most_used(subject, MOST_UNITS[look.kind])
        else:
            numbers = subject.check_units(units)
        display = cls(
            pictured(subject, numbers),
            units=numbers,
            kind=look.kind,  # type: ignore[arg-type]
            image_shape=look.image_shape,
            feature_names=list(look.names),
            are_atoms=has_atoms(subject.autoencoder),
        )
        return display.plot(ax, n_top=n_top, n_columns=n_columns)

    figure_: Figure
    axes_: np.ndarray

    def plot(self, ax: AxesLike = None, *, n_top: int = 10, n_columns: int | None = None) -> Self:
        """Draw a panel for each unit.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            Axes whose area is divided, or one axes for each unit; by default those of a new
            figure.
        n_top : int >= 1, default=10
            How many features "bar" and "words" show.
        n_columns : int >= 1, default=None
            How many panels are beside each other; by default about as many as below each other.

        Returns
        -------
        display : AtomsDisplay
            Itself.

        Raises
        ------
        ValueError
            If ax is an array of more or fewer axes; if what was given to the constructor is empty
            or does not fit together.
        ImportError
            If matplotlib is not installed.
        """
        check_counts("AtomsDisplay", n_top=n_top, n_columns=n_columns)
        atoms = np.atleast_2d(np.asarray(self.atoms, dtype=np.float64))
        check_shape("AtomsDisplay", ("n_shown", "n_features"), atoms=atoms)
        units = np.arange(len(atoms)) if self.units is None else np.ravel(self.units)
        if len(units) != len(atoms):
            raise ValueError(f"units must name each of {len(atoms)} atoms, got {len(units)}.")
        names = given_names(self.feature_names, atoms.shape[1])
        look = look_of(
            self.kind, n_features=atoms.shape[1], image_shape=self.image_shape, names=names
        )
        n_beside = n_columns or min(MOST_COLUMNS[look.kind], ceil(sqrt(len(atoms))))
        n_beside = min(n_beside, len(atoms))
        size = PANEL_SIZES[look.kind]
        if look.kind in ("bar", "words"):
            size = size[0], 0.5 + 0.15 * min(n_top, atoms.shape[1])
        grid = grid_axes(ax, len(atoms), n_beside, caller="AtomsDisplay", panel_size=size)
        measure = "weight" if self.are_atoms else "difference from mean"
        for place, (panel, atom, unit) in enumerate(zip(grid.panels, atoms, units, strict=True)):
            draw_atom(panel, atom, look, f"unit {unit}", n_top)
            if look.kind in ("line", "bar") and grid.is_at_bottom(place):
                panel.set_xlabel("feature" if look.kind == "line" else measure, fontsize=SMALL)
            if look.kind == "line" and grid.is_at_left(place):
                panel.set_ylabel(measure, fontsize=SMALL)
        grid.make_room()
        self.figure_, self.axes_ = grid.figure, grid.panels
        return self
