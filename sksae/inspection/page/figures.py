"""The figures at the head of a report: how training went, and how active units and rows are."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from sksae.inspection.displays.activity import ActivityDisplay, wanted_activity
from sksae.inspection.displays.loss import LossCurveDisplay, curves_of
from sksae.inspection.page.facts import steps_of
from sksae.inspection.page.pictures import ink, svg_of
from sksae.inspection.subject import Subject
from sksae.inspection.survey import Survey

SIZE = (4.6, 3.6)


class PageFigure(NamedTuple):
    """A figure, what stands below it, and what a screen reader says of it."""

    svg: str
    caption: str
    description: str


def figures_of(subject: Subject, found: Survey) -> list[PageFigure]:
    """Return the figures of a report: the loss, if it is known, and three of activity.

    Parameters
    ----------
    subject : Subject
        What is inspected.
    found : Survey
        Of the rows.
    """
    autoencoder: Any = subject.autoencoder
    curves = [curve for curve in curves_of(autoencoder) if len(curve.loss)]
    figures = []
    if curves:
        says = " ".join(
            f"{curve.name or 'The loss'} went from {curve.loss[0]:.4g} to {curve.loss[-1]:.4g} in "
            f"{len(curve.loss)} {steps_of(autoencoder)}."
            for curve in curves
        )
        (svg,) = drawn(lambda axes: LossCurveDisplay.from_estimator(autoencoder, ax=axes[0]), 1)
        figures.append(PageFigure(svg, "Loss, and its parts", says))
    rho, rho_is = wanted_activity(subject.autoencoder)
    display = ActivityDisplay(found.mean, found.density, found.row_sparsity, rho=rho, rho_is=rho_is)
    told = {
        "Mean activation of units": found.mean,
        "Density of units": found.density,
        "Sparsity of rows": found.row_sparsity,
    }
    for svg, (caption, values) in zip(drawn(display.plot, 3), told.items(), strict=True):
        low, middle, high = np.quantile(values, [0.0, 0.5, 1.0])
        says = f"{caption}: from {low:.3g} to {high:.3g}, median {middle:.3g}."
        figures.append(PageFigure(svg, caption, says))
    return figures


def drawn(draw: Callable[[np.ndarray], Any], n_panels: int) -> list[str]:
    """Return what a display draws, in the page's colours, each panel as markup of its own.

    Parameters
    ----------
    draw : callable
        Draws into an array of axes.
    n_panels : int
        How many.
    """
    import matplotlib as mpl
    from markupsafe import Markup
    from matplotlib.figure import Figure

    with mpl.rc_context(ink()):
        # Not by pyplot, which would keep them, and show them in a notebook.
        figures = [Figure(figsize=SIZE, layout="constrained") for _ in range(n_panels)]
        axes = np.empty(n_panels, dtype=object)
        axes[:] = [figure.subplots() for figure in figures]
        draw(axes)
        return [Markup(svg_of(figure)) for figure in figures]
