"""Models come back from a file of skops to the bit, which asks for trust in their classes alone."""

import pickle
import zipfile
from functools import cache

import numpy as np
import pytest
from registered import EXACT, SPARSITIES
from scipy.sparse import csr_array
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.base.persistence import checksums
from sksae.export import slim
from sksae.model_selection import BatchedGridSearchCV

skops = pytest.importorskip("skops.io")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = (array[:100] for array in load_digits(return_X_y=True))
X = X[:, 20:28]
TRANSFORMER = "sksae.transformer.SparseAutoencoderTransformer"
STACK = "sksae.stacked.StackedSparseAutoencoder"
CLASSIFIER = "sksae.classifier.SparseAutoencoderClassifier"
REGRESSOR = "sksae.regressor.SparseAutoencoderRegressor"
METHODS = ("transform", "predict", "predict_proba", "score_samples")


def sae(n_components=5, **parameters):
    given = {"max_iter": 2, "batch_size": 20, "random_state": 0}
    return SparseAutoencoderTransformer(n_components, **(given | parameters))


# Models and the names that they ask to be trusted.
MODELS = {
    **{
        str(code): (sae(sparsity=code, **({"rho": 2} if code in EXACT else {})), [TRANSFORMER])
        for code in SPARSITIES
    },
    "float64": (sae(dtype="float64"), [TRANSFORMER]),
    "sgd": (sae(solver="sgd"), [TRANSFORMER]),
    "lbfgs": (sae(solver="lbfgs"), [TRANSFORMER]),
    "deep": (sae(hidden_layer_sizes=(6,), tied_weights=True), [TRANSFORMER]),
    "early stopping": (sae(early_stopping=True), [TRANSFORMER]),
    "random state": (sae(random_state=np.random.RandomState(3)), [TRANSFORMER]),
    "numbers of numpy": (sae(rho=np.float64(0.1), beta=np.int64(2)), [TRANSFORMER]),
    "stack": (
        StackedSparseAutoencoder([sae(), sae(3)], max_iter=2, random_state=0),
        [STACK, TRANSFORMER],
    ),
    "stack in pieces": (
        StackedSparseAutoencoder([("a", sae()), ("b", sae(3))], finetune=False),
        [STACK, TRANSFORMER],
    ),
    "classifier": (
        SparseAutoencoderClassifier([sae()], max_iter=2, random_state=0),
        [CLASSIFIER, TRANSFORMER],
    ),
    "regressor": (
        SparseAutoencoderRegressor([sae(), sae(3)], max_iter=2, random_state=0),
        [REGRESSOR, TRANSFORMER],
    ),
    "pipeline": (
        make_pipeline(StandardScaler(), sae(), LogisticRegression(max_iter=50)),
        [TRANSFORMER],
    ),
    "columns": (
        make_pipeline(
            ColumnTransformer([("codes", sae(), [0, 1, 2]), ("rest", "passthrough", [5])]),
            SparseAutoencoderClassifier([sae(2)], max_iter=2, random_state=0),
        ),
        [CLASSIFIER, TRANSFORMER],
    ),
    "union": (make_union(sae(), sae(sparsity="l1")), [TRANSFORMER]),
}


@cache
def fitted(name):
    return MODELS[name][0].fit(X, y)


def said_by(model):
    """Return checksums of all that models of ours in a model hold, those of members too."""
    if type(model).__module__.startswith("sksae."):
        members = getattr(model, "autoencoders_", [])
        return [checksums(vars(model)), *map(said_by, members)]
    steps = getattr(model, "steps", None) or getattr(model, "transformer_list", None)
    if steps is not None:
        return [said_by(step) for _, step in steps]
    return said_by(model.transformers_[0][1]) if hasattr(model, "transformers_") else None


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_to_the_bit_by_the_names_of_its_classes(name, tmp_path):
    model, path = fitted(name), tmp_path / "model.skops"
    skops.dump(model, path)
    trusted = MODELS[name][1]
    assert sorted(skops.get_untrusted_types(file=path)) == trusted
    again = skops.load(path, trusted=trusted)
    assert type(again) is type(model)
    assert said_by(again) == said_by(model) != []
    for rows in (X, X.astype(np.float32), *([] if name == "columns" else [csr_array(X)])):
        if isinstance(rows, csr_array) and name == "pipeline":
            continue  # StandardScaler centres.
        for method in METHODS:
            if hasattr(model, method):
                expected = getattr(model, method)(rows)
                np.testing.assert_array_equal(getattr(again, method)(rows), expected)
    assert again.get_params(deep=False).keys() == model.get_params(deep=False).keys()


