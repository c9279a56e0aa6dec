"""Pictures of displays are those that were looked at once, but for their text.

They are in pictures/, beside this file. After a change that is meant, make them anew and look at
them::

    SKSAE_REMAKE_PICTURES=1 python -m pytest tests/displays/test_display_pictures.py
"""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from sksae.inspection import (
    ActivityDisplay,
    AtomsDisplay,
    LossCurveDisplay,
    ReconstructionDisplay,
    SearchDisplay,
    TopSamplesDisplay,
)
from sksae.inspection.displays.loss import Curve
from sksae.inspection.samples import Samples

pytest.importorskip("matplotlib")

FOLDER = Path(__file__).parent / "pictures"
DPI = 40
# Root mean square of the difference of two pictures, in shades from 0 to 255: versions of
# matplotlib may draw the edges of lines otherwise, and round the edges of images to other pixels.
TOLERANCE = 4.0


def waves(n_rows, n_features):
    """Return smooth rows that nothing but arithmetic makes, all of them different."""
    places = np.arange(n_features) / n_features
    return np.array([np.sin(2 * np.pi * (row + 1) * places + row) for row in range(n_rows)])


def samples(n_units, n):
    activations = np.linspace(0.9, 0.5, n)
    return [Samples(np.arange(n) + unit, activations) for unit in range(n_units)]


def activity(shift):
    units = np.arange(40)
    return ActivityDisplay(
        0.1 * np.exp(-units / 20) + 0.02 * shift,
        np.where(units < 5 + 5 * shift, 0.0, np.where(units > 36, 0.95, 0.5 / (units + 1))),
        np.linspace(0.3, 0.9, 200) ** (1 + shift),
        rho=0.05,
    )


def losses(shift):
    epochs = np.arange(1, 31)
    parts = {"reconstruction": 4 / epochs + 2, "sparsity": 1.5 - 0.04 * epochs * (1 + shift)}
    parts["decay"] = np.full(30, 0.3)
    first = Curve("sae0", sum(parts.values()), 1 - 1 / epochs, parts)
    return LossCurveDisplay([first, Curve("sae1", 3 / epochs[:20] + 1 + shift)])


def search(shift):
    sparseness = np.linspace(0.1, 0.9, 9)
    scores = 0.9 - 0.5 * sparseness**2
    errors = np.full(9, 0.04)
    good = np.flatnonzero(scores >= scores[0] - 0.04)
    return SearchDisplay(
        scores,
        sparseness,
        errors,
        good=good,
        best=0,
        sparsest=good[-1] - shift,
        chosen=4 + shift,
        lowest=scores[0] - 0.04,
    )


def reconstruction(kind, shift):
    rows = waves(2, 16)
    codes = np.maximum(waves(2, 30), 0.0)
    rebuilt = (0.8 - 0.6 * shift) * rows
    shape = (4, 4) if kind == "image" else None
    errors = ((rebuilt - rows) ** 2).sum(axis=1)
    return ReconstructionDisplay(rows, codes, rebuilt, errors, kind=kind, image_shape=shape)


# Each of a number: 0 is what is kept, and 1 must be told from it.
PICTURES = {
    "atoms_image": lambda n: AtomsDisplay(waves(6 + n, 16)[n:], image_shape=(4, 4)),
    "atoms_colour": lambda n: AtomsDisplay(waves(4 + n, 48)[n:], image_shape=(4, 4, 3)),
    "atoms_line": lambda n: AtomsDisplay(waves(4 + n, 40)[n:], kind="line"),
    "atoms_bar": lambda n: AtomsDisplay(waves(2 + n, 10)[n:], kind="bar"),
    "activity": activity,
    "losses": losses,
    "search": search,
    "samples_image": lambda n: TopSamplesDisplay(
        samples(2, 3), [waves(3 + n, 16)[n:]] * 2, kind="image", image_shape=(4, 4)
    ),
    "samples_line": lambda n: TopSamplesDisplay(samples(2, 3), [waves(3 + n, 16)[n:]] * 2),
    "reconstruction_image": lambda n: reconstruction("image", n),
    "reconstruction_line": lambda n: reconstruction("line", n),
    "reconstruction_bar": lambda n: reconstruction("bar", n),
}


def picture_of(display):
    """Return what is drawn, in shades of three colours, but for text and ticks: fonts differ."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text
    from matplotlib.ticker import NullLocator

    with style.context("default"):
        figure = display.plot().figure_
        # A layout goes by the size of text.
        figure.set_layout_engine("none")
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(NullLocator())
                axis.set_minor_locator(NullLocator())
        for text in figure.findobj(Text):
            text.set_text("")
        figure.set_dpi(DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[:, :, :3]


def from_neighbours(one, other):
    """Return how far each pixel of one is from the most similar of the nine around it in other."""
    wide = np.pad(other, ((1, 1), (1, 1), (0, 0)), mode="edge")
    places = sliding_window_view(wide, (3, 3), axis=(0, 1))
    return np.abs(places - one[..., None, None]).max(axis=2).min(axis=(2, 3))


def difference(one, other):
    if one.shape != other.shape:
        return np.inf
    one, other = one.astype(float), other.astype(float)
    both_ways = from_neighbours(one, other), from_neighbours(other, one)
    return max(np.sqrt(np.mean(distances**2)) for distances in both_ways)


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_as_they_were(name):
    from matplotlib.image import imread, imsave

    path = FOLDER / f"{name}.png"
    drawn = picture_of(PICTURES[name](0))
    if os.environ.get("SKSAE_REMAKE_PICTURES"):
        FOLDER.mkdir(exist_ok=True)
        imsave(path, drawn)
    kept = np.rint(255 * imread(path)[:, :, :3])
    assert difference(drawn, kept) < TOLERANCE
    # What is not the same is not taken for the same.
    assert difference(picture_of(PICTURES[name](1)), kept) > 1.5 * TOLERANCE


def test_every_picture_that_is_kept_is_compared():
    assert {path.stem for path in FOLDER.glob("*.png")} == set(PICTURES)
