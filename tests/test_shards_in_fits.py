"""Rows in files as X of estimators, metrics, searches: as the array, and read in windows."""

import os
from pathlib import Path

import numpy as np
import pytest
from sharded import in_files, make_rows, skip_without_package, write_kind
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from sksae import (
    Checkpoint,
    ShardedRows,
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
    metrics,
)
from sksae.base.fit_identity import checksum_of
from sksae.base.shards import raw
from sksae.base.shards.parquet import ParquetShard
from sksae.engine import batches
from sksae.metrics import explained_variance
from sksae.model_selection import BatchedGridSearchCV

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL_BUFFER = 6000  # of 600 rows of 24 bytes


@pytest.fixture(scope="module")
def rows():
    return make_rows()


@pytest.fixture(scope="module")
def y(rows):
    return (rows[:, 0] > np.median(rows[:, 0])).astype(int)


@pytest.fixture
def X(tmp_path, rows):
    return in_files(tmp_path, rows)


@pytest.fixture
def buffered(tmp_path, rows, monkeypatch):
    """Rows of which neither all fit into the buffer nor a prepared copy is kept."""
    monkeypatch.setattr(batches, "RESIDENT_BYTES", 0)
    return in_files(tmp_path, rows, buffer_bytes=SMALL_BUFFER)


def sae(**params):
    given = {"max_iter": 3, "batch_size": 50, "random_state": 0} | params
    return SparseAutoencoderTransformer(4, **given)


def assert_same(one, other):
    for name, value in vars(one).items():
        if name.endswith("_"):
            found = getattr(other, name)
            several = isinstance(value, list)
            for a, b in zip(value, found, strict=True) if several else [(value, found)]:
                np.testing.assert_array_equal(a, b, err_msg=name)


# The same as the array.

WAYS = {
    "adam": {},
    "in order": {"shuffle": False},
    "lbfgs": {"solver": "lbfgs"},
    "early stopping": {"early_stopping": True},
    "auto": {"beta": "auto"},
    "topk": {"sparsity": "topk", "rho": 2},
    "noise": {"noise": "gaussian"},
    "cross entropy": {"loss": "cross_entropy", "scale_data": False},
    "sigmoid output": {"output_activation": "sigmoid", "scale_data": False},
    "float64": {"dtype": "float64"},
}


@pytest.mark.parametrize("name", WAYS)
def test_a_fit_is_that_of_the_array_to_the_bit(name, X, rows):
    scaled = "scale_data" in WAYS[name]
    rows = rows / rows.max() if scaled else rows
    if scaled:
        X = in_files(Path(X.files[0]).parent, rows)
    one, other = sae(**WAYS[name]).fit(rows), sae(**WAYS[name]).fit(X)
    assert_same(one, other)
    np.testing.assert_array_equal(one.transform(rows), other.transform(X))
    np.testing.assert_array_equal(one.score_samples(rows), other.score_samples(X))
    assert one.score(rows) == other.score(X)


@pytest.mark.parametrize("params", [{"shuffle": False}, {"solver": "lbfgs"}], ids=str)
def test_what_is_not_shuffled_is_that_of_the_array_whatever_the_buffer(params, buffered, rows):
    assert_same(sae(**params).fit(rows), sae(**params).fit(buffered))


@pytest.mark.parametrize("dtype", [np.float16, np.uint8, np.bool_])
def test_other_numbers_are_read_as_those_of_arrays(dtype, tmp_path, rows):
    rows = (3 * rows).astype(dtype)
    X = in_files(tmp_path, rows)
    assert_same(sae().fit(rows), sae().fit(X))
    np.testing.assert_array_equal(sae().fit_transform(rows), sae().fit_transform(X))


def test_weights_and_pieces_are_those_of_the_array(X, rows):
    weight = np.random.default_rng(0).integers(0, 3, len(rows))
    assert_same(sae().fit(rows, sample_weight=weight), sae().fit(X, sample_weight=weight))
    one, other = sae(), sae()
    for start in range(0, len(rows), 200):
        which = slice(start, start + 200)
        one.partial_fit(rows[which])
        other.partial_fit(X[which, ...])
    assert_same(one, other)


def test_sparse_codes_are_those_of_the_array(X, rows):
    model = sae(sparsity="topk", rho=2, sparse_output=True).fit(X)
    assert (model.transform(X) != model.transform(rows)).nnz == 0


@pytest.mark.parametrize("algorithm", ["refit", "omp"])
def test_pursuit_is_that_of_the_array(algorithm, X, rows):
    model = sae(sparsity="topk", rho=2, transform_algorithm=algorithm)
    model.set_params(transform_n_active=2 if algorithm == "omp" else None).fit(rows)
    np.testing.assert_array_equal(model.transform(X), model.transform(rows))


