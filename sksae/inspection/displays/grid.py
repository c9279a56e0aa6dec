"""Panels of a display in a grid: axes for them, and room for what stands around them."""

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np

from sksae.inspection.displays.drawing import Axes, AxesLike, Figure, check_matplotlib, is_laid_out

# Inches that axes as a rule have around them for labels and a title: left, right, bottom, top.
AROUND = (0.6, 0.0, 0.35, 0.3)
# Inches between what stands around two panels, and to the edge of the figure.
PAD = 0.05
# Share of an area that is left to the panels, whatever stands around them.
LEAST = 0.3
# What is around a panel goes by its size, as ticks do, and its size by what is around it.
N_ROUNDS = 2


class Grid:
    """Panels in rows and columns.

    Parameters
    ----------
    panels : ndarray of Axes of shape (n_panels,)
        Row by row.
    area : Axes, optional
        What was divided, in a figure that makes no room by itself.
    shape : tuple of int
        Numbers of rows and columns.
    widths : sequence of float of length n_columns
        How wide columns are beside each other.
    """

    def __init__(
        self,
        panels: np.ndarray,
        *,
        area: Axes | None = None,
        shape: tuple[int, int] = (1, 1),
        widths: Sequence[float] = (1.0,),
    ) -> None:
        self.panels, self._area = panels, area
        self._shape, self._widths = shape, widths

    @property
    def figure(self) -> Figure:
        """What the panels are in."""
        return self.panels[0].figure

    @property
    def makes_room(self) -> bool:
        """Whether panels are placed by `make_room`."""
        return self._area is not None

    def is_at_left(self, place: int) -> bool:
        """Return whether no panel is to the left of one, whoever placed them."""
        mine, others = self._boxes(place)
        return not any(
            each.x1 <= mine.x0 and _overlap(each.intervaly, mine.intervaly) for each in others
        )

    def is_at_bottom(self, place: int) -> bool:
        """Return whether no panel is below one, whoever placed them."""
        mine, others = self._boxes(place)
        return not any(
            each.y1 <= mine.y0 and _overlap(each.intervalx, mine.intervalx) for each in others
        )

    def _boxes(self, place: int) -> tuple[Any, list[Any]]:
        """Return where a panel is, and where the others are."""
        boxes = [panel.get_position(original=True) for panel in self.panels]
        return boxes.pop(place), boxes

    def make_room(self) -> None:
        """Place panels in the area such that nothing lies on another panel, or is cut off.

        It does nothing where a layout engine does it, or panels are the user's axes. It is called
        when all is drawn.
        """
        if self._area is None:
            return
        for _ in range(N_ROUNDS):
            self._place(self._area, self._around())

    def _around(self) -> np.ndarray:
        """Return how many inches panels need on their sides, (4, n_rows, n_columns)."""
        room = np.zeros((4, self._shape[0] * self._shape[1]))
        for place, panel in enumerate(self.panels):
            inner = panel.get_position(original=True).transformed(panel.figure.transSubfigure)
            outer = _outline(panel)
            room[:, place] = (
                inner.x0 - outer.x0,
                outer.x1 - inner.x1,
                inner.y0 - outer.y0,
                outer.y1 - inner.y1,
            )
        return np.maximum(room / self.figure.dpi, 0.0).reshape(4, *self._shape)

    def _place(self, area: Axes, around: np.ndarray) -> None:
        """Place panels in an area, with so much room around them."""
        box = area.get_position(original=True)
        bounds = box.transformed(self.figure.transSubfigure)
        whole = self.figure.bbox
        edges = (
            bounds.x0 - whole.x0,
            whole.x1 - bounds.x1,
            bounds.y0 - whole.y0,
            whole.y1 - bounds.y1,
        )
        # Outside of the area there is room that its own labels would have.
        free = np.clip(np.array(edges) / self.figure.dpi - PAD, 0.0, AROUND)
        size = bounds.width / self.figure.dpi, bounds.height / self.figure.dpi
        n_rows, n_columns = self._shape
        left, right = around[0].max(axis=0), around[1].max(axis=0)
        bottom, top = around[2].max(axis=1), around[3].max(axis=1)
        columns = _spaced(left, right, self._widths, size[0], free[:2])
        rows = _spaced(top, bottom, (1.0,) * n_rows, size[1], free[[3, 2]])
        cells = _cells(area, list(rows), list(columns), space=0.0)
        for place, panel in enumerate(self.panels):
            row, column = divmod(place, n_columns)
            cell = cells[3 * row + 1, 3 * column + 1]
            if area.get_subplotspec() is not None:
                panel.set_subplotspec(cell)
            else:
                panel.set_position(cell.get_position(self.figure))


