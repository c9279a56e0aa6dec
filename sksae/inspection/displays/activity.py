"""ActivityDisplay: how active units are, in how many rows, and how sparse rows are."""

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from sksae.base.protocols import HasNetwork
from sksae.inspection.displays.checks import check_shape
from sksae.inspection.displays.drawing import (
    BLUE,
    GREEN,
    VERMILLION,
    Axes,
    AxesLike,
    Figure,
    check_matplotlib,
    draw_legend,
    log_axis,
    whole_numbers,
)
from sksae.inspection.displays.grid import grid_axes
from sksae.inspection.subject import Subject
from sksae.inspection.survey import ALWAYS_ON, survey
from sksae.metrics.activity import gives_coefficients
from sksae.model.codes import CODES
from sksae.training.validation import resolve_rho

N_BINS = 30
# So few units have a dot each: of a single one there is no line.
FEW_UNITS = 20


class ActivityDisplay:
    """How active the units of a code are, which units are useless, and how sparse rows are.

    Make it by `from_estimator`. Three panels:

    - the mean activation of each unit, largest first, beside ``rho`` where that is the mean
      activation asked for;
    - the share of rows in which each unit is active, largest first, on a logarithmic axis, beside
      ``rho`` where that is the share of active units asked for. Units that are active in no row,
      and those in more than 90 % of them, are marked, and counted in the legend;
    - a histogram of Hoyer's sparsity of rows [1]_, which is 0 if all units of a row are equally
      active and 1 if a single unit is active.

    Parameters
    ----------
    mean_activation : array-like of shape (n_units,)
        Mean activation of each unit.
    density : array-like of shape (n_units,)
        Share of rows in which each unit is active, in [0, 1].
    row_sparsity : array-like of shape (n_samples,)
        Hoyer's sparsity of each row.
    rho : float, default=None
        The value of rho.
    rho_is : {"mean activation", "density"}, default="mean activation"
        The meaning of rho.

    Attributes
    ----------
    unused_ : ndarray of int
        Units that are active in no row.
    always_on_ : ndarray of int
        Units that are active in more than 90 % of rows.
    figure_ : matplotlib Figure
        What `plot` has drawn into.
    axes_ : ndarray of matplotlib Axes of shape (3,)
        The panels.

    See Also
    --------
    sksae.metrics.is_active : What active means.
    sksae.metrics.feature_density : The shares of rows.
    sksae.metrics.hoyer_sparsity : The sparsity of rows.

    References
    ----------
    .. [1] P. Hoyer, "Non-negative matrix factorization with sparseness constraints", JMLR 5,
           2004, section 3.1.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.inspection import ActivityDisplay
    >>> X = load_digits().data
    >>> sae = SparseAutoencoderTransformer(64, sparsity="topk", rho=4, max_iter=10, random_state=0)
    >>> display = ActivityDisplay.from_estimator(sae.fit(X), X)
    >>> f"{display.density.sum():.0f} active units in a row"
    '4 active units in a row'
    """

    figure_: Figure
    axes_: np.ndarray

    def __init__(
        self,
        mean_activation: ArrayLike,
        density: ArrayLike,
        row_sparsity: ArrayLike,
        *,
        rho: float | None = None,
        rho_is: Literal["mean activation", "density"] = "mean activation",
    ) -> None:
        self.mean_activation = np.asarray(mean_activation, dtype=np.float64)
        self.density = np.asarray(density, dtype=np.float64)
        self.row_sparsity = np.asarray(row_sparsity, dtype=np.float64)
        self.rho = rho
        self.rho_is = rho_is

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, *, ax: AxesLike = None) -> Self:
        """Draw how active the units of a fitted estimator are in some rows.

        X is read in blocks, once or twice, and may be a memory map larger than memory.

        Parameters
        ----------
        estimator : estimator
            A fitted autoencoder, stack, classifier or regressor, or a Pipeline, search or other
            estimator of scikit-learn with one in it (see :func:`~sksae.metrics.sparsity_scorers`).
        X : {array-like, sparse matrix, DataFrame, sequence} of n_samples rows
            Rows, as ``estimator`` takes them.
        ax : matplotlib Axes or array of them, default=None
            Axes whose area is divided, or three axes; by default those of a new figure.

        Returns
        -------
        display : ActivityDisplay
            With the panels drawn.

        Raises
        ------
        ValueError
            If there is no autoencoder in ``estimator``, or X does not fit; if ax is an array of
            more or fewer than three.
        NotFittedError
            If it is not fitted.
        ImportError
            If matplotlib is not installed.
        """
        check_matplotlib("ActivityDisplay")
        subject = Subject(estimator, needed_by="ActivityDisplay")
        found = survey(subject, X)
        rho, rho_is = wanted_activity(subject.autoencoder)
        display = cls(found.mean, found.density, found.row_sparsity, rho=rho, rho_is=rho_is)
        return display.plot(ax)

    @property
    def unused_(self) -> np.ndarray:
        """Units that are active in no row."""
        return np.flatnonzero(self.density == 0.0)

    @property
    def always_on_(self) -> np.ndarray:
        """Units that are active in more than 90 % of rows."""
        return np.flatnonzero(self.density > ALWAYS_ON)

    def plot(self, ax: AxesLike = None) -> Self:
        """Draw the three panels.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            Axes whose area is divided, or three axes; by default those of a new figure.

        Returns
        -------
        display : ActivityDisplay
            Itself.

        Raises
        ------
        ValueError
            If ax is an array of more or fewer than three; if what was given to the constructor is
            empty or does not fit together.
        ImportError
            If matplotlib is not installed.
        """
        check_shape("ActivityDisplay", ("n_units",), mean_activation=self.mean_activation)
        check_shape("ActivityDisplay", self.mean_activation.shape, density=self.density)
        check_shape("ActivityDisplay", ("n_samples",), row_sparsity=self.row_sparsity)
        grid = grid_axes(ax, 3, 3, caller="ActivityDisplay", panel_size=(3.6, 3.6))
        panels = grid.panels
        self._draw_means(panels[0], grid.makes_room)
        self._draw_density(panels[1], grid.makes_room)
        panels[2].hist(self.row_sparsity, bins=N_BINS, range=(0.0, 1.0), color=BLUE)
        panels[2].set(xlabel="Hoyer's sparsity of a row", ylabel="rows", xlim=(0.0, 1.0))
        grid.make_room()
        self.figure_, self.axes_ = grid.figure, panels
        return self

    def _draw_means(self, ax: Axes, has_room: bool) -> None:
        means = np.sort(self.mean_activation)[::-1]
        marker = "." if len(means) <= FEW_UNITS else None
        ax.plot(_ranks(means), means, color=BLUE, marker=marker, label="units")
        if self.rho is not None and self.rho_is == "mean activation":
            _draw_rho(ax, self.rho)
        ax.set(xlabel="unit, largest first", ylabel="mean activation")
        whole_numbers(ax.xaxis, 5)
        if means.min() >= 0.0:
            ax.set_ylim(bottom=0.0)
        if len(ax.lines) > 1:
            # Panels are narrow where an area is divided.
            draw_legend(ax, 1 if has_room else 2, has_room=has_room)

    def _draw_density(self, ax: Axes, has_room: bool) -> None:
        density = np.sort(self.density)[::-1]
        ranks = _ranks(density)
        # Below the smallest share that there can be.
        floor = 0.5 / len(self.row_sparsity)
        is_unused, is_on = density == 0.0, density > ALWAYS_ON
        between = ~is_unused & ~is_on
        ax.plot(ranks[between], density[between], ".", color=BLUE, label=f"others: {between.sum()}")
        ax.plot(
            ranks[is_on],
            density[is_on],
            "^",
            color=GREEN,
            label=f"in more than {ALWAYS_ON:.0%} of rows: {is_on.sum()}",
        )
        ax.plot(
            ranks[is_unused],
            np.full(is_unused.sum(), floor),
            "x",
            color=VERMILLION,
            label=f"in no row: {is_unused.sum()}",
        )
        if self.rho is not None and self.rho_is == "density":
            _draw_rho(ax, self.rho)
        ax.set_yscale("log")
        ax.set_ylim(0.6 * floor, 2.0)
        ax.set(xlabel="unit, largest first", ylabel="active in this share of rows")
        whole_numbers(ax.xaxis, 5)
        log_axis(ax.yaxis, floor, 1.0)
        draw_legend(ax, 1, has_room=has_room)


def wanted_activity(
    autoencoder: HasNetwork,
) -> tuple[float | None, Literal["mean activation", "density"]]:
    """Return rho where it has an effect on the codes, and of what it is the target.

    Parameters
    ----------
    autoencoder : HasNetwork
        An autoencoder, or what is made of them. Of a stack the last member's code is asked for;
        those of classifiers and regressors are fine-tuned to other ends.
    """
    network = autoencoder.__sksae_network__()
    member: Any = getattr(autoencoder, "autoencoders_", [autoencoder])[-1]
    facts = CODES[network.sparsity]
    if not network.decoder or gives_coefficients(autoencoder) or not facts.uses_rho(member.beta):
        return None, "mean activation"
    rho = resolve_rho(member.rho, network.n_components)
    if facts.is_read_at_will and member.transform_n_active is not None:
        rho = member.transform_n_active / network.n_components
    return rho, "mean activation" if facts.aims_at_mean else "density"


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.arange(1, len(values) + 1)


def _draw_rho(ax: Axes, rho: float) -> None:
    ax.axhline(rho, color=VERMILLION, linestyle="--", label=f"rho = {rho:.3g}")