@pytest.mark.parametrize("n_rows", [1, 20, 600])
def test_few_rows_have_the_codes_of_the_array(n_rows, X, rows):
    model = sae().fit(rows)
    codes = model.transform(X[:n_rows, ...])
    np.testing.assert_allclose(codes, model.transform(rows[:n_rows]), rtol=1e-5)


def test_stacks_and_what_is_on_top_are_those_of_the_array(X, rows, y):
    members = [("a", sae()), ("b", sae())]
    one = StackedSparseAutoencoder(members, random_state=0, max_iter=2).fit(rows)
    other = StackedSparseAutoencoder(members, random_state=0, max_iter=2).fit(X)
    np.testing.assert_array_equal(one.transform(rows), other.transform(X))
    assert one.score(rows) == other.score(X)
    for cls in (SparseAutoencoderClassifier, SparseAutoencoderRegressor):
        one = cls(members, random_state=0, max_iter=2).fit(rows, y)
        other = cls(members, random_state=0, max_iter=2).fit(X, y)
        np.testing.assert_array_equal(one.predict(rows), other.predict(X))
        assert one.score(rows, y) == other.score(X, y)
    pipe = make_pipeline(sae(), LogisticRegression()).fit(X, y)
    np.testing.assert_array_equal(pipe.predict(X), pipe.predict(rows))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        SparseAutoencoderClassifier(members).fit(X, y[:-1])


def test_the_far_value_of_a_file_is_told_of_as_in_an_array(tmp_path, rows):
    far = rows.copy()
    far[450, 3] = -9999
    for given in (far, in_files(tmp_path, far)):
        with pytest.warns(UserWarning, match="-9999 in column 3"):
            sae().fit(given)


# Codes in files.


