"""What all displays draw with: matplotlib when it is asked for, axes, colours, text.

Colours are three of Okabe and Ito's, which those who see no red or no green tell apart and which
stand out from white and from black. Whatever a colour says is said by a line style, a marker or a
direction too, for pictures in grey.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from sksae.process.extras import check_installed

# matplotlib's classes, which are not there before matplotlib is.
Axes: TypeAlias = Any
Figure: TypeAlias = Any
# One axes, an array or a sequence of them, or None for a figure of its own.
AxesLike: TypeAlias = Any

BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
GREY = "0.5"
SMALL = 8
# Points from axes to what stands below their label.
BELOW_LABEL = 34
# Where a legend may be inside of axes, the best first.
PLACES = (
    "upper right",
    "upper left",
    "lower left",
    "lower right",
    "center right",
    "center left",
    "upper center",
    "lower center",
    "center",
)
# Points between two of a line that are looked at.
STEPS = 10


def check_matplotlib(caller: str) -> None:
    """Raise an ImportError that says how to install matplotlib if it is not there."""
    check_installed(caller, "plot", "matplotlib.pyplot")


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


def is_laid_out(ax: Axes) -> bool:
    """Return whether a layout engine makes room for what stands around axes."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    is_constrained = isinstance(ax.figure.get_layout_engine(), ConstrainedLayoutEngine)
    return is_constrained and ax.get_subplotspec() is not None and ax.get_in_layout()


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


def draw_legend(
    ax: Axes, n_columns: int, *, handles: dict[str, Any] | None = None, has_room: bool = False
) -> None:
    """Explain what is drawn, below axes and their label if there is room, and else inside.

    Parameters
    ----------
    ax : Axes
        With one line of label, when all is drawn.
    n_columns : int
        How many entries are beside each other below the axes.
    handles : dict of str to artist, optional
        What is explained; by default all that have a label.
    has_room : bool, default=False
        Whether room will be made.
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
    if not (has_room or is_laid_out(ax) or _is_free(legend)):
        legend = ax.legend(*artists, loc=PLACES[0], fontsize="small", markerscale=0.7)
        hidden = {}
        for place in PLACES:
            legend.set_loc(place)
            hidden[place] = _n_hidden(legend)
        legend.set_loc(min(hidden, key=lambda place: hidden[place]))
    for text in legend.get_texts():
        text.set_parse_math(False)


def _is_free(legend: Any) -> bool:
    """Return whether a legend outside of its axes is inside the figure and on no other axes."""
    own, figure, box = legend.axes, legend.axes.figure, legend.get_window_extent()
    others = [
        ax.get_tightbbox()
        for ax in figure.axes
        if ax.get_visible() and ax.get_position().bounds != own.get_position().bounds
    ]
    whole = figure.bbox
    is_inside = whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0
    return is_inside and not any(other is not None and other.overlaps(box) for other in others)


def _n_hidden(legend: Any) -> int:
    """Return how much of the lines in its place a legend hides, on a second scale too."""
    own, box = legend.axes, legend.get_window_extent()
    n_hidden = 0
    for ax in own.figure.axes:
        if ax.get_position().bounds != own.get_position().bounds:
            continue
        ax.get_xlim()  # limits that wait for what is drawn are found when they are asked for
        for line in ax.lines:
            is_joined = line.get_linestyle() != "None"
            path = line.get_path().interpolated(STEPS) if is_joined else line.get_path()
            n_hidden += box.count_contains(line.get_transform().transform_path(path).vertices)
    return n_hidden


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
