"""Warnings point at the user's line, whoever stands between; in a thread at the method called."""

import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec

import joblib
import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.pipeline import FeatureUnion, make_pipeline

import sksae.transformer
from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.model_selection import BatchedGridSearchCV, BatchedRandomizedSearchCV

rng = np.random.default_rng(0)
X = rng.random((30, 5))
y = (X[:, 0] > 0.5).astype(int)
WARNS = {"sparsity": None, "rho": 0.3, "max_iter": 2, "random_state": 0}


class Subclass(SparseAutoencoderTransformer):
    def fit(self, X, y=None, sample_weight=None):
        return super().fit(X, y, sample_weight)


class Looks:
    """A callback that uses the model, whose device is missing."""

    def setup(self, estimator, context): ...
    def teardown(self, estimator, context): ...
    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        fitted_estimator.set_params(device="cuda:99").transform(X)


def sae():
    return SparseAutoencoderTransformer(3, **WARNS)


def classifying():
    return make_pipeline(sae(), LogisticRegression())


def on_top(kind):
    return kind([sae()], max_iter=2, random_state=0)


def fit_here():
    return sae().fit(X)


ALPHA = {"sparseautoencodertransformer__alpha": [1e-3, 1e-2]}
CALLS = {
    "fit": lambda _: sae().fit(X),
    "fit_transform": lambda _: sae().set_output(transform="default").fit_transform(X),
    "partial_fit": lambda _: sae().partial_fit(X),
    "subclass": lambda _: Subclass(3, **WARNS).fit(X),
    "subclass in a pipeline": lambda _: make_pipeline(Subclass(3, **WARNS)).fit(X),
    "callback": lambda _: sae().set_params(rho=0.05).set_callbacks(Looks()).fit(X),
    "device": lambda _: make_pipeline(
        SparseAutoencoderTransformer(3, random_state=0).fit(X).set_params(device="cuda:99")
    ).transform(X),
    "stack": lambda _: on_top(StackedSparseAutoencoder).fit(X),
    "classifier": lambda _: on_top(SparseAutoencoderClassifier).fit(X, y),
    "regressor": lambda _: on_top(SparseAutoencoderRegressor).fit(X, y),
    "pipeline": lambda _: classifying().fit(X, y),
    "pipeline, fit_transform": lambda _: make_pipeline(sae()).fit_transform(X),
    "pipeline with memory": lambda folder: classifying().set_params(memory=folder).fit(X, y),
    "union": lambda _: FeatureUnion([("sae", sae())]).fit(X),
    "columns": lambda _: ColumnTransformer([("sae", sae(), [0, 1, 2])]).fit(X),
    "search": lambda _: GridSearchCV(sae(), {"alpha": [1e-3]}, cv=2, n_jobs=1).fit(X),
    "search of pipelines": lambda _: GridSearchCV(classifying(), ALPHA, cv=2).fit(X, y),
    "search of classifiers": lambda _: GridSearchCV(
        on_top(SparseAutoencoderClassifier), {"alpha": [1e-3]}, cv=2
    ).fit(X, y),
    "cross_val_score": lambda _: cross_val_score(sae(), X, cv=2),
    "cross_validate": lambda _: cross_validate(classifying(), X, y, cv=2),
    "cross_val_predict": lambda _: cross_val_predict(classifying(), X, y, cv=2),
    "learning_curve": lambda _: learning_curve(sae(), X, y, cv=2, train_sizes=[0.8]),
    "batched search": lambda _: BatchedGridSearchCV(sae(), {"alpha": [1e-3, 1e-2]}, cv=2).fit(X),
    "batched search of pipelines": lambda _: BatchedGridSearchCV(
        classifying(), ALPHA, cv=2, n_jobs=1
    ).fit(X, y),
    "batched draws": lambda _: BatchedRandomizedSearchCV(sae(), {"alpha": [1e-3]}, n_iter=1).fit(X),
    "joblib": lambda _: joblib.Parallel(1)(joblib.delayed(sae().fit)(X) for _ in range(2)),
    "joblib's memory": lambda folder: joblib.Memory(folder, verbose=0).cache(fit_here)(),
    "joblib's threads, by a function": lambda _: joblib.Parallel(2, backend="threading")(
        joblib.delayed(fit_here)() for _ in range(2)
    ),
}


def files_of_warnings(call):
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        call()
    ours = [
        each for each in record if re.search("has no effect|max_iter|device", str(each.message))
    ]
    assert ours
    return {each.filename for each in ours}


@pytest.mark.parametrize("name", CALLS)
def test_warnings_point_at_the_users_line(name, tmp_path):
    assert files_of_warnings(lambda: CALLS[name](str(tmp_path))) == {__file__}


def in_a_thread():
    thread = threading.Thread(target=sae().fit, args=(X,))
    thread.start()
    thread.join()


def in_a_pool():
    with ThreadPoolExecutor(1) as pool:
        pool.submit(sae().fit, X).result()


def in_a_search():
    with joblib.parallel_config("threading", n_jobs=2):
        GridSearchCV(sae(), {"alpha": [1e-3]}, cv=2, refit=False).fit(X)


@pytest.mark.parametrize("call", [in_a_thread, in_a_pool, in_a_search])
def test_in_threads_of_others_they_point_at_the_method_that_was_called(call):
    assert files_of_warnings(call) == {sksae.transformer.__file__}


def test_a_module_that_is_run_is_known_by_its_name():
    # As the workers of joblib are, whose lowest line would be taken for the user's.
    spec = ModuleSpec("joblib.externals.loky.backend.popen_loky_posix", None)
    names = {"__name__": "__main__", "__spec__": spec, "model": sae(), "X": X}
    assert files_of_warnings(lambda: exec("model.fit(X)", names)) == {__file__}
