"""All units in a table: every column, every estimator, every kind of rows."""

import sys
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from scipy import stats
from sklearn.datasets import load_diabetes, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tracing import traced

import sksae.inspection.subject
from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.inspection import feature_table
from sksae.inspection.subject import Subject
from sksae.inspection.survey import survey
from sksae.inspection.table.maker import TableMaker
from sksae.inspection.table.named_rows import named_rows
from sksae.inspection.texts import texts_of
from sksae.metrics import feature_density, is_active, mean_activation

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("error::RuntimeWarning"),
]

STATEMENTS = r"(colour|size) !?= \w+( (and|or) (colour|size) !?= \w+)?"
ALWAYS = [
    "density",
    "mean_activation",
    "largest_activation",
    "atom_norm",
    "nearest_unit",
    "nearest_cosine",
]
COMPARED = ["compared_unit", "compared_cosine"]
OF_NUMBERS = [
    "correlation",
    "separation",
    "separation_low",
    "separation_high",
    "p_value",
    "p_adjusted",
]
OF_CLASSES = ["target_class", *OF_NUMBERS]
OF_LABELS = ["label", "label_f1", "label_precision", "label_recall", "base_f1"]


def topk(n_components=12, rho=3, **options):
    return SparseAutoencoderTransformer(
        n_components,
        **{"sparsity": "topk", "rho": rho, "max_iter": 20, "random_state": 0} | options,
    )


@pytest.fixture(scope="module")
def wine():
    return load_wine(return_X_y=True, as_frame=True)


@pytest.fixture(scope="module")
def pipe(wine):
    return make_pipeline(StandardScaler(), topk()).fit(wine[0])


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600], y[:600]


@pytest.fixture(scope="module")
def kl(digits):
    return SparseAutoencoderTransformer(15, max_iter=10, random_state=0).fit(digits[0])


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    topics = {
        "sea": ["fish", "boat", "wave", "sail", "harbour"],
        "sky": ["bird", "cloud", "wing", "storm", "feather"],
        "town": ["street", "house", "market", "tram", "shop"],
    }
    y = rng.choice(list(topics), 300)
    return [" ".join(["the", *rng.choice(topics[each], 3)]) for each in y], y


def first_half(estimator, X, y=None, **options):
    return TableMaker(Subject(estimator, needed_by="test"), X, y, **options).first_half


# Columns of units alone.


