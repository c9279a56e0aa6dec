"""What each display says: numbers of panels, data, names and counts."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, ShuffleSplit
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
    top_samples,
)
from sksae.inspection.atoms import most_used
from sksae.inspection.displays.rows import scaled_atom
from sksae.inspection.names import are_counted
from sksae.inspection.subject import Subject
from sksae.metrics import hoyer_sparsity, is_active, refit_sparsest, sparsity_scorers
from sksae.model_selection import BatchedGridSearchCV

plt = pytest.importorskip("matplotlib.pyplot")
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("error:.*[lL]ayout.*:UserWarning"),
]


def small(n_components, **parameters):
    """Return an autoencoder that trains in no time."""
    return SparseAutoencoderTransformer(n_components, max_iter=2, random_state=0, **parameters)


@pytest.fixture(scope="module")
def topk(X):
    return SparseAutoencoderTransformer(
        80, sparsity="topk", rho=4, max_iter=10, random_state=0, sparse_output=True
    ).fit(X)


@pytest.fixture(scope="module")
def wine():
    return load_wine(as_frame=True).data


@pytest.fixture(scope="module")
def table(wine):
    return make_pipeline(
        StandardScaler().set_output(transform="pandas"),
        SparseAutoencoderTransformer(6, max_iter=5, random_state=0),
    ).fit(wine)


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    words = [f"{first}{second}" for first in "abcdefgh" for second in "nrstvwxy"]
    return [" ".join(rng.choice(words[8 * k : 8 * k + 8], 5)) for k in rng.integers(0, 8, 120)]


@pytest.fixture(scope="module")
def of_texts(texts):
    sae = SparseAutoencoderTransformer(8, sparsity="topk", rho=1, max_iter=20, random_state=0)
    return make_pipeline(TfidfVectorizer(), sae).fit(texts)


def texts_in(ax):
    return [text.get_text() for text in ax.texts]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# Atoms.


def test_atoms_are_images_by_their_own_scale(sae):
    display = AtomsDisplay.from_estimator(sae, image_shape=(8, 8))
    assert len(display.axes_) == 20
    for unit, ax in enumerate(display.axes_):
        assert ax.get_title() == f"unit {unit}"
        atom = sae.components_[unit].astype(float) - sae.components_[unit].mean(dtype=float)
        grey = 0.5 + 0.5 * atom / np.abs(atom).max()
        assert_allclose(ax.images[0].get_array(), grey.reshape(8, 8), atol=1e-6)


def test_atoms_in_colour_have_three_channels():
    atoms = np.random.default_rng(0).normal(size=(2, 4 * 5 * 3))
    display = AtomsDisplay(atoms, image_shape=(4, 5, 3)).plot()
    pixels = display.axes_[1].images[0].get_array()
    assert_allclose(pixels, 0.5 + 0.5 * scaled_atom(atoms[1]).reshape(4, 5, 3))


def test_a_constant_atom_is_medium_grey():
    assert_array_equal(scaled_atom(np.full(9, 0.1)), 0.0)
    assert_array_equal(scaled_atom(np.zeros(9)), 0.0)


def test_signals_are_as_they_are(sae):
    display = AtomsDisplay.from_estimator(sae, units=[7, 2])
    assert display.kind == "line"
    for unit, ax in zip([7, 2], display.axes_, strict=True):
        assert ax.get_title() == f"unit {unit}"
        assert_allclose(ax.lines[-1].get_ydata(), sae.components_[unit])
    assert display.axes_[0].get_ylabel() == "weight"
    assert display.axes_[0].get_xlabel() == "feature"


def test_bars_are_the_largest_weights_with_names(table, wine):
    display = AtomsDisplay.from_estimator(table, n_top=4)
    assert display.kind == "bar"
    atoms = table[-1].components_
    for unit, ax in enumerate(display.axes_):
        strongest = np.argsort(-np.abs(atoms[unit]), kind="stable")[:4]
        assert_allclose([bar.get_width() for bar in ax.patches], atoms[unit, strongest])
        names = [label.get_text().rstrip("…") for label in ax.get_yticklabels()]
        assert all(
            full.startswith(name) for full, name in zip(wine.columns[strongest], names, strict=True)
        )
    assert display.axes_[-1].get_xlabel() == "weight"


def test_words_of_a_vocabulary_are_the_largest_first(of_texts):
    display = AtomsDisplay.from_estimator(of_texts, n_top=6)
    assert display.kind == "words"
    words = of_texts[0].get_feature_names_out()
    for unit, ax in enumerate(display.axes_):
        order = np.argsort(-of_texts[1].components_[unit], kind="stable")[:6]
        assert texts_in(ax) == list(words[order])


def test_what_auto_stands_for(sae, table, X):
    few = small(3).fit(X[:, 20:30])
    assert AtomsDisplay.from_estimator(few).kind == "bar"
    # Names that are only counted say nothing.
    scaled = make_pipeline(StandardScaler(), small(3)).fit(X)
    assert AtomsDisplay.from_estimator(scaled).kind == "line"
    assert AtomsDisplay.from_estimator(scaled, kind="words").axes_[0].texts
    names = [f"pixel {place} {place}" for place in range(64)]
    assert AtomsDisplay.from_estimator(sae, feature_names=names).kind == "words"
    assert are_counted(np.array(["x0", "x1"]))
    assert not are_counted(np.array(["x0", "y1"]))
    assert not are_counted(np.array(["x1", "x2"]))


def test_of_many_units_the_most_used_are_shown(topk, sae):
    display = AtomsDisplay.from_estimator(topk, image_shape=(8, 8))
    expected = np.argsort(-topk.active_share_, kind="stable")[:64]
    assert_array_equal(display.units, expected)
    use = np.argsort(-sae.mean_activation_, kind="stable")[:5]
    assert_array_equal(most_used(Subject(sae, needed_by="test"), 5), use)


@pytest.mark.parametrize(
    "model",
    [
        small(6, hidden_layer_sizes=(10,)),
        StackedSparseAutoencoder([small(10), small(6)], max_iter=2),
        SparseAutoencoderClassifier([small(6)], max_iter=2),
        make_pipeline(PCA(10), SparseAutoencoderClassifier([small(6)], max_iter=2)),
    ],
)
def test_what_has_no_atoms_shows_what_excites_its_units(model, X, y):
    display = AtomsDisplay.from_estimator(model.fit(X, y), kind="line")
    assert not display.are_atoms
    assert display.axes_[0].get_ylabel() == "difference from mean"
    assert np.isfinite(display.atoms).all()
    assert (np.abs(display.atoms).max(axis=1) > 0.0).all()


# Activity.


@pytest.mark.parametrize("name", ["sae", "topk"])
def test_activity_is_that_of_plain_numpy(name, X, request):
    model = request.getfixturevalue(name)
    display = ActivityDisplay.from_estimator(model, X)
    codes = sp.csr_array(model.transform(X)).toarray()
    density = is_active(codes, model).mean(axis=0)
    means, shares, rows = display.axes_
    assert_allclose(means.lines[0].get_ydata(), np.sort(codes.mean(axis=0))[::-1], rtol=1e-5)
    unused, on = (density == 0.0).sum(), (density > 0.9).sum()
    used = np.sort(density[(density > 0.0) & (density <= 0.9)])[::-1]
    assert_allclose(shares.lines[0].get_ydata(), used)
    assert legend(shares)[:3] == [
        f"others: {len(used)}",
        f"in more than 90% of rows: {on}",
        f"in no row: {unused}",
    ]
    assert shares.get_yscale() == "log"
    counts = np.histogram(hoyer_sparsity(codes), bins=30, range=(0.0, 1.0))[0]
    assert_array_equal([bar.get_height() for bar in rows.patches], counts)
    # rho is a mean activation for "kl", and a share of active units for "topk".
    with_rho, without = (means, shares) if name == "sae" else (shares, means)
    line = with_rho.lines[-1]
    assert_allclose(line.get_ydata(), 0.05)
    assert legend(with_rho)[-1] == "rho = 0.05"
    assert not any("rho" in str(line.get_label()) for line in without.lines)


def test_units_of_no_use_are_counted():
    density = [0.0, 0.0, 1.0, 0.95, 0.9, 0.2]
    display = ActivityDisplay(density, density, np.linspace(0, 1, 50)).plot()
    assert_array_equal(display.unused_, [0, 1])
    assert_array_equal(display.always_on_, [2, 3])
    assert legend(display.axes_[1]) == [
        "others: 2",
        "in more than 90% of rows: 2",
        "in no row: 2",
    ]


@pytest.mark.parametrize("n_units", [1, 20])
def test_the_means_of_few_units_are_dots(n_units):
    means = np.linspace(0.1, 0.2, n_units)
    line = ActivityDisplay(means, means, [0.5]).plot().axes_[0].lines[0]
    assert (line.get_marker(), len(line.get_xdata())) == (".", n_units)


def test_rho_without_effect_is_not_drawn(X, y):
    for model in (
        small(5, sparsity="l1"),
        small(5, sparsity=None),
        SparseAutoencoderClassifier([small(5)], max_iter=2),
    ):
        assert ActivityDisplay.from_estimator(model.fit(X, y), X).rho is None
    stack = StackedSparseAutoencoder([small(10), small(5, rho=0.3)], max_iter=2).fit(X)
    assert ActivityDisplay.from_estimator(stack, X).rho == 0.3


# Losses.


def test_losses_and_scores_are_those_of_the_fit(X):
    model = SparseAutoencoderTransformer(5, max_iter=8, early_stopping=True).fit(X)
    display = LossCurveDisplay.from_estimator(make_pipeline(StandardScaler(), model).fit(X))
    assert_array_equal(display.ax_.lines[0].get_ydata(), model.loss_curve_)
    assert_array_equal(display.ax_.lines[0].get_xdata(), np.arange(1, 9))
    right = display.validation_ax_
    assert_array_equal(right.lines[0].get_ydata(), model.validation_score_curve_)
    assert right.get_ylabel() == "R² of held-out rows"
    assert display.ax_.get_yscale() == "log"
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("epoch", "loss")
    assert legend(display.ax_)[0] == "loss"
    assert legend(display.ax_)[-1] == "R² of held-out rows"


def test_parts_of_the_loss_are_lines_of_their_own(X):
    model = SparseAutoencoderTransformer(5, max_iter=4, solver="lbfgs").fit(X)
    display = LossCurveDisplay.from_estimator(model)
    assert legend(display.ax_) == ["loss", "reconstruction", "sparsity", "decay"]
    for line, values in zip(display.ax_.lines[1:], model.loss_parts_.values(), strict=True):
        assert_array_equal(line.get_ydata(), values)
    assert len({(line.get_color(), line.get_linestyle()) for line in display.ax_.lines}) == 4
    assert display.ax_.get_xlabel() == "iteration"
    assert display.validation_ax_ is None
    # What is no part of an objective has no line.
    model = SparseAutoencoderTransformer(5, sparsity="topk", rho=1, max_iter=4).fit(X)
    display = LossCurveDisplay.from_estimator(model)
    assert legend(display.ax_) == ["loss", "reconstruction"]


def test_a_stack_without_a_training_of_its_own_shows_those_of_its_members(X):
    stack = StackedSparseAutoencoder(
        [("first", SparseAutoencoderTransformer(8, max_iter=4)), ("second", 5)], finetune=False
    )
    stack.set_params(second__max_iter=3).fit(X)
    display = LossCurveDisplay.from_estimator(stack)
    first, second = (line for line in display.ax_.lines if line.get_linewidth() == 2.0)
    assert_array_equal(first.get_ydata(), stack.autoencoders_[0].loss_curve_)
    assert_array_equal(second.get_ydata(), stack.autoencoders_[1].loss_curve_)
    assert second.get_xdata()[0] == len(first.get_xdata()) + 1
    assert texts_in(display.ax_) == ["first", "second"]
    assert [curve.name for curve in display.curves] == ["first", "second"]


def test_members_that_count_otherwise_are_named_by_both(X):
    members = [small(6), small(5, solver="lbfgs"), small(4)]
    stack = StackedSparseAutoencoder(members, finetune=False).fit(X)
    assert LossCurveDisplay.from_estimator(stack).ax_.get_xlabel() == "epoch or iteration"
    stack = StackedSparseAutoencoder(members[1:2], finetune=False).fit(X)
    assert LossCurveDisplay.from_estimator(stack).ax_.get_xlabel() == "iteration"


def test_classifiers_hold_out_accuracy(X, y):
    model = SparseAutoencoderClassifier([small(8)], max_iter=3, early_stopping=True).fit(X, y)
    display = LossCurveDisplay.from_estimator(model)
    assert display.validation_ax_.get_ylabel() == "accuracy of held-out rows"
    assert_array_equal(display.ax_.lines[0].get_ydata(), model.loss_curve_)


def test_weights_that_were_loaded_have_no_losses(topk, tmp_path):
    pytest.importorskip("safetensors")
    from sksae.export import from_safetensors, to_safetensors

    to_safetensors(topk, tmp_path)
    with pytest.raises(ValueError, match="has no loss_curve_"):
        LossCurveDisplay.from_estimator(from_safetensors(tmp_path))


# Rows of units.


def test_top_samples_are_images_with_activations(sae, X):
    display = TopSamplesDisplay.from_estimator(sae, X, [3, 5], 4, image_shape=(8, 8))
    assert display.axes_.shape == (2, 4)
    for unit, line in zip([3, 5], display.axes_, strict=True):
        indices, activations = top_samples(sae, X, unit, 4)
        assert line[0].get_ylabel() == f"unit {unit}"
        for place, ax in enumerate(line):
            assert_allclose(ax.images[0].get_array(), X[indices[place]].reshape(8, 8) / X.max())
            assert ax.get_title().endswith(f"{activations[place]:#.3g}")


@pytest.mark.parametrize("which", ["top", "top_decile", "inactive"])
def test_signals_are_those_that_top_samples_chooses(sae, X, which):
    display = TopSamplesDisplay.from_estimator(sae, X, [7, 2], 3, which)
    indices, activations = top_samples(sae, X, 2, 3, which=which)
    drawn = display.axes_[1][: len(indices)]
    assert_array_equal([ax.lines[-1].get_ydata() for ax in drawn], X[indices])
    assert_allclose(display.samples[1].activations, activations, rtol=1e-5)
    assert len({ax.get_ylim() for ax in drawn}) == 1


def test_texts_are_shown_with_their_activations(of_texts, texts):
    display = TopSamplesDisplay.from_estimator(of_texts, texts, n=3)
    assert display.kind == "text"
    assert len(display.axes_) == 8
    for unit, ax in enumerate(display.axes_):
        indices, activations = top_samples(of_texts, texts, unit, 3)
        expected = [
            f"{activation:#8.3g}  {texts[row]}"
            for row, activation in zip(indices, activations, strict=True)
        ]
        assert texts_in(ax) == (expected or ["no such rows"])


def test_texts_may_be_given_and_are_shortened(sae, X):
    text = [f"row ${row}$ _ {row}\n" + "long " * 50 for row in range(len(X))]
    display = TopSamplesDisplay.from_estimator(sae, X, 0, 2, text=text)
    indices, _ = top_samples(sae, X, 0, 2)
    for line, row in zip(texts_in(display.axes_[0]), indices, strict=True):
        assert f"row ${row}$ _ {row} long" in line
        assert line.endswith("…")
    display.figure_.canvas.draw()  # no character is mathematics


def test_rows_of_tables_are_told_by_what_stands_out(table, wine):
    display = TopSamplesDisplay.from_estimator(table, wine, 1, 2, n_top=2)
    indices, _ = top_samples(table, wine, 1, 2)
    scaled = table[0].transform(wine).to_numpy() - table[-1].mean_
    for line, row in zip(texts_in(display.axes_[0]), scaled[indices], strict=True):
        first, second = np.argsort(-np.abs(row))[:2]
        assert f"{wine.columns[first][:20]}" in line
        assert line.index(f"{row[first]:+.3g}") < line.index(f"{row[second]:+.3g}")


def test_a_unit_with_fewer_rows_has_empty_panels(topk, X):
    codes = topk.transform(X).toarray()
    counts = (codes != 0.0).sum(axis=0)
    few, many = int(counts.argmin()), int(counts.argmax())
    display = TopSamplesDisplay.from_estimator(topk, X, [few, many], 50, image_shape=(8, 8))
    n_most = min(50, counts[many])
    assert display.axes_.shape == (2, n_most)
    assert sum(len(ax.images) for ax in display.axes_[0]) == counts[few]


# Reconstructions.


def test_rows_codes_reconstructions_and_errors(sae, X):
    display = ReconstructionDisplay.from_estimator(
        sae, X, rows=[4, 9], kind="line", image_shape=(8, 8)
    )
    codes = sae.transform(X)[[4, 9]]
    rebuilt = sae.inverse_transform(codes)
    assert display.axes_.shape == (2, 4)
    for shown, (row, code, back, error) in enumerate(display.axes_):
        number = (4, 9)[shown]
        assert row.get_title() == f"row {number}"
        assert_array_equal(row.lines[-1].get_ydata(), X[number])
        assert_allclose(code.lines[-1].get_ydata(), codes[shown])
        assert_allclose(back.lines[-1].get_ydata(), rebuilt[shown])
        assert_allclose(error.lines[-1].get_ydata(), rebuilt[shown] - X[number])
        square = -sae.score_samples(X[[number]])[0]
        assert error.get_title() == f"error (squared: {square:.4g})"
        assert square == pytest.approx(((rebuilt[shown] - X[number]) ** 2).sum())
        assert row.get_ylim() == back.get_ylim()


def test_only_active_units_have_stems(topk, X):
    display = ReconstructionDisplay.from_estimator(topk, sp.csr_array(X), 3, image_shape=(8, 8))
    code = topk.transform(X)[[3]].toarray()[0]
    line = display.axes_[0, 1].lines[-1]
    assert_array_equal(line.get_xdata(), np.flatnonzero(code))
    assert_allclose(line.get_ydata(), code[code != 0.0])
    assert len(display.axes_[0, 3].images) == 1


@pytest.mark.parametrize(("sparsity", "rest"), [("kl", -1.0), ("l1", 0.0)])
def test_stems_begin_where_units_rest(sparsity, rest, X):
    model = small(6, activation="tanh", sparsity=sparsity).fit(X)
    display = ReconstructionDisplay.from_estimator(model, X, rows=[0, 1])
    for ax, code in zip(display.axes_[:, 1], model.transform(X[:2]), strict=True):
        (stems,) = ax.collections
        starts, ends = np.array(stems.get_segments())[:, :, 1].T
        assert_array_equal(starts, rest)
        assert_allclose(ends, code)
        assert_array_equal(ax.lines[0].get_ydata(), rest)


def test_bars_of_a_table_stand_on_one_scale(table, wine):
    display = ReconstructionDisplay.from_estimator(table, wine, n_top=3)
    assert display.kind == "bar"
    assert display.axes_.shape == (4, 4)
    row = table[0].transform(wine.iloc[[0]]).to_numpy()[0]
    strongest = np.argsort(-np.abs(row - table[-1].mean_))[:3]
    widths = [bar.get_width() for bar in display.axes_[0, 0].patches]
    assert_allclose(widths, row[strongest])
    assert display.axes_[0, 0].get_xlim() == display.axes_[0, 2].get_xlim()


def test_classifiers_reconstruct_nothing(X, y):
    model = SparseAutoencoderClassifier([small(5)], max_iter=2).fit(X, y)
    with pytest.raises(ValueError, match="SparseAutoencoderClassifier reconstructs nothing"):
        ReconstructionDisplay.from_estimator(model, X)


# Searches.


@pytest.fixture(scope="module", params=[GridSearchCV, BatchedGridSearchCV])
def search(request, X):
    model = make_pipeline(StandardScaler(), SparseAutoencoderTransformer(10, max_iter=5))
    model.set_params(sparseautoencodertransformer__random_state=0)
    grid = {
        "sparseautoencodertransformer__rho": [0.1, 0.3],
        "sparseautoencodertransformer__n_components": [8, 12],
    }
    refit = refit_sparsest(3.0, sparsity="neg_mean_activation")
    return request.param(model, grid, scoring=sparsity_scorers(), refit=refit, cv=3).fit(X)


def test_candidates_are_dots_with_standard_errors(search):
    display = SearchDisplay.from_estimator(search, sparsity="neg_mean_activation", within_se=3.0)
    results = search.cv_results_
    scores = results["mean_test_explained_variance"]
    folds = [results[f"split{fold}_test_explained_variance"] for fold in range(3)]
    errors = np.std(folds, axis=0, ddof=1) / np.sqrt(3)
    assert_allclose(display.scores, scores)
    assert_allclose(display.score_errors, errors)
    is_good = scores >= scores.max() - 3.0 * errors[scores.argmax()]
    assert_array_equal(display.good, np.flatnonzero(is_good))
    ax = display.ax_
    good, others = (
        next(line for line in ax.lines if str(line.get_label()).startswith(start))
        for start in ("good enough", "others")
    )
    assert_allclose(good.get_ydata(), scores[is_good])
    assert_allclose(others.get_ydata(), scores[~is_good])
    assert_allclose(good.get_xdata(), results["mean_test_neg_mean_activation"][is_good])
    assert display.sparsest == display.chosen == search.best_index_
    assert display.best == scores.argmax()
    best = search.cv_results_["params"][display.best]
    n_components, rho = best.values()
    names = [name.rpartition("__")[2] for name in best]
    assert names == ["n_components", "rho"]
    assert f"best: n_components={n_components}, rho={rho:.3g}" in legend(ax)
    assert ax.get_xlabel().startswith("neg_mean_activation")
    assert ax.get_ylabel().startswith("explained_variance")


def test_searches_of_other_scores_and_failed_candidates(X):
    search = GridSearchCV(
        SparseAutoencoderTransformer(8, max_iter=3, random_state=0), {"rho": [0.1, 0.2]}, cv=2
    ).fit(X)
    search.cv_results_["mean_test_score"][1] = np.nan
    display = SearchDisplay.from_estimator(
        search, score="score", sparsity=lambda results: -results["param_rho"].astype(float)
    )
    assert "without a score, not drawn: 1" in legend(display.ax_)
    assert display.ax_.get_xlabel().startswith("sparsity")


def test_a_search_of_a_single_split_that_chose_nothing(X):
    search = RandomizedSearchCV(
        small(6),
        {"rho": [0.1, 0.2, 0.4]},
        n_iter=2,
        cv=ShuffleSplit(1, random_state=0),
        scoring=sparsity_scorers(),
        refit=False,
        random_state=0,
    ).fit(X)
    with pytest.warns(UserWarning, match="single split has no standard error"):
        display = SearchDisplay.from_estimator(search)
    assert display.chosen is None
    assert not display.ax_.collections  # no bars of errors
    assert not any("chosen" in entry for entry in legend(display.ax_))
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator(search)


def test_what_is_no_fitted_search_is_refused(sae):
    with pytest.raises(NotFittedError, match="GridSearchCV instance is not fitted"):
        SearchDisplay.from_estimator(GridSearchCV(sae, {"rho": [0.1]}))
    with pytest.raises(TypeError, match="needs a fitted search"):
        SearchDisplay.from_estimator(sae)


def test_axes_of_the_user_are_labelled_at_the_left_and_at_the_bottom():
    import matplotlib.pyplot as plt

    atoms = np.random.default_rng(0).normal(size=(6, 16))
    # Two columns, where the display itself would have three.
    axes = plt.figure().subplots(3, 2)
    AtomsDisplay(atoms, kind="line").plot(axes)
    assert [[bool(axis.get_ylabel()) for axis in row] for row in axes] == [[True, False]] * 3
    assert [any(axis.get_xlabel() for axis in row) for row in axes] == [False, False, True]
