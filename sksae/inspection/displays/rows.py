"""How a row of features is drawn: as an image, a line, bars or words."""

from collections.abc import Sequence
from math import prod
from numbers import Integral
from typing import NamedTuple

import numpy as np

from sksae.inspection.displays.drawing import (
    BLUE,
    SMALL,
    VERMILLION,
    Axes,
    bare,
    title,
    whole_numbers,
    write_lines,
)
from sksae.inspection.names import are_counted
from sksae.inspection.texts import shortened

KINDS = ("image", "line", "bar", "words")
# Features that can be told one by one without names, and names that are a vocabulary.
FEW_FEATURES = 20
VOCABULARY = 50
NAME_LENGTH = 24


class Look(NamedTuple):
    """How rows are drawn.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    image_shape : tuple of int or None
        Height, width and, of images in colour, 3.
    names : ndarray of str of shape (n_features,)
        Of the features.
    """

    kind: str
    image_shape: tuple[int, ...] | None
    names: np.ndarray


def look_of(
    kind: str,
    *,
    n_features: int,
    image_shape: Sequence[int] | None,
    names: np.ndarray | None,
    kinds: Sequence[str] = KINDS,
) -> Look:
    """Return how rows are to be drawn.

    Parameters
    ----------
    kind : str
        "auto" or one of ``kinds``.
    n_features : int
        Number of features.
    image_shape : sequence of int or None
        What the user gave.
    names : ndarray of str of shape (n_features,) or None
        Of the features; None where they have none.
    kinds : sequence of str
        What ``kind`` may be.

    Raises
    ------
    ValueError
        If there is no such kind, or it lacks a shape or names; if the shape does not fit.
    """
    if kind not in ("auto", *kinds):
        raise ValueError(f"kind must be 'auto' or one of {list(kinds)}, got {kind!r}.")
    shape = None if image_shape is None else checked_shape(image_shape, n_features)
    if kind == "image" and shape is None:
        raise ValueError(
            "kind='image' needs image_shape, (height, width) or (height, width, 3), whose product "
            f"is the number of features, {n_features}."
        )
    if kind == "words" and names is None:
        raise ValueError(
            "kind='words' needs names of the features, which this estimator does not know: give "
            f"feature_names, a sequence of {n_features} words."
        )
    if kind == "auto":
        is_named = names is not None and not are_counted(names)
        kind = kind_of(n_features, has_shape=shape is not None, is_named=is_named, kinds=kinds)
    numbers = np.array([f"x{feature}" for feature in range(n_features)], dtype=object)
    return Look(kind, shape, numbers if names is None else names)


def kind_of(n_features: int, *, has_shape: bool, is_named: bool, kinds: Sequence[str]) -> str:
    """Return what "auto" stands for."""
    if has_shape:
        return "image"
    if is_named:
        return "words" if n_features > VOCABULARY and "words" in kinds else "bar"
    return "bar" if n_features <= FEW_FEATURES else "line"


def checked_shape(image_shape: Sequence[int], n_features: int) -> tuple[int, ...]:
    """Return the shape of an image as a tuple, or raise if features do not fill it.

    Raises
    ------
    ValueError
        If it is no shape of an image, or of one of another number of features.
    """
    shape = tuple(image_shape) if isinstance(image_shape, Sequence | np.ndarray) else ()
    is_shape = len(shape) in (2, 3) and all(isinstance(n, Integral) and n > 0 for n in shape)
    if not is_shape or (len(shape) == 3 and shape[2] not in (1, 3)):
        raise ValueError(
            "image_shape must be (height, width), or (height, width, 3) for images in colour, "
            f"got {image_shape!r}."
        )
    if prod(shape) != n_features:
        raise ValueError(
            f"image_shape {shape} is an image of {prod(shape)} features, but {n_features} reach "
            f"the autoencoder: give a shape whose product is {n_features}."
        )
    # A single channel is no colour.
    return tuple(int(n) for n in (shape[:2] if shape[2:] == (1,) else shape))


def scaled_atom(atom: np.ndarray) -> np.ndarray:
    """Return an atom less its mean, divided by its largest magnitude; zeros if it is constant.

    As the UFLDL tutorial's ``display_network`` shows weights.
    """
    centred = atom - atom.mean()
    largest = np.abs(centred).max()
    # A constant less its mean is nothing but rounding.
    if largest <= 1e-12 * np.abs(atom).max(initial=0.0):
        return np.zeros_like(centred)
    return centred / largest


def strongest(values: np.ndarray, n_top: int, *, signed: bool) -> np.ndarray:
    """Return which values are largest, the largest first, equal ones in their order.

    Parameters
    ----------
    values : ndarray of shape (n_features,)
        Values.
    n_top : int
        How many at most.
    signed : bool
        Whether by value and not by magnitude.
    """
    by = values if signed else np.abs(values)
    return np.argsort(-by, kind="stable")[:n_top]


def draw_image(
    ax: Axes, values: np.ndarray, shape: tuple[int, ...], low: float, high: float
) -> None:
    """Draw an image whose values from low to high are black to white, without a frame.

    Parameters
    ----------
    ax : Axes
        Where.
    values : ndarray of shape (n_features,)
        Of pixels; of images in colour each pixel's three together.
    shape : tuple of int
        Of the image.
    low, high : float
        What is black, or no colour, and what is white, or full colour.
    """
    high = high if high > low else low + 1.0
    pixels = np.clip((values - low) / (high - low), 0.0, 1.0).reshape(shape)
    if len(shape) == 3 and shape[2] == 1:
        pixels = pixels[:, :, 0]
    ax.imshow(pixels, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    bare(ax)


def draw_line(ax: Axes, values: np.ndarray) -> None:
    """Draw a signal, with a thin line at 0."""
    ax.axhline(0.0, color="0.5", linewidth=0.5)
    ax.plot(np.arange(len(values)), values, color=BLUE, linewidth=1.0)
    ax.margins(x=0.0)
    whole_numbers(ax.xaxis, 4)
    ax.tick_params(labelsize=SMALL - 1)


def draw_bars(ax: Axes, values: np.ndarray, names: Sequence[str]) -> None:
    """Draw a bar for each value, the first one on top; what is below 0 has another colour."""
    places = np.arange(len(values))
    ax.barh(places, values, color=np.where(values < 0.0, VERMILLION, BLUE), height=0.7)
    ax.axvline(0.0, color="0.5", linewidth=0.5)
    ax.set_ylim(len(values) - 0.5, -0.5)
    ax.set_yticks(places, [shortened(name, NAME_LENGTH) for name in names], parse_math=False)
    ax.tick_params(labelsize=SMALL - 1)
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=3)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)


def draw_atom(ax: Axes, atom: np.ndarray, look: Look, name: str, n_top: int) -> None:
    """Draw an atom by its own scale.

    Parameters
    ----------
    ax : Axes
        Where.
    atom : ndarray of shape (n_features,)
        What a unit adds to a row.
    look : Look
        How.
    name : str
        The title.
    n_top : int
        How many features "bar" and "words" show.
    """
    if look.kind == "image":
        assert look.image_shape is not None
        draw_image(ax, scaled_atom(atom), look.image_shape, -1.0, 1.0)
    elif look.kind == "line":
        draw_line(ax, atom)
    else:
        chosen = strongest(atom, n_top, signed=look.kind == "words")
        names = [str(name) for name in look.names[chosen]]
        if look.kind == "bar":
            draw_bars(ax, atom[chosen], names)
        else:
            write_lines(ax, [shortened(name, NAME_LENGTH) for name in names], n_top)
    title(ax, name, "left" if look.kind == "words" else "center")