@pytest.mark.parametrize("name", ["kl", "topk"])
def test_columns_of_units_are_what_metrics_say(name, kl, digits):
    X = digits[0]
    model = kl if name == "kl" else topk(sparse_output=True).fit(X)
    table, codes = feature_table(model, X), sp.csr_array(model.transform(X)).toarray()
    assert table.columns.tolist() == ALWAYS
    assert table.index.name == "unit"
    np.testing.assert_allclose(table.density, is_active(codes, model).mean(axis=0))
    np.testing.assert_allclose(table.mean_activation, codes.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(table.mean_activation.mean(), mean_activation(codes).mean())
    np.testing.assert_allclose(table.largest_activation, codes.max(axis=0))
    np.testing.assert_allclose(table.atom_norm, np.linalg.norm(model.components_, axis=1))
    if name == "topk":
        np.testing.assert_allclose(table.density, feature_density(codes))


def plain_nearest(atoms, others):
    is_same = atoms.shape == others.shape and (atoms == others).all()
    atoms, others = atoms.astype(float), others.astype(float)
    cosines = (atoms / np.linalg.norm(atoms, axis=1)[:, None]) @ (
        others / np.linalg.norm(others, axis=1)[:, None]
    ).T
    if is_same:
        np.fill_diagonal(cosines, -2.0)
    return cosines.argmax(axis=1), cosines.max(axis=1)


def test_twins_have_the_largest_cosine(kl, digits, monkeypatch):
    monkeypatch.setattr("sksae.metrics.dictionaries.BLOCK_ENTRIES", 40)
    other = topk(9).fit(digits[0])
    table = feature_table(kl, digits[0], compare=other)
    assert table.columns.tolist() == ALWAYS + COMPARED
    for found, others in (("nearest", kl), ("compared", other)):
        numbers, cosines = plain_nearest(kl.components_, others.components_)
        np.testing.assert_array_equal(table[f"{found}_unit"], numbers)
        np.testing.assert_allclose(table[f"{found}_cosine"], cosines, rtol=1e-5)


def test_atoms_may_be_given_to_compare_with(kl, digits):
    atoms = np.vstack([np.zeros(64), kl.components_[::-1]])
    table = feature_table(kl, digits[0], compare=atoms)
    np.testing.assert_array_equal(table.compared_unit, np.arange(15, 0, -1))
    np.testing.assert_allclose(table.compared_cosine, 1.0)


def test_an_atom_that_is_0_has_no_twin(digits):
    model = topk(5).fit(digits[0])
    model.coefs_[-1] = model.coefs_[-1].copy()
    model.coefs_[-1][2] = 0.0
    table = feature_table(model, digits[0])
    assert table.nearest_unit.isna().tolist() == [False, False, True, False, False]
    assert np.isnan(table.nearest_cosine[2])
    assert not (table.nearest_unit == 2).any()
    one = feature_table(SparseAutoencoderTransformer(1, max_iter=2).fit(digits[0]), digits[0])
    assert one.nearest_unit.isna().all()


# Columns on targets.


def test_numbers_are_compared_on_the_second_half(digits):
    X, y = load_diabetes(return_X_y=True)
    model = topk(8, 2).fit(X)
    table, second = feature_table(model, X, y), ~first_half(model, X, y)
    assert table.columns.tolist() == ALWAYS + OF_NUMBERS
    codes = model.transform(X)
    for unit in range(8):
        active, values = codes[second, unit] > 0.0, y[second]
        test = stats.ttest_ind(values[active], values[~active], equal_var=False)
        ends, row = test.confidence_interval(), table.loc[unit]
        np.testing.assert_allclose(row.p_value, test.pvalue)
        np.testing.assert_allclose(row.separation_low, ends.low)
        np.testing.assert_allclose(row.separation_high, ends.high)
        np.testing.assert_allclose(row.correlation, np.corrcoef(codes[second, unit], values)[0, 1])
    np.testing.assert_allclose(table.p_adjusted, stats.false_discovery_control(table.p_value))


@pytest.mark.parametrize("kind", ["many", "two"])
def test_classes_are_compared_on_the_second_half(kl, digits, kind):
    X, y = digits
    y = np.array([f"digit {each}" for each in y]) if kind == "many" else y >= 5
    table, second = feature_table(kl, X, y), ~first_half(kl, X, y)
    assert table.columns.tolist() == ALWAYS + OF_CLASSES
    codes = kl.transform(X)
    active = is_active(codes, kl)
    known = table[table.p_value.notna()]
    assert len(known) > 5
    for unit, row in known.iterrows():
        of_class, a = y[second] == row.target_class, active[second, unit]
        np.testing.assert_allclose(row.separation, of_class[a].mean() - of_class[~a].mean())
        expected = np.corrcoef(codes[second, unit].astype(float), of_class)[0, 1]
        np.testing.assert_allclose(row.correlation, expected, rtol=1e-6)
        assert row.separation_low < row.separation < row.separation_high
    if kind == "two":
        assert set(known.target_class) == {True}


def test_a_classifier_and_a_regressor_say_what_y_is(digits):
    X, y = digits
    classifier = SparseAutoencoderClassifier([6], max_iter=2, random_state=0).fit(X, y)
    regressor = SparseAutoencoderRegressor([6], max_iter=2, random_state=0).fit(X, y)
    assert "target_class" in feature_table(classifier, X, y + 0.5 - 0.5)
    assert "target_class" not in feature_table(regressor, X, y)


# Labels.


def test_texts_are_labelled_by_words(texts):
    text, y = texts
    pipe = make_pipeline(TfidfVectorizer(), topk(4, 1, max_iter=60)).fit(text)
    table = feature_table(pipe, text, y)
    assert table.columns.tolist() == ALWAYS + OF_CLASSES + OF_LABELS
    words = set(" ".join(text).split())
    active, second = pipe.transform(text) > 0.0, ~first_half(pipe, text, y)
    labelled = table[[isinstance(label, str) for label in table.label]]
    assert len(labelled) >= 3
    for unit, row in labelled.iterrows():
        terms = row.label.split(", ")
        assert len(terms) <= 5
        assert set(terms) <= words - {"the"}
        holds = np.array([bool(set(terms) & set(each.split())) for each in text])
        pair = active[second, unit], holds[second]
        np.testing.assert_allclose(row.label_f1, f1_score(*pair))
        base = f1_score(pair[0], np.ones(second.sum(), dtype=bool))
        np.testing.assert_allclose(row.base_f1, base)
    assert (labelled.label_f1 > labelled.base_f1 + 0.2).sum() >= 3


@pytest.mark.parametrize("container", [list, tuple, np.array, pd.Series])
def test_texts_may_be_in_any_sequence(texts, container):
    text = texts[0]
    counts = CountVectorizer().fit_transform(text)
    model = topk(4, 1).fit(counts)
    pipe = make_pipeline(CountVectorizer(), topk(4, 1)).fit(text)
    expected = feature_table(pipe, text)
    shuffled = container(text)
    if container is pd.Series:
        shuffled.index = shuffled.index[::-1]
    pd.testing.assert_frame_equal(feature_table(pipe, shuffled), expected)
    given = feature_table(model, counts, text=shuffled)
    assert given.label.tolist() == expected.label.tolist()


def test_counts_with_names_are_labelled_by_words(texts):
    vectorizer = CountVectorizer(stop_words="english")
    counts = vectorizer.fit_transform(texts[0])
    model = topk(4, 1, max_iter=60).fit(counts)
    names = vectorizer.get_feature_names_out()
    table = feature_table(model, counts, feature_names=names)
    labels = [label for label in table.label if label]
    assert labels
    assert {word for label in labels for word in label.split(", ")} <= set(names)
    assert feature_table(model, counts).columns.tolist() == ALWAYS


def test_rules_speak_of_the_columns_of_the_user(pipe, wine):
    table = feature_table(pipe, wine[0])
    assert table.columns.tolist() == ALWAYS + OF_LABELS
    second = ~first_half(pipe, wine[0])
    active = pipe.transform(wine[0])[second] > 0.0
    rows = wine[0][second]
    rows = rows.rename(columns={"od280/od315_of_diluted_wines": "od"})
    for unit, row in table[[isinstance(label, str) for label in table.label]].iterrows():
        rule = row.label.replace("od280/od315_of_diluted_wines", "od")
        np.testing.assert_allclose(row.label_f1, f1_score(active[:, unit], rows.eval(rule)))
    # Not in scaled units: all values of this one are far from 0.
    cuts = table.label.dropna().str.extract(r"proline [<>=]+ (\d+)").dropna()[0]
    assert (cuts.astype(float) > 200.0).all()


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_names_may_be_given(pipe, wine):
    X, _ = wine
    scaled = StandardScaler().fit_transform(X.to_numpy())
    model = topk().fit(scaled)
    names = [f"name {number}" for number in range(13)]
    assert "label" not in feature_table(model, scaled)
    table = feature_table(model, scaled, feature_names=names)
    assert table.label.dropna().str.contains("name ").all()
    # Names that the pipeline knows from its fit go with the columns of X as well.
    of_frame, of_array = feature_table(pipe, X), feature_table(pipe, X.to_numpy())
    assert of_frame.label.tolist() == of_array.label.tolist()


def test_features_that_reach_the_autoencoder_may_have_names():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {"colour": rng.choice(["red", "blue"], 200), "size": rng.choice(["big", "small"], 200)}
    )
    for encoder, expected in (
        (OneHotEncoder(), "colour_|size_"),
        (OneHotEncoder(sparse_output=False), "(?:colour|size)_.* = [01]"),
    ):
        pipe = make_pipeline(encoder, topk(4, 1, max_iter=50)).fit(X.to_numpy())
        assert "label" not in feature_table(pipe, X.to_numpy(), feature_names=["colour", "size"])
        names = pipe[:-1].get_feature_names_out(["colour", "size"])
        labels = feature_table(pipe, X.to_numpy(), feature_names=names).label.dropna()
        assert len(labels) > 1
        assert labels.str.contains(expected).all()
        # A frame with words in it tells them itself.
        labels = feature_table(pipe.fit(X), X).label.dropna()
        assert len(labels) > 1
        assert labels.str.fullmatch(STATEMENTS).all()


