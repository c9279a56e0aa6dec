"""Searches in other processes: the same bits, a thread to a core, torch no sooner than needed.

Nothing here imports torch at the top: a worker that unpickles a function of this file imports it.
"""

import os
import pickle
import sys

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from sksae import SparseAutoencoderTransformer
from sksae.metrics import refit_sparsest, sparsity_scorers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
X, y = (array[:300] for array in load_digits(return_X_y=True))


def make_sae(**params):
    given = {"n_components": 12, "rho": 0.1, "beta": 0.1, "max_iter": 4, "batch_size": 32}
    return SparseAutoencoderTransformer(**given | {"random_state": 0} | params)


def supervised():
    steps = [("sae", make_sae()), ("scale", StandardScaler())]
    pipe = Pipeline([*steps, ("classify", LogisticRegression(max_iter=1000))])
    grid = {"sae__rho": [0.05, 0.3], "sae__solver": ["adam", "lbfgs"]}
    return GridSearchCV(pipe, grid, cv=3, error_score="raise").fit(X, y)


def unsupervised():
    return GridSearchCV(
        make_sae(),
        {"n_components": [6, 12], "dtype": ["float32", "float64"]},
        scoring=sparsity_scorers(),
        refit=refit_sparsest(),
        cv=3,
        error_score="raise",
    ).fit(X)


def outcome(search):
    """Return all that a search has found out, as bytes, but what a clock says."""
    numbers = {
        name: np.asarray(values, float).tobytes()
        for name, values in search.cv_results_.items()
        if name.startswith(("mean_test", "std_test", "split", "rank"))
    }
    model = search.best_estimator_
    sae, result = (
        (model["sae"], model.predict_proba(X))
        if isinstance(model, Pipeline)
        else (model, model.transform(X))
    )
    arrays = [*sae.coefs_, *sae.intercepts_, result]
    return search.best_params_, numbers, [array.tobytes() for array in arrays]


@pytest.fixture
def one_thread():
    """Sums of another number of threads round differently: here, the one that workers have."""
    import torch

    n_threads = torch.get_num_threads()
    with threadpool_limits(1):
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(n_threads)


SEARCHES = {"supervised": supervised, "unsupervised": unsupervised}


def assert_same_as_here(*options, **more):
    for run_search in SEARCHES.values():
        here = outcome(run_search())
        with parallel_config(*options, **more):
            assert outcome(run_search()) == here


def assert_one_thread_each():
    # Not a function of this file: where tests are is not on the path of ray's workers.
    for pools in Parallel()(delayed(threadpool_info)() for _ in range(4)):
        assert {pool["num_threads"] for pool in pools} == {1}


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_loky_finds_the_same_bits():
    assert_same_as_here("loky", n_jobs=2, inner_max_num_threads=1)


@pytest.mark.usefixtures("one_thread")
def test_threads_find_the_same_bits():
    assert_same_as_here("threading", n_jobs=2)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_dask_finds_the_same_bits():
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster):
        assert_same_as_here("dask")
        with parallel_config("dask"):
            assert_one_thread_each()


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread", "private_ray")
def test_ray_finds_the_same_bits():
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        register_ray()
        assert_same_as_here("ray", n_jobs=2)
        with parallel_config("ray", n_jobs=2):
            assert_one_thread_each()
    finally:
        ray.shutdown()


def test_a_union_codes_in_parallel_as_one_by_one():
    parts = [("small", make_sae(n_components=3)), ("large", make_sae(n_components=5))]
    one_by_one = FeatureUnion(parts).fit(X).transform(X)
    with parallel_config("threading"):
        parallel = FeatureUnion(parts, n_jobs=2).fit(X).transform(X)
    np.testing.assert_array_equal(parallel, one_by_one)


# What a worker does first.


def n_threads_here():
    import torch

    return torch.get_num_threads()


class CountImports:
    """A finder that finds nothing and counts how often torch is looked for."""

    n_torch = 0

    def find_spec(self, name, path=None, target=None):
        CountImports.n_torch += name == "torch"


class Witness(TransformerMixin, BaseEstimator):
    """A first step that passes rows on and notes what was imported when it came."""

    def fit(self, X, y=None):
        self.torch_was_there_ = "torch" in sys.modules
        if not any(isinstance(finder, CountImports) for finder in sys.meta_path):
            sys.meta_path.insert(0, CountImports())
        return self

    def transform(self, X):
        return X


def report(estimator, X, y=None):
    """A scorer of the process in which an estimator was fitted."""
    return {
        "pid": os.getpid(),
        "torch_was_there": estimator[0].torch_was_there_,
        "torch_imports": CountImports.n_torch,
        "n_threads": n_threads_here(),
    }


def fits_by_worker(search):
    """Return for each worker what its fits report: was torch there, imports of it, threads."""
    workers = {}
    for fold in range(search.n_splits_):
        names = ("pid", "torch_was_there", "torch_imports", "n_threads")
        columns = [search.cv_results_[f"split{fold}_test_{name}"] for name in names]
        for pid, *facts in zip(*columns, strict=True):
            workers.setdefault(pid, []).append(tuple(facts))
    return workers


@pytest.fixture
def fresh_workers(monkeypatch):
    """Have loky start new workers, with the environment of one who has set nothing."""
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    get_reusable_executor(reuse=True).shutdown(wait=True)
    yield
    get_reusable_executor(reuse=True).shutdown(wait=True)


def search_with_witness():
    pipe = Pipeline([("witness", Witness()), ("sae", make_sae())])
    grid = {"sae__rho": np.linspace(0.05, 0.5, 6)}
    return GridSearchCV(pipe, grid, scoring=report, refit=False, cv=2, n_jobs=2).fit(X)


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_workers")
def test_a_worker_imports_torch_once_at_its_first_fit_and_has_its_share_of_the_cores():
    share = max(joblib.cpu_count() // 2, 1)
    cold = fits_by_worker(search_with_witness())
    assert os.getpid() not in cold
    assert 1 <= len(cold) <= 2
    first, later = (0.0, 1.0, share), (1.0, 1.0, share)
    for fits in cold.values():
        assert sorted(fits) == [first] + [later] * (len(fits) - 1)
    warm = fits_by_worker(search_with_witness())
    for pid, fits in warm.items():
        if pid in cold:
            assert set(fits) == {later}
    assert set(warm) & set(cold)


def what_unpickling_imports(pickled):
    """Return whether torch was there before a model came, after it, and after it was used."""
    there = ["torch" in sys.modules]
    model = pickle.loads(pickled)
    repr(model)
    model.get_params()
    model.get_feature_names_out()
    there.append("torch" in sys.modules)
    codes = model.transform(X)
    there.append("torch" in sys.modules)
    return there, codes


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_workers", "one_thread")
def test_a_worker_that_unpickles_a_model_imports_torch_only_to_use_it():
    model = make_sae().fit(X)
    with parallel_config("loky", n_jobs=2):
        ((there, codes),) = Parallel()([delayed(what_unpickling_imports)(pickle.dumps(model))])
    assert there == [False, False, True]
    np.testing.assert_array_equal(codes, model.transform(X))
