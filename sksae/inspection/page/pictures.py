"""Pictures inside a page: PNG and SVG as text, which need no file beside it."""

from base64 import b64encode
from io import BytesIO, StringIO
from re import DOTALL, sub
from typing import Any

import numpy as np

# A colour that nothing else has: where figures have it, the page's own colour of text is put in.
INK = "#010203"
# Of a line, as many as a page is wide.
MOST_POINTS = 400
# SVG that says when it was made, or has random names in it, would differ each time.
STEADY = {"svg.hashsalt": "sksae", "svg.fonttype": "none"}


def png_source(pixels: np.ndarray) -> str:
    """Return a picture as the source of an <img>.

    Parameters
    ----------
    pixels : ndarray of uint8 of shape (height, width) or (height, width, 3)
        Grey, or red, green and blue.
    """
    from PIL import Image

    file = BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return "data:image/png;base64," + b64encode(file.getvalue()).decode("ascii")


def line_source(values: np.ndarray, limits: tuple[float, float] | None = None) -> dict[str, Any]:
    """Return a line as few characters: its points as bytes, and what 0 and 255 stand for.

    Parameters
    ----------
    values : ndarray of shape (n_points,)
        Heights; of more points than a page shows, some that are equally far apart. Over gaps (nan)
        the line is straight.
    limits : tuple of float, optional
        The lowest and the highest value of all lines on one scale; by default of this one.
    """
    known = np.flatnonzero(np.isfinite(values))
    places = np.linspace(0, len(values) - 1, min(len(values), MOST_POINTS))
    values = np.interp(places, known, values[known]) if len(known) else np.zeros(len(places))
    low, high = (float(values.min()), float(values.max())) if limits is None else limits
    points = b64encode(as_bytes(values, low, high).tobytes()).decode("ascii")
    return {"points": points, "low": significant(low), "high": significant(high)}


def significant(value: float) -> float | None:
    """Return a number with four significant digits, None if it is none."""
    return float(f"{value:.4g}") if np.isfinite(value) else None


def as_bytes(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return values as bytes, 0 at ``low``, below and in gaps (nan), 255 at ``high`` and above."""
    span = high - low if high > low else 1.0
    scaled = np.clip((np.asarray(values) - low) * (255.0 / span) + 0.5, 0.0, 255.0)
    return np.nan_to_num(scaled).astype(np.uint8)


def ink() -> Any:
    """Return matplotlib's settings for figures whose text and axes have the colour of the page."""
    of_text = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return dict.fromkeys(of_text, INK) | {
        **STEADY,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "legend.facecolor": "none",
        "legend.edgecolor": "none",
        "legend.framealpha": 0.0,
        "savefig.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 10.0,
    }


def svg_of(figure: Any) -> str:
    """Return a matplotlib figure as an <svg> element that takes the page's colour and width."""
    file = StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None}, bbox_inches="tight")
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = sub(r"<metadata>.*?</metadata>", "", svg, flags=DOTALL)
    # Its width is that of the page, and the view box keeps the proportions. Screen readers say the
    # label of what is around it.
    head, rest = svg.split(">", 1)
    return sub(r' (width|height)="[^"]*"', "", head) + ' aria-hidden="true">' + rest