def test_a_frame_may_have_numbers_words_and_gaps():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "age": pd.array(rng.integers(18, 90, 300), dtype="Int64"),
            "city": rng.choice(["Rome", "Oslo", None], 300),
            "name": [f"person {number}" for number in range(300)],
            "height": rng.normal(size=300).round(1),
        }
    )
    X.loc[::10, "age"] = pd.NA
    numbers = X[["height"]]
    subject = Subject(topk(4, 1).fit(np.hstack([numbers, numbers**2])), needed_by="test")
    material = named_rows(subject, X, None)
    assert [str(name) for name in material.names] == ["age", "city = Oslo", "city = Rome", "height"]
    rows = material.take(np.arange(5, 12))
    assert np.isnan(rows[:, 0]).tolist() == [False] * 5 + [True, False]
    np.testing.assert_array_equal(rows[:, 2], X.city[5:12] == "Rome")
    np.testing.assert_array_equal(rows[:, 3], X.height[5:12])


@pytest.mark.parametrize("container", [list, np.array, pd.Series, pl.Series])
def test_texts_are_found_in_what_holds_them(container):
    texts = ["a cat sat", "the dog ran"]
    assert texts_of(container(texts), None).tolist() == texts
    assert texts_of(np.arange(2), None) is None


def test_without_names_there_are_no_labels(digits):
    X = digits[0]
    for step in (StandardScaler(), PCA(10), None):  # x0, x1, ... and pca0, pca1, ...
        pipe = make_pipeline(step, topk()).fit(X)
        assert feature_table(pipe, X).columns.tolist() == ALWAYS


