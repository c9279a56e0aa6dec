"""What all displays do alike: estimators, containers, axes that are given, bad input."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
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

plt = pytest.importorskip("matplotlib.pyplot")
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("error:.*[lL]ayout.*:UserWarning"),
]


def small(n_components, **parameters):
    """Return an autoencoder that trains in no time."""
    return SparseAutoencoderTransformer(n_components, max_iter=2, random_state=0, **parameters)


OF_ROWS = {
    "atoms": lambda model, X, **kw: AtomsDisplay.from_estimator(model, units=range(4), **kw),
    "activity": lambda model, X, **kw: ActivityDisplay.from_estimator(model, X, **kw),
    "loss": lambda model, X, **kw: LossCurveDisplay.from_estimator(model, **kw),
    "samples": lambda model, X, **kw: TopSamplesDisplay.from_estimator(
        model, X, units=[0, 1], n=3, **kw
    ),
    "reconstruction": lambda model, X, **kw: ReconstructionDisplay.from_estimator(
        model, X, rows=[0, 1], **kw
    ),
}
each_display = pytest.mark.parametrize("draw", OF_ROWS.values(), ids=OF_ROWS)


def panels(display):
    return np.ravel(getattr(display, "axes_", getattr(display, "ax_", None)))


@each_display
@pytest.mark.parametrize("container", [pd.DataFrame, sp.csr_array])
def test_containers_make_no_difference(draw, container, sae, X):
    one, other = (panels(draw(sae, rows)) for rows in (X, container(X)))
    for ax, as_it_was in zip(other, one, strict=True):
        for line, expected in zip(ax.lines, as_it_was.lines, strict=True):
            assert_allclose(line.get_ydata(), expected.get_ydata(), atol=1e-6)


@pytest.fixture(scope="module")
def estimators(X, y):
    stack = StackedSparseAutoencoder([small(8), small(6)], max_iter=2)
    frames = make_pipeline(StandardScaler(), small(6)).set_output(transform="pandas")
    made = [
        frames,
        GridSearchCV(stack, {"sae1__rho": [0.2]}, cv=2),
        make_pipeline(small(6), LogisticRegression(max_iter=1000)),
        SparseAutoencoderClassifier([small(6)], max_iter=2),
    ]
    return [model.fit(X[:100], y[:100]) for model in made]


@each_display
def test_estimators_with_an_autoencoder_in_them(draw, estimators, X):
    *rebuilding, classifier = estimators
    for model in rebuilding:
        draw(model, X)
    if draw is not OF_ROWS["reconstruction"]:
        draw(classifier, X).figure_.canvas.draw()


@each_display
def test_they_draw_into_axes_that_are_given(draw, sae, X):
    figure, (left, right) = plt.subplots(1, 2, figsize=(14, 7), layout="constrained")
    area = figure.add_axes((0.1, 0.1, 0.3, 0.3))
    displays = [draw(sae, X, ax=ax) for ax in (right, area)]
    figure.canvas.draw()
    for ax, display in zip((right, area), displays, strict=True):
        assert display.figure_ is figure
        place = ax.get_position()
        for panel in panels(display):
            inner = panel.get_position()
            assert place.x0 - 0.01 <= inner.x0 < inner.x1 <= place.x1 + 0.01
            assert place.y0 - 0.01 <= inner.y0 < inner.y1 <= place.y1 + 0.01
    assert not left.has_data()
    assert plt.get_fignums() == [figure.number]


@each_display
def test_they_draw_into_an_array_of_axes(draw, sae, X):
    n_panels = len(panels(draw(sae, X)))
    plt.close("all")
    figure, axes = plt.subplots(1, n_panels)
    display = draw(sae, X, ax=axes)
    assert list(panels(display)) == list(np.ravel(axes))
    with pytest.raises(ValueError, match="axes"):
        draw(sae, X, ax=[*np.ravel(axes), axes])
    assert plt.get_fignums() == [figure.number]


def outlines(display):
    """Return the boxes of panels with their ticks, and of what is written around them."""
    display.figure_.canvas.draw()
    for ax in panels(display):
        boxes = [ax.bbox, ax.xaxis.get_tightbbox(), ax.yaxis.get_tightbbox()]
        told = [ax.title, ax.get_legend()]
        boxes += [each.get_window_extent() for each in told if each is not None]
        yield from ((ax, box) for box in boxes if box is not None and box.width > 0.0)


PLAIN = {
    "atoms": lambda sae, X, **kw: AtomsDisplay.from_estimator(
        sae, units=range(20), image_shape=(8, 8), n_columns=3, **kw
    ),
    "lines": lambda sae, X, **kw: AtomsDisplay.from_estimator(sae, units=range(8), **kw),
    "bars": lambda sae, X, **kw: AtomsDisplay.from_estimator(
        sae, units=range(4), kind="bar", n_top=4, **kw
    ),
    "activity": OF_ROWS["activity"],
    "samples": OF_ROWS["samples"],
    "reconstruction": lambda sae, X, **kw: ReconstructionDisplay.from_estimator(
        sae, X, rows=[0, 1, 2], **kw
    ),
    "images": lambda sae, X, **kw: ReconstructionDisplay.from_estimator(
        sae, X, rows=[0, 1], image_shape=(8, 8), **kw
    ),
}


@pytest.mark.parametrize("draw", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("has_place", [True, False])
def test_panels_keep_apart_where_no_layout_does_it(draw, has_place, sae, X):
    figure = plt.figure(figsize=(10, 5))
    ax = figure.subplots() if has_place else figure.add_axes((0.1, 0.1, 0.8, 0.8))
    boxes = list(outlines(draw(sae, X, ax=ax)))
    whole = figure.bbox.padded(1.0)
    assert all(whole.x0 <= box.x0 and box.x1 <= whole.x1 for _, box in boxes)
    assert all(whole.y0 <= box.y0 and box.y1 <= whole.y1 for _, box in boxes)
    for ax, box in boxes:
        inner = box.padded(-1.0)
        assert not any(inner.overlaps(other) for by, other in boxes if by is not ax)


def test_panels_are_placed_in_a_part_of_a_figure(sae, X):
    part = plt.figure(figsize=(12, 5)).subfigures(1, 2)[1]
    display = OF_ROWS["atoms"](sae, X, ax=part.subplots())
    for ax in panels(display):
        assert ax.get_window_extent().x0 >= part.bbox.x0


@pytest.mark.parametrize("name", ["loss", "search", "activity"])
def test_legends_are_inside_where_there_is_no_room_below(name):
    rising = np.linspace(0.1, 0.9, 30)
    displays = {
        "loss": LossCurveDisplay([Curve("", 2 - rising, rising, {"decay": 1 - rising})]),
        "search": SearchDisplay(
            [1, 2, 3], [1, 2, 3], [0.1, 0.1, 0.1], good=[1, 2], best=2, sparsest=1, chosen=0
        ),
        "activity": ActivityDisplay(rising, rising, rising, rho=0.1),
    }
    n_panels = 3 if name == "activity" else 1
    for bottom, is_inside in ((0.11, True), (0.5, False)):
        figure, axes = plt.subplots(1, n_panels, figsize=(5 * n_panels, 5), squeeze=False)
        figure.subplots_adjust(bottom=bottom, wspace=0.5)
        displays[name].plot(axes if n_panels > 1 else axes[0, 0])
        figure.canvas.draw()
        legends = [ax.get_legend() for ax in axes.flat if ax.get_legend() is not None]
        assert legends
        for legend in legends:
            box, ax = legend.get_window_extent(), legend.axes
            assert (box.y0 >= ax.bbox.y0) == is_inside
            assert figure.bbox.y0 <= box.y0
            if is_inside and name != "activity":
                for each in figure.axes:
                    hidden = [
                        box.count_contains(line.get_transform().transform(line.get_xydata()))
                        for line in each.lines
                    ]
                    assert not any(hidden)


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_what_is_drawn_stands_out_from_the_background(style, sae, X):
    from matplotlib.colors import to_rgb

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return np.dot([0.2126, 0.7152, 0.0722], linear)

    with plt.style.context(style):
        display = ReconstructionDisplay.from_estimator(sae, X, rows=0, kind="bar")
        losses = LossCurveDisplay([Curve("", [3, 2], [0.1, 0.2], {"decay": [1, 1]})]).plot()
        lines = [*losses.ax_.lines, *losses.validation_ax_.lines]
        drawn = [bar.get_facecolor()[:3] for bar in display.axes_[0, 0].patches]
        drawn += [to_rgb(line.get_color()) for line in lines]
        ground = luminance(to_rgb(losses.figure_.get_facecolor()))
    for colour in drawn:
        low, high = sorted((luminance(colour), ground))
        # What WCAG 2.1 asks of graphics, criterion 1.4.11.
        assert (high + 0.05) / (low + 0.05) >= 3.0


@each_display
def test_nothing_is_shown_and_one_figure_is_made(draw, sae, X, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: pytest.fail("plt.show was called"))
    draw(sae, X)
    assert len(plt.get_fignums()) == 1


@each_display
def test_without_matplotlib_an_error_names_the_extra(draw, sae, X, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'Display needs matplotlib: pip install "sksae\[plot\]"'):
        draw(sae, X)


@each_display
def test_what_is_not_fitted_or_no_autoencoder_is_refused(draw, X):
    with pytest.raises(NotFittedError):
        draw(SparseAutoencoderTransformer(), X)
    with pytest.raises(ValueError, match="Display needs a SparseAutoencoderTransformer"):
        draw(StandardScaler().fit(X), X)
    assert not plt.get_fignums()


def test_bad_input_is_named(sae, X):
    atoms, samples = AtomsDisplay.from_estimator, TopSamplesDisplay.from_estimator
    rebuilt = ReconstructionDisplay.from_estimator
    for draw in (atoms, lambda *args, **kw: samples(sae, X, **kw)):
        with pytest.raises(ValueError, match=r"image_shape \(8, 7\) is an image of 56 features"):
            draw(sae, image_shape=(8, 7))
        with pytest.raises(ValueError, match="image_shape must be"):
            draw(sae, image_shape=(4, 4, 4))
        with pytest.raises(ValueError, match="image_shape must be"):
            draw(sae, image_shape=8)
        with pytest.raises(ValueError, match="one name for each of the 64 features that reach"):
            draw(sae, feature_names=["a", "b"])
        with pytest.raises(TypeError, match="feature_names must be a sequence"):
            draw(sae, feature_names="a" * 64)
        with pytest.raises(ValueError, match="units must be numbers from 0 to 19"):
            draw(sae, units=[3, 20])
        with pytest.raises(ValueError, match="'n_top' parameter"):
            draw(sae, n_top=0)
    with pytest.raises(ValueError, match="kind='image' needs image_shape"):
        atoms(sae, kind="image")
    with pytest.raises(ValueError, match="kind='words' needs names"):
        atoms(sae, kind="words")
    with pytest.raises(ValueError, match="kind must be 'auto' or one of"):
        atoms(sae, kind="pie")
    with pytest.raises(ValueError, match="'n_columns' parameter"):
        atoms(sae, n_columns=0)
    with pytest.raises(ValueError, match="a text for each of the 300 rows"):
        samples(sae, X, text=["a"])
    with pytest.raises(ValueError, match="got one string"):
        samples(sae, X, text="a")
    with pytest.raises(ValueError, match="'n' parameter of TopSamplesDisplay"):
        samples(sae, X, n=0)
    with pytest.raises(ValueError, match="'which' parameter of TopSamplesDisplay"):
        samples(sae, X, which="bottom")
    with pytest.raises(ValueError, match="rows must be numbers from 0 to 299"):
        rebuilt(sae, X, rows=300)
    with pytest.raises(TypeError, match="rows must be whole numbers"):
        rebuilt(sae, X, rows=0.5)
    with pytest.raises(ValueError, match="features"):
        rebuilt(sae, X[:, :5])
    with pytest.raises(ValueError, match="units must name each of 2 atoms"):
        AtomsDisplay(X[:2], units=[1]).plot()
    with pytest.raises(ValueError, match="one name for each of the 64 features that reach"):
        AtomsDisplay(X[:2], feature_names=["a", "b"]).plot()
    assert not plt.get_fignums()


def rebuilt_of(rows=(2, 4), codes=(2, 3), reconstructions=(2, 4), squared_errors=(2,), **more):
    shapes = rows, codes, reconstructions, squared_errors
    return ReconstructionDisplay(*(np.ones(shape) for shape in shapes), **more)


def search_of(scores=3, sparseness=3, score_errors=3, **more):
    numbers = (np.arange(n) for n in (scores, sparseness, score_errors))
    return SearchDisplay(*numbers, **({"good": [0], "best": 0, "sparsest": 0} | more))


ONE = Samples(np.arange(2), np.ones(2))
DO_NOT_FIT = [
    (lambda: AtomsDisplay(np.empty((0, 4))), r"atoms must be .* length of 0, got \(0, 4\)"),
    (lambda: AtomsDisplay([]), r"atoms must be of shape \(n_shown, n_features\)"),
    (lambda: AtomsDisplay(np.ones((2, 2, 2))), r"atoms must be .*, got \(2, 2, 2\)"),
    (lambda: LossCurveDisplay([]), "curves must have one entry at least, got none"),
    (lambda: TopSamplesDisplay([], []), "samples must have one entry at least"),
    (lambda: TopSamplesDisplay([ONE], []), "shown must have an entry for each of the 1 units"),
    (lambda: TopSamplesDisplay([ONE], [[[1.0]]]), "shown must have .* 2 rows of unit 0, got 1"),
    (lambda: TopSamplesDisplay([ONE], [["a"]], kind="text"), "shown must .* 2 rows of unit 0"),
    (lambda: TopSamplesDisplay([ONE], [np.ones((2, 3))], units=[1, 2]), "units must have an entry"),
    (lambda: ActivityDisplay([], [], []), r"mean_activation must be of shape \(n_units,\)"),
    (lambda: ActivityDisplay([1, 2], [1], [1]), r"density must be of shape \(2,\), got \(1,\)"),
    (lambda: ActivityDisplay([1], [1], []), r"row_sparsity must be of shape \(n_samples,\)"),
    (lambda: ActivityDisplay([[1]], [[1]], [1]), r"mean_activation must .* got \(1, 1\)"),
    (lambda: rebuilt_of((0, 4), (0, 3), (0, 4), (0,)), "rows must be .* with no length of 0"),
    (lambda: rebuilt_of(rows=(4,)), r"rows must be of shape \(n_shown, n_features\), got \(4,\)"),
    (lambda: rebuilt_of(codes=(3, 3)), r"codes must be of shape \(2, n_units\), got \(3, 3\)"),
    (lambda: rebuilt_of(reconstructions=(2, 3)), r"reconstructions must be of shape \(2, 4\)"),
    (lambda: rebuilt_of(squared_errors=(1,)), r"squared_errors must be of shape \(2,\)"),
    (lambda: rebuilt_of(row_numbers=[1]), "row_numbers must have an entry for each of the 2 rows"),
    (lambda: rebuilt_of(mean=[0.0]), r"mean must be of shape \(4,\), got \(1,\)"),
    (lambda: search_of(0, 0, 0), r"scores must be of shape \(n_candidates,\)"),
    (lambda: search_of(sparseness=2), r"sparseness must be of shape \(3,\), got \(2,\)"),
    (lambda: search_of(score_errors=4), r"score_errors must be of shape \(3,\)"),
    (lambda: search_of(labels=["a"]), "labels must have an entry for each of the 3 candidates"),
    (lambda: search_of(best=3), "best must be from 0 to 2, as there are 3 candidates, got 3"),
    (lambda: search_of(good=[0, -1]), "good must be from 0 to 2"),
]


@pytest.mark.parametrize(("make", "match"), DO_NOT_FIT)
def test_what_does_not_fit_together_is_named(make, match):
    with pytest.raises(ValueError, match=f"Display: {match}"):
        make().plot()
    assert not plt.get_fignums()


def test_what_fits_together_is_drawn():
    for display in (rebuilt_of(), search_of(), TopSamplesDisplay([ONE], [np.ones((2, 3))])):
        display.plot()


IMPORTS = """
import sys
import sksae.inspection
heavy = {"torch", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


def test_importing_it_imports_neither_torch_nor_matplotlib():
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