def test_codes_go_to_files_and_are_rows_themselves(X, rows, tmp_path):
    model = sae().fit(rows)
    codes = X.map_to(tmp_path / "codes", model.transform)
    names = [os.path.basename(each) for each in codes.files]
    assert names == [f"0000{k}-part-{k}.npy" for k in range(7)]
    np.testing.assert_allclose(codes[:], model.transform(rows), rtol=1e-5, atol=1e-7)
    assert np.load(codes.files[2]).shape == (86, 4)
    back = codes.map_to(tmp_path / "back", model.inverse_transform)
    np.testing.assert_allclose(back[:], model.inverse_transform(codes[:]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.inverse_transform(codes), back[:], rtol=1e-5, atol=1e-6)
    assert explained_variance(X, back) == pytest.approx(model.score(X), rel=1e-5)
    with pytest.raises(ValueError, match="inverse_transform expects codes of"):
        model.inverse_transform(X)


def test_rows_in_another_order_go_to_as_many_files(X, rows, tmp_path):
    order = np.random.default_rng(0).permutation(len(rows))
    twice = X[order, ...].map_to(tmp_path / "a", lambda part: 2 * part)
    np.testing.assert_array_equal(twice[:], 2 * rows[order])
    assert len(twice.files) == 7
    kept = X[100:300:2, ...].map_to(tmp_path / "b", lambda part: part)
    np.testing.assert_array_equal(kept[:], rows[100:300:2])
    with pytest.raises(ValueError, match="no rows"):
        X[:0, ...].map_to(tmp_path / "c", lambda part: part)


def fail_late():
    calls = []

    def function(part):
        calls.append(part)
        if len(calls) == 5:
            raise RuntimeError("no more")
        return part

    return function


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (fail_late(), "no more"),
        (lambda part: part[1:], "one row for each"),
        (lambda part: part[:, 0], "two-dimensional"),
        (lambda part: part.astype(str), "of numbers"),
        (lambda part: part[:, : 3 + (len(part) == 85)], "same number of columns"),
        (lambda part: __import__("scipy.sparse").sparse.csr_array(part), "sparse matrix"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(function, message, X, tmp_path):
    for folder in (tmp_path / "new", tmp_path / "empty"):
        if folder.name == "empty":
            folder.mkdir()
        with pytest.raises((RuntimeError, TypeError, ValueError)) as caught:
            X.map_to(folder, function if message != "no more" else fail_late())
        assert message in str(caught.value)
        assert folder.exists() == (folder.name == "empty")
        assert not folder.exists() or not list(folder.iterdir())


def test_a_folder_with_files_is_not_written_to(X, tmp_path):
    with pytest.raises(FileExistsError, match="must be new or empty"):
        X.map_to(tmp_path, lambda part: part)
    assert len(list(tmp_path.iterdir())) == 7


@pytest.mark.parametrize(
    "name",
    [
        "l0",
        "mean_activation",
        "dead_units",
        "dead_fraction",
        "feature_density",
        "hoyer_sparsity",
        "treves_rolls_sparseness",
        "kl_sparsity",
    ],
)
def test_metrics_of_codes_in_files_are_those_of_the_array(name, tmp_path, rows, monkeypatch):
    monkeypatch.setattr("sksae.metrics.reductions.CHUNK_ENTRIES", 500)
    codes = np.maximum(rows - 0.6, 0.0)
    options = {"rho": 0.1} if name == "kl_sparsity" else {}
    function = getattr(metrics, name)
    found = function(in_files(tmp_path, codes), **options)
    np.testing.assert_allclose(found, function(codes, **options), rtol=1e-6)


def test_active_units_of_codes_in_files_are_those_of_the_array(X, rows, tmp_path):
    model = sae(sparsity="topk", rho=2).fit(rows)
    codes = X.map_to(tmp_path / "codes", model.transform)
    np.testing.assert_array_equal(
        metrics.is_active(codes, model), metrics.is_active(codes[:], model)
    )


# Searches and checkpoints.


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_searches_are_those_of_the_array(n_jobs, X, rows, y):
    grid = {"rho": [0.1, 0.3]}
    one, other = (GridSearchCV(sae(), grid, cv=2, n_jobs=n_jobs).fit(each) for each in (rows, X))
    np.testing.assert_array_equal(
        one.cv_results_["mean_test_score"], other.cv_results_["mean_test_score"]
    )
    classifier = SparseAutoencoderClassifier([("a", sae())], max_iter=2, random_state=0)
    scores = [cross_val_score(classifier, each, y, cv=2, n_jobs=n_jobs) for each in (rows, X)]
    np.testing.assert_array_equal(*scores)


def test_a_batched_search_is_that_of_the_array(X, rows, y):
    pipe, grid = make_pipeline(sae(), LogisticRegression()), {}
    grid["sparseautoencodertransformer__rho"] = [0.1, 0.3]
    one, other = (BatchedGridSearchCV(pipe, grid, cv=2).fit(each, y) for each in (rows, X))
    np.testing.assert_array_equal(
        one.cv_results_["mean_test_score"], other.cv_results_["mean_test_score"]
    )


def test_rows_in_files_are_told_apart_as_arrays_are(X, rows, tmp_path):
    assert checksum_of(X) == checksum_of(rows)
    assert checksum_of(X[1:, ...]) == checksum_of(rows[1:])
    assert checksum_of(X[1:, ...]) != checksum_of(rows[:-1])


def test_an_interrupted_fit_on_files_is_resumed_to_the_bit(buffered, tmp_path):
    path = tmp_path / "fit.ckpt"
    whole = sae(max_iter=6).fit(buffered)

    read, n_read = buffered._store.take, [0]

    def take(wanted):
        n_read[0] += 1
        if n_read[0] == 30:  # in the third epoch of 12 minibatches
            raise OSError("the disk is gone")
        return read(wanted)

    buffered._store.take = take
    with pytest.raises(OSError, match="the disk is gone"):
        sae(max_iter=6).set_callbacks(Checkpoint(path)).fit(buffered)
    del buffered._store.take
    resumed = sae(max_iter=6).set_callbacks(Checkpoint(path)).fit(buffered)
    assert_same(whole, resumed)


# The order, and what is read.


def test_an_epoch_visits_every_row_once_in_another_order_each_time(buffered):
    orders = [
        np.asarray(buffered.visiting_order(np.random.default_rng([3, epoch])))
        for epoch in (0, 0, 1)
    ]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(600))
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[1] != orders[2]).mean() > 0.9


@pytest.mark.parametrize("which", ["some", "shuffled", "repeated", "slice"])
def test_the_order_of_some_rows_is_one_of_their_positions(which, buffered):
    random = np.random.default_rng(0)
    index = {
        "some": np.arange(0, 600, 3),
        "shuffled": random.permutation(600)[:400],
        "repeated": random.integers(0, 600, 500),
        "slice": slice(50, 410),
    }[which]
    part = buffered[index, ...]
    order = part.visiting_order(np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(order[:]), np.arange(len(part)))
    counted = np.arange(1, len(part), 2)
    order = part.visiting_order(np.random.default_rng(0), counted)
    np.testing.assert_array_equal(np.sort(order[:]), np.arange(len(counted)))
    # Read in pieces it is the same.
    np.testing.assert_array_equal(
        np.concatenate([order[k : k + 7] for k in range(0, len(order), 7)]), order[:]
    )