def test_units_that_are_never_active_have_no_label(wine):
    X, y = wine[0] / wine[0].std(), wine[1]
    model = topk(3, 1).fit(X)
    model.intercepts_[0] = model.intercepts_[0] - np.array([0.0, 1e9, 0.0], dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = feature_table(model, X, y)
    assert table.density[1] == 0.0
    assert table.largest_activation[1] == 0.0
    assert table.label[1] is None
    assert table.target_class[1] is None
    assert table.loc[1, [*OF_NUMBERS, *OF_LABELS[1:]]].isna().all()


# Estimators and containers.


def test_searches_stacks_and_deep_networks_have_units(digits):
    X, y = digits[0][:300], digits[1][:300]
    sae = SparseAutoencoderTransformer(5, max_iter=3, random_state=0)
    search = GridSearchCV(make_pipeline(StandardScaler(), sae), {}, cv=2).fit(X)
    stack = StackedSparseAutoencoder([6, 5], random_state=0, max_iter=3).fit(X)
    classifier = SparseAutoencoderClassifier([5], max_iter=3, random_state=0).fit(X, y)
    deep = SparseAutoencoderTransformer(5, hidden_layer_sizes=(7,), max_iter=3).fit(X)
    atoms = search.best_estimator_[-1].components_
    found = feature_table(search, X, y)
    np.testing.assert_allclose(found.atom_norm, np.linalg.norm(atoms, axis=1), rtol=1e-6)
    for estimator in (stack, classifier, deep):
        table = feature_table(estimator, X, y)
        assert table.columns.tolist() == ALWAYS + OF_CLASSES
        assert table.atom_norm.isna().all()
        codes = estimator.transform(X)
        np.testing.assert_allclose(table.largest_activation, codes.max(axis=0))
        assert table.nearest_unit.isna().all() == (estimator is not classifier)
    weights = classifier.__sksae_network__().encoder[0].coef.T
    number, _ = plain_nearest(weights, weights)
    np.testing.assert_array_equal(feature_table(classifier, X).nearest_unit, number)


@pytest.mark.parametrize(
    "container", [pd.DataFrame, sp.csr_array, sp.csr_matrix, np.asfortranarray, np.ndarray.tolist]
)
def test_containers_make_no_difference(kl, digits, container):
    X, y = digits
    expected = feature_table(kl, X, y)
    table = feature_table(kl, container(X), y)[expected.columns]
    pd.testing.assert_frame_equal(table, expected, rtol=1e-4)


def test_blocks_make_no_difference(kl, digits, monkeypatch):
    expected = feature_table(kl, *digits)
    monkeypatch.setattr(sksae.inspection.subject, "BLOCK_ENTRIES", 1000)
    pd.testing.assert_frame_equal(feature_table(kl, *digits), expected, rtol=1e-5)


def test_rows_beyond_memory_are_walked_over(tmp_path, monkeypatch):
    X = np.memmap(tmp_path / "rows", dtype=np.float32, mode="w+", shape=(100_000, 64))
    X[:] = np.tile(load_digits().data, (56, 1))[:100_000]
    y = np.tile(load_digits().target, 56)[:100_000]
    model = topk(20, 2, max_iter=1, sparse_output=True).fit(X[:2000])
    names = [f"pixel {number}" for number in range(64)]
    monkeypatch.setattr(sksae.inspection.subject, "BLOCK_ENTRIES", 2**18)
    monkeypatch.setattr("sksae.inspection.table.rule_labels.MOST_CHECKING", 5000)
    feature_table(model, X[:2000], y[:2000], feature_names=names)
    with traced() as memory:
        table = feature_table(model, X, y, feature_names=names)
    assert table.label.notna().any()
    assert memory.peak < X.nbytes


def test_a_wide_dictionary_has_a_table():
    X = np.random.default_rng(0).normal(size=(400, 10)).astype(np.float32)
    model = topk(3072, 8, max_iter=1, sparse_output=True).fit(X)
    table = feature_table(model, X, X[:, 0] > 0.0, feature_names=list("abcdefghij"))
    assert len(table) == 3072
    assert table.nearest_unit.notna().all()


@pytest.mark.parametrize("n_samples", [1, 2, 3, 12])
def test_few_rows_have_a_table(pipe, wine, n_samples):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = feature_table(pipe, wine[0][:n_samples], np.linspace(0.1, 0.7, n_samples))
    assert len(table) == 12
    assert table.p_value.isna().all()


def test_a_caller_may_walk_for_other_ends_too(pipe, wine):
    subject, blocks = Subject(pipe, needed_by="report"), []
    maker = TableMaker(subject, *wine)

    def see(block):
        maker.see(block)
        blocks.append(block)

    table = maker.table(survey(subject, wine[0], also=see))
    assert len(blocks) == 1
    pd.testing.assert_frame_equal(table, feature_table(pipe, *wine))


def test_the_seed_divides_rows(pipe, wine):
    one, again = (feature_table(pipe, *wine, random_state=5) for _ in range(2))
    pd.testing.assert_frame_equal(one, again)
    other = feature_table(pipe, *wine, random_state=np.random.RandomState(6))
    assert not one.separation.equals(other.separation)
    pd.testing.assert_frame_equal(one[ALWAYS], other[ALWAYS])


# Errors.


def test_bad_input_is_named(pipe, kl, digits, wine):
    X, y = wine
    with pytest.raises(ValueError, match="y must have a target for each of the 178 rows"):
        feature_table(pipe, X, y[:9])
    with pytest.raises(ValueError, match="y must not have missing values"):
        feature_table(pipe, X, y.astype(float).where(y > 0))
    with pytest.raises(ValueError, match="text must have a text for each of the 178 rows, got 2"):
        feature_table(pipe, X, text=["a", "b"])
    with pytest.raises(ValueError, match=r"text must have a text .* got one string"):
        feature_table(pipe, X, text="a")
    with pytest.raises(TypeError, match="text must be strings, got nan in row 1"):
        feature_table(pipe, X, text=["a", np.nan] * 89)
    with pytest.raises(ValueError, match="feature_names must have one name for each of the 13"):
        feature_table(pipe, X, feature_names=["a"])
    with pytest.raises(ValueError, match="'random_state' parameter of feature_table"):
        feature_table(pipe, X, random_state="a")
    with pytest.raises(ValueError, match="feature_table needs a SparseAutoencoderTransformer"):
        feature_table(StandardScaler().fit(X), X)
    with pytest.raises(NotFittedError):
        feature_table(SparseAutoencoderTransformer(), X)
    with pytest.raises(ValueError, match="features"):
        feature_table(kl, digits[0][:, :5])


def test_what_cannot_be_compared_is_named(pipe, kl, digits, wine):
    scaled = StandardScaler().fit_transform(wine[0])
    deep = SparseAutoencoderTransformer(5, hidden_layer_sizes=(7,), max_iter=3).fit(scaled)
    with pytest.raises(ValueError, match=r"compare must have 13 features, .* got 64"):
        feature_table(pipe, wine[0], compare=kl)
    with pytest.raises(ValueError, match=r"compare must have 13 features, .* got 2"):
        feature_table(pipe, wine[0], compare=np.ones((3, 2)))
    with pytest.raises(ValueError, match="compare must have atoms"):
        feature_table(pipe, wine[0], compare=deep)
    with pytest.raises(ValueError, match=r"compare needs atoms .* of SparseAutoencoderTransformer"):
        feature_table(deep, scaled, compare=pipe)
    with pytest.raises(NotFittedError):
        feature_table(pipe, wine[0], compare=SparseAutoencoderTransformer())
    with pytest.raises(ValueError, match="compare needs a SparseAutoencoderTransformer"):
        feature_table(pipe, wine[0], compare=StandardScaler())


def test_without_pandas_it_says_what_to_install(pipe, wine, monkeypatch):
    X = wine[0].to_numpy()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'feature_table needs pandas: .*"sksae\[table\]"'):
        feature_table(pipe, X)


def test_rows_that_a_classifier_reads_as_unlabeled_are_refused(digits):
    X, y = digits[0], digits[1].copy()
    y[:50] = -1
    model = SparseAutoencoderClassifier([5], unlabeled=-1, max_iter=2).fit(X, y)
    with pytest.raises(ValueError, match=r"got 50 of unlabeled=-1.*leave out these rows"):
        feature_table(model, X, y)
    assert "separation" in feature_table(model, X[50:], y[50:])


def test_a_string_is_no_sequence_of_names(digits):
    model = topk().fit(digits[0])
    with pytest.raises(TypeError, match="feature_names must be a sequence of strings"):
        feature_table(model, digits[0], feature_names="a" * 64)


def test_activations_are_told_as_activity(digits):
    X = digits[0]
    model = SparseAutoencoderTransformer(6, activation="tanh", max_iter=5, random_state=0).fit(X)
    activity = (1.0 + model.transform(X)) / 2.0
    table = feature_table(model, X)
    np.testing.assert_allclose(table.largest_activation, activity.max(axis=0))
    np.testing.assert_allclose(table.mean_activation, activity.mean(axis=0))
    np.testing.assert_allclose(table.largest_activation, model.largest_activation_, rtol=1e-5)
