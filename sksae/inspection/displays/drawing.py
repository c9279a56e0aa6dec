"""What all displays draw with: matplotlib when it is asked for, axes, colours, text.

Colours are three of Okabe and Ito's, which those who see no red or no green tell apart and which
stand out from white and from black. Whatever a colour says is said by a line style, a marker or a
direction too, for pictures in grey.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from typing import Any, TypeAlias

import numpy as np

# matplotlib's classes, which are not there before matplotlib is.
Axes: TypeAlias = Any
Figure: TypeAlias = Any
# One axes, an array or a sequence of them, or None for a figure of its own.
AxesLike: TypeAlias = Any

BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
GREY = "0.5"
SMALL = 8
# Share of its place that a panel fills where nothing else makes room for labels.
FILLED = 0.8
# Points from axes to what stands below their label.
BELOW_LABEL = 34


def check_matplotlib(caller: str) -> None:
    """Raise an ImportError that says how to install matplotlib if it is not there."""
    try:
        import matplotlib.pyplot  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'{caller} draws with matplotlib, which is not installed: pip install "sksae[plot]".'
        ) from error


def one_axes(ax: Axes | None, *, caller: str, size: tuple[float, float]) -> Axes:
    """Return the axes that are given, or those of a new figure.

    Parameters
    ----------
    ax : Axes or None
        What the user gave.
    caller : str
        Whom errors name.
    size : tuple of float
        Width and height of a new figure, in inches.
    """
    check_matplotlib(caller)
    if ax is not None:
        if np.size(ax) != 1:
            raise ValueError(f"{caller} draws into one axes, got {np.size(ax)}.")
        return np.ravel(ax)[0] if isinstance(ax, np.ndarray | list | tuple) else ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def grid_axes(
    ax: AxesLike,
    n_panels: int,
    n_columns: int,
    *,
    caller: str,
    panel_size: tuple[float, float],
    width_ratios: Sequence[float] | None = None,
) -> np.ndarray:
    """Return axes for some panels, row by row, shape (n_panels,).

    Parameters
    ----------
    ax : Axes, array or sequence of Axes, or None
        One axes, the area of which is divided; as many axes as there are panels; or None for a
        new figure.
    n_panels, n_columns : int
        How many panels there are, and how many of them in a row.
    caller : str
        Whom errors name.
    panel_size : tuple of float
        Width and height of a panel of a new figure, in inches.
    width_ratios : sequence of float of length n_columns, optional
        How wide columns are beside each other.

    Raises
    ------
    ValueError
        If there are axes for more or fewer panels.
    """
    check_matplotlib(caller)
    from matplotlib.gridspec import GridSpec, GridSpecFromSubplotSpec
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if isinstance(ax, np.ndarray | list | tuple):
        given = np.ravel(np.asarray(ax, dtype=object))
        if len(given) != n_panels:
            raise ValueError(
                f"{caller} has {n_panels} panels: ax must be one axes, whose area is divided, or "
                f"{n_panels} of them, got {len(given)}."
            )
        return given
    shape = ceil(n_panels / n_columns), n_columns
    panels = np.empty(n_panels, dtype=object)
    if ax is None:
        import matplotlib.pyplot as plt

        size = panel_size[0] * shape[1], panel_size[1] * shape[0]
        # Pads are inches, and not shares of panels, which may be large.
        engine = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.0, hspace=0.0)
        figure = plt.figure(figsize=size, layout=engine)
        grid: Any = GridSpec(*shape, figure=figure, width_ratios=width_ratios)
    else:
        figure, own = ax.figure, ax.get_subplotspec()
        ax.set_axis_off()
        if own is None:
            places = cells(ax.get_position().bounds, shape, width_ratios or (1.0,) * n_columns)
            for panel in range(n_panels):
                panels[panel] = figure.add_axes(places[panel])
            return panels
        grid = GridSpecFromSubplotSpec(*shape, subplot_spec=own, width_ratios=width_ratios)
    for panel in range(n_panels):
        panels[panel] = figure.add_subplot(grid[panel // n_columns, panel % n_columns])
    return panels


def cells(
    area: tuple[float, float, float, float], shape: tuple[int, int], widths: Sequence[float]
) -> list[tuple[float, float, float, float]]:
    """Return the places of panels in an area that no layout cares for, row by row.

    Parameters
    ----------
    area : tuple of float
        Left, bottom, width and height.
    shape : tuple of int
        Of the grid.
    widths : sequence of float
        Of columns, beside each other.

    Returns
    -------
    places : list of tuple of float
        Of each panel left, bottom, width and height, with room for labels on the left and below.
    """
    left, bottom, width, height = area
    bounds = np.concatenate([[0.0], np.cumsum(widths) / np.sum(widths)])
    step = height / shape[0]
    return [
        (
            left + width * (start + (1.0 - FILLED) * (end - start)),
            bottom + height - (row + FILLED) * step,
            FILLED * width * (end - start),
            FILLED**2 * step,
        )
        for row in range(shape[0])
        for start, end in pairwise(bounds)
    ]


def is_at_bottom(panel: int, n_panels: int, n_columns: int) -> bool:
    """Return whether there is no other panel below one of a grid."""
    return panel + n_columns >= n_panels


def bare(ax: Axes) -> None:
    """Take away the frame and the ticks of axes, but not the title and the labels."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def title(ax: Axes, text: str, place: str = "center") -> None:
    """Give axes a small title, in which no character is mathematics."""
    ax.set_title(text, fontsize=SMALL, pad=3, loc=place, parse_math=False)