def test_rows_that_follow_each_other_are_of_as_many_places_as_the_buffer_holds(tmp_path):
    rows = np.arange(64_000.0).reshape(-1, 1)
    X = in_files(tmp_path, rows, 16, buffer_bytes=64 * 1000)  # 8000 rows, blocks of 250
    order = np.asarray(X.visiting_order(np.random.default_rng(0)))
    for start in range(0, 64_000, 8000):
        blocks = np.unique(order[start : start + 8000] // 250)
        assert len(blocks) == 32
        # In each minibatch nearly all of them, from all over the files.
        assert len(np.unique(order[start : start + 256] // 250)) >= 28
        assert np.ptp(blocks) > 150


def test_a_shuffled_epoch_reads_each_block_once(buffered, monkeypatch):
    read = []
    original = raw.RawShard.read

    def watched(self, runs):
        read.extend((self.path.name, *run) for run in runs)
        return original(self, runs)

    monkeypatch.setattr(raw.RawShard, "read", watched)
    order = buffered.visiting_order(np.random.default_rng(5))
    for start in range(0, 600, 50):
        buffered[order[start : start + 50]]
    n_blocks = len(buffered._store.cuts) - 1
    assert n_blocks > 60
    assert set(read) >= {
        (shard.path.name, start, min(start + 7, shard.n_rows))
        for shard in buffered._store.shards
        for start in range(0, shard.n_rows, 7)
    }
    # A minibatch between two windows may read some twice.
    assert len(read) <= 1.2 * n_blocks


def test_a_shuffled_epoch_reads_each_row_group_once(tmp_path, rows, monkeypatch):
    skip_without_package("parquet", pytest)
    pattern = write_kind("parquet", tmp_path, rows, n_files=4)  # 3 groups of 50 rows each
    X = ShardedRows.open(pattern, buffer_bytes=100 * 24)
    n_read, original = [0], ParquetShard.read

    def watched(self, runs):
        n_read[0] += len(runs)
        return original(self, runs)

    monkeypatch.setattr(ParquetShard, "read", watched)
    order = X.visiting_order(np.random.default_rng(0))
    for start in range(0, 600, 20):
        X[order[start : start + 20]]
    assert 12 <= n_read[0] <= 14
    n_read[0], X = 0, ShardedRows.open(pattern, buffer_bytes=100 * 24)
    for start in range(0, 600, 7):
        X[start : start + 7]
    assert n_read[0] == 12


def test_the_buffer_keeps_no_more_than_it_may(buffered):
    store = buffered._store
    for _ in range(5):
        buffered[np.random.default_rng(0).permutation(600)]
        order = buffered.visiting_order(np.random.default_rng(0))
        for start in range(0, 600, 50):
            buffered[order[start : start + 50]]
            assert sum(found.nbytes for found, _ in store._blocks.values()) <= SMALL_BUFFER


def test_rows_from_anywhere_open_each_file_once(tmp_path, monkeypatch):
    rows = make_rows(6000)
    X = in_files(tmp_path, rows, 5, buffer_bytes=2400)
    opened, original = [], raw.RawShard.read

    def watched(self, runs):
        opened.append(self.path)
        return original(self, runs)

    monkeypatch.setattr(raw.RawShard, "read", watched)
    some = np.random.default_rng(0).integers(0, 6000, 256)
    np.testing.assert_array_equal(X[some], rows[some])
    assert len(opened) == len(set(opened)) == 5


def test_a_fit_in_windows_learns_as_much_as_one_in_any_order(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "RESIDENT_BYTES", 0)
    rows = np.sort(make_rows(4000), axis=0)  # sorted files, the worst for an order
    X = in_files(tmp_path, rows, 8, buffer_bytes=rows.nbytes // 10)
    one, other = (sae(max_iter=10).fit(each).score(rows) for each in (rows, X))
    in_order = sae(max_iter=10, shuffle=False).fit(rows).score(rows)
    assert other > in_order
    assert other == pytest.approx(one, abs=0.02)


def test_threads_read_side_by_side(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    skip_without_package("parquet", pytest)
    rows = make_rows(2000)
    X = ShardedRows.open(write_kind("parquet", tmp_path, rows), buffer_bytes=3000)

    def read(seed):
        some = np.random.default_rng(seed).integers(0, 2000, 100)
        return np.array_equal(X[some], rows[some]) and np.array_equal(
            X[seed : seed + 300], rows[seed : seed + 300]
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(60)))