def grid_axes(
    ax: AxesLike,
    n_panels: int,
    n_columns: int,
    *,
    caller: str,
    panel_size: tuple[float, float],
    width_ratios: Sequence[float] | None = None,
) -> Grid:
    """Return axes for some panels, row by row.

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
    from matplotlib.gridspec import GridSpec
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if isinstance(ax, np.ndarray | list | tuple):
        given = np.ravel(np.asarray(ax, dtype=object))
        if len(given) != n_panels:
            raise ValueError(
                f"{caller} has {n_panels} panels: ax must be one axes, whose area is divided, or "
                f"{n_panels} of them, got {len(given)}."
            )
        return Grid(given)
    shape, widths = (ceil(n_panels / n_columns), n_columns), width_ratios or (1.0,) * n_columns
    area = None
    if ax is None:
        import matplotlib.pyplot as plt

        size = panel_size[0] * shape[1], panel_size[1] * shape[0]
        # Pads are inches, and not shares of panels, which may be large.
        engine = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.0, hspace=0.0)
        figure = plt.figure(figsize=size, layout=engine)
        cells: Any = GridSpec(*shape, figure=figure, width_ratios=widths)
    else:
        figure = ax.figure
        ax.set_axis_off()
        area = None if is_laid_out(ax) else ax
        cells = _cells(ax, (1.0,) * shape[0], widths)
    panels = np.empty(n_panels, dtype=object)
    for place in range(n_panels):
        cell = cells[divmod(place, n_columns)]
        if ax is None or ax.get_subplotspec() is not None:
            panels[place] = figure.add_subplot(cell)
        else:
            panels[place] = figure.add_axes(cell.get_position(figure))
    return Grid(panels, area=area, shape=shape, widths=widths)


def _overlap(first: np.ndarray, second: np.ndarray) -> bool:
    """Return whether two intervals have more than an end in common."""
    return bool(max(first[0], second[0]) < min(first[1], second[1]))


def _outline(panel: Axes) -> Any:
    """Return the box of a panel with its ticks, labels, titles and legend.

    Labels of axes and legends that are longer than the panel's side count by their height alone:
    what stands beside them is on another level as a rule, and panels would be narrow otherwise.
    """
    from matplotlib.transforms import Bbox

    legend = panel.get_legend()
    if legend is not None:
        legend.set_in_layout(False)
    box = panel.get_tightbbox(for_layout_only=True)
    boxes = [panel.bbox if box is None else box]
    if panel.get_title():
        boxes.append(panel.title.get_window_extent())
    if legend is not None:
        legend.set_in_layout(True)
        below = legend.get_window_extent()
        boxes.append(Bbox.from_extents(panel.bbox.x0, below.y0, panel.bbox.x1, below.y1))
    return Bbox.union(boxes)


def _spaced(
    before: np.ndarray,
    after: np.ndarray,
    ratios: Sequence[float],
    size: float,
    free: Sequence[float],
) -> np.ndarray:
    """Return how wide the room before, the panel and the room after it are, for each in turn.

    Parameters
    ----------
    before, after : ndarray of shape (n,)
        What panels need, in inches.
    ratios : sequence of float of length n
        Of what is left.
    size : float
        How much there is.
    free : sequence of two floats
        What there is besides, before the first and after the last.
    """
    before, after = before + PAD / 2, after + PAD / 2
    before[0] = max(0.0, before[0] - free[0])
    after[-1] = max(0.0, after[-1] - free[1])
    most = (1.0 - LEAST) * size
    share = min(1.0, most / (before.sum() + after.sum()))
    left = size - share * (before.sum() + after.sum())
    inner = left * np.asarray(ratios) / np.sum(ratios)
    return np.column_stack([share * before, inner, share * after]).ravel()


def _cells(
    area: Axes, rows: Sequence[float], columns: Sequence[float], space: float | None = None
) -> Any:
    """Return a grid in the area of axes, with rows and columns of some sizes."""
    from matplotlib.gridspec import GridSpec, GridSpecFromSubplotSpec

    sizes: dict[str, Any] = {"height_ratios": rows, "width_ratios": columns}
    sizes |= {"wspace": space, "hspace": space}
    n_rows, n_columns, own = len(rows), len(columns), area.get_subplotspec()
    if own is not None:
        return GridSpecFromSubplotSpec(n_rows, n_columns, subplot_spec=own, **sizes)
    box = area.get_position(original=True)
    sides: dict[str, Any] = {"left": box.x0, "right": box.x1, "bottom": box.y0, "top": box.y1}
    return GridSpec(n_rows, n_columns, figure=area.figure, **sides, **sizes)