@pytest.mark.parametrize("name", ["kl", "sgd", "classifier"])
def test_training_goes_on_as_it_would_have(name):
    model = pickle.loads(pickle.dumps(fitted(name)))
    again = skops.loads(skops.dumps(model), trusted=MODELS[name][1])
    for one in (model, again):
        one.partial_fit(X, y)
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    assert said_by(again) == said_by(model)


@pytest.mark.parametrize("kind", [GridSearchCV, BatchedGridSearchCV])
def test_searches_ask_for_the_names_of_what_they_search_with(kind):
    search = kind(sae(), {"rho": [0.1, 0.3]}, cv=2).fit(X)
    content = skops.dumps(search)
    names = skops.get_untrusted_types(data=content)
    assert TRANSFORMER in names
    assert all(
        name.startswith(("sksae.", "sklearn.model_selection.", "sklearn.metrics."))
        for name in names
    )
    again = skops.loads(content, trusted=names)
    assert said_by(again.best_estimator_) == said_by(search.best_estimator_)
    np.testing.assert_array_equal(again.transform(X), search.transform(X))
    # What users load is most often the best model alone.
    assert skops.get_untrusted_types(data=skops.dumps(search.best_estimator_)) == [TRANSFORMER]


def test_a_frozen_member_needs_no_other_name():
    member = FrozenEstimator(sae().fit(X))
    model = SparseAutoencoderClassifier([member], max_iter=2, random_state=0).fit(X, y)
    again = skops.loads(skops.dumps(model), trusted=[CLASSIFIER, TRANSFORMER])
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_what_is_not_fitted_comes_back_too():
    model = StackedSparseAutoencoder([sae(), sae(3)])
    again = skops.loads(skops.dumps(model), trusted=[STACK, TRANSFORMER])
    assert repr(again) == repr(model)
    again.set_params(max_iter=2).fit(X)


def test_a_slim_and_compressed_file_is_small(tmp_path):
    model = SparseAutoencoderTransformer(100, max_iter=2, random_state=0).fit(X)
    small = slim(model)
    sizes = []
    for number, (each, options) in enumerate(
        [(model, {}), (small, {}), (small, {"compression": zipfile.ZIP_DEFLATED})]
    ):
        path = tmp_path / f"{number}.skops"
        skops.dump(each, path, **options)
        sizes.append(path.stat().st_size)
        again = skops.load(path, trusted=[TRANSFORMER])
        np.testing.assert_array_equal(again.transform(X), model.transform(X))
    assert sizes[0] > sizes[1] > 2 * sizes[2]


def test_a_file_asks_for_no_torch():
    for name in ("kl", "stack", "classifier"):
        assert b"torch" not in skops.dumps(fitted(name))


@pytest.mark.parametrize("name", ["kl", "classifier"])
def test_what_is_changed_in_a_file_is_noticed(name, tmp_path):
    path, damaged = tmp_path / "model.skops", tmp_path / "damaged.skops"
    skops.dump(fitted(name), path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(damaged, "w") as new:
        for entry in old.namelist():
            content = old.read(entry)
            if entry.endswith(".npy") and len(content) > 200:
                content = content[:-1] + bytes([content[-1] ^ 1])
            new.writestr(entry, content)
    with pytest.raises(ValueError, match=r"The file of this SparseAutoencoder.* is damaged"):
        skops.load(damaged, trusted=MODELS[name][1])