def write_lines(ax: Axes, lines: Sequence[str], n_lines: int, *, monospace: bool = False) -> None:
    """Write lines into axes, from the top, without a frame.

    Parameters
    ----------
    ax : Axes
        Where.
    lines : sequence of str
        What.
    n_lines : int
        For how many lines there is to be room.
    monospace : bool, default=False
        Whether all characters are of one width.
    """
    bare(ax)
    family = {"family": "monospace"} if monospace else {}
    for place, line in enumerate(lines):
        ax.text(
            0.0,
            1.0 - (place + 0.5) / n_lines,
            line,
            transform=ax.transAxes,
            verticalalignment="center",
            fontsize=SMALL,
            parse_math=False,
            clip_on=True,
            **family,
        )


def legend_below(ax: Axes, n_columns: int, *, handles: dict[str, Any] | None = None) -> None:
    """Explain what is drawn below axes and their label, where it hides nothing.

    Parameters
    ----------
    ax : Axes
        With one line of label.
    n_columns : int
        How many entries are beside each other.
    handles : dict of str to artist, optional
        What is explained; by default all that have a label.
    """
    from matplotlib.transforms import ScaledTranslation

    points = ScaledTranslation(0.0, -BELOW_LABEL / 72, ax.figure.dpi_scale_trans)
    artists = () if handles is None else (list(handles.values()), list(handles))
    legend = ax.legend(
        *artists,
        loc="upper left",
        bbox_to_anchor=(0.0, 0.0),
        bbox_transform=ax.transAxes + points,
        ncols=n_columns,
        borderaxespad=0.0,
        borderpad=0.0,
        columnspacing=1.2,
        fontsize="small",
        frameon=False,
        markerscale=0.7,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def whole_numbers(axis: Any, n_most: int = 8) -> None:
    """Put ticks on an axis of numbers of things, of which there are no halves.

    Parameters
    ----------
    axis : matplotlib Axis
        On a linear scale.
    n_most : int, default=8
        How many ticks at most, less one.
    """
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(n_most, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def log_axis(axis: Any, lowest: float, highest: float) -> None:
    """Put numbers that can be read on a logarithmic axis, also where it spans a few times.

    Parameters
    ----------
    axis : matplotlib Axis
        On a logarithmic scale.
    lowest, highest : float
        Of what is on it; positive.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    if highest < 10.0 * lowest:
        axis.set_major_locator(MaxNLocator(5))
    else:
        is_short = highest < 300.0 * lowest
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if is_short else (1.0,)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
