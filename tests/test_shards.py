"""Rows in many files: which files, every kind of them, indexing, and files that cannot be read."""

import json
import os
import pickle
import warnings

import hypothesis.extra.numpy as hnp
import joblib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sharded import KINDS, in_files, make_rows, skip_without_package, write_kind, write_npy
from sklearn.model_selection import KFold, train_test_split
from sklearn.utils import _safe_indexing

from sksae import ShardedRows, SparseAutoencoderTransformer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def rows():
    return make_rows()


def small(**params):
    return SparseAutoencoderTransformer(4, max_iter=2, tol=0.5, random_state=0, **params)


# Which files.


def test_files_of_a_pattern_and_of_a_folder_are_in_natural_order(tmp_path, rows):
    pattern = write_npy(tmp_path, rows, n_files=12)
    (tmp_path / ".hidden.npy").write_bytes(b"no rows")
    (tmp_path / "_SUCCESS.npy").write_bytes(b"no rows")
    (tmp_path / "notes.txt").write_text("no rows")
    for files in (pattern, str(pattern), tmp_path):
        X = ShardedRows.open(files)
        assert [os.path.basename(each) for each in X.files] == [f"part-{k}.npy" for k in range(12)]
        np.testing.assert_array_equal(X[:], rows)


def test_a_list_keeps_its_order_and_a_path_is_one_file(tmp_path, rows):
    write_npy(tmp_path, rows, n_files=3)
    one, two = tmp_path / "part-0.npy", str(tmp_path / "part-1.npy")
    X = ShardedRows.open([two, one])
    np.testing.assert_array_equal(X[:], np.concatenate([rows[200:400], rows[:200]]))
    assert repr(ShardedRows.open(one)) == "ShardedRows(1 file, shape=(200, 6), dtype=float32)"


def test_a_name_with_magic_characters_is_a_file_where_there_is_one(tmp_path, rows):
    np.save(tmp_path / "rows[1].npy", rows)
    assert len(ShardedRows.open(tmp_path / "rows[1].npy")) == len(rows)


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ("nothing/*.npy", FileNotFoundError, "matches the pattern"),
        ("nothing.npy", FileNotFoundError, "no file .*nothing.npy"),
        (".", FileNotFoundError, "has no file that ends in"),
        ([], ValueError, "empty list"),
        ([3], TypeError, "got int"),
        (3, TypeError, "got int"),
        ("a.csv", ValueError, "must end in .npy, .parquet, .safetensors"),
    ],
)
def test_files_that_are_none_are_refused(files, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(error, match=message):
        ShardedRows.open(files)


def test_a_folder_with_files_of_two_kinds_is_refused(tmp_path, rows):
    write_npy(tmp_path, rows)
    (tmp_path / "y.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match=r"one kind.* got .npy, .parquet"):
        ShardedRows.open(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ["a"]}, "columns has no effect"),
        ({"tensor": "a"}, "tensor has no effect"),
        ({"buffer_bytes": 0}, "buffer_bytes must be at least 1"),
        ({"buffer_bytes": 1.5}, "buffer_bytes must be an int"),
        ({"buffer_bytes": True}, "buffer_bytes must be an int"),
    ],
)
def test_options_without_a_meaning_are_refused(options, message, tmp_path, rows):
    with pytest.raises((TypeError, ValueError), match=message):
        in_files(tmp_path, rows, **options)


# Every kind of file.


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_rows_of_the_array(kind, tmp_path, rows):
    skip_without_package(kind, pytest)
    X = ShardedRows.open(write_kind(kind, tmp_path, rows), buffer_bytes=6000)
    assert X.shape == rows.shape
    assert X.dtype == rows.dtype
    assert (X.ndim, X.size, X.nbytes, len(X)) == (2, rows.size, rows.nbytes, len(rows))
    np.testing.assert_array_equal(X[:], rows)
    some = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_array_equal(X[some], rows[some])
    np.testing.assert_array_equal(X[170:231], rows[170:231])
    np.testing.assert_array_equal(np.asarray(X), rows)
    assert small().fit(X).score(X) == pytest.approx(small().fit(rows).score(rows), abs=0.05)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u2", "i8", "?", ">f4", ">i4"])
@pytest.mark.parametrize("kind", ["npy", "npy by column"])
def test_every_dtype_is_read_in_the_byte_order_of_the_machine(kind, dtype, tmp_path):
    rows = (100 * make_rows(60)).astype(dtype)
    X = ShardedRows.open(write_kind(kind, tmp_path, rows))
    assert X.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(X[:], rows)


def test_bfloat16_of_safetensors_is_read_as_float32(tmp_path):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    tensor = torch.randn(50, 4).to(torch.bfloat16)
    safetensors.save_file({"a": tensor}, tmp_path / "a.safetensors")
    X = ShardedRows.open(tmp_path)
    assert X.dtype == np.float32
    np.testing.assert_array_equal(X[:], tensor.float().numpy())


def test_one_of_several_tensors_is_named(tmp_path, rows):
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file({"a": rows, "b": rows + 1}, tmp_path / "two.safetensors")
    np.testing.assert_array_equal(ShardedRows.open(tmp_path, tensor="b")[:], rows + 1)
    with pytest.raises(ValueError, match=r"several tensors.*'a', 'b'"):
        ShardedRows.open(tmp_path)
    with pytest.raises(ValueError, match=r"no tensor 'c'.*'a', 'b'"):
        ShardedRows.open(tmp_path, tensor="c")


def test_columns_of_parquet_are_chosen_by_name_in_the_order_given(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table({"id": ["a", "b"], "x": [1.0, None], "n": [3, 4], "e": [[1.0, 2.0]] * 2})
    parquet.write_table(table, tmp_path / "t.parquet")
    X = ShardedRows.open(tmp_path, columns=["n", "x"])
    np.testing.assert_array_equal(X[:], [[3.0, 1.0], [4.0, np.nan]])
    assert ShardedRows.open(tmp_path, columns="e").shape == (2, 2)
    with pytest.raises(ValueError, match=r"'id' of type (large_)?string"):
        ShardedRows.open(tmp_path)
    with pytest.raises(ValueError, match=r"no column 'z'.*'id', 'x', 'n', 'e'"):
        ShardedRows.open(tmp_path, columns=["z"])
    with pytest.raises(ValueError, match="'e' of type"):
        ShardedRows.open(tmp_path, columns=["e", "x"])
    with pytest.raises(ValueError, match="at least"):
        ShardedRows.open(tmp_path, columns=[])


def test_the_index_of_pandas_is_no_column_of_parquet_unless_it_is_named(tmp_path):
    pd, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [4.0, 5.0, 6.0]}, index=[7.5, 8.5, 9.5])
    frame.to_parquet(tmp_path / "unnamed.parquet")
    frame.rename_axis("time").to_parquet(tmp_path / "named.parquet")
    frame.reset_index(drop=True).to_parquet(tmp_path / "range.parquet")
    X = ShardedRows.open(tmp_path)
    np.testing.assert_array_equal(X[:], np.tile(frame, (3, 1)))
    named = ShardedRows.open(tmp_path / "named.parquet", columns=["y", "time"])
    np.testing.assert_array_equal(named[:], np.column_stack([frame["y"], frame.index]))
    frame[[]].to_parquet(tmp_path / "nothing.parquet")
    with pytest.raises(ValueError, match=r"nothing.parquet' has no column"):
        ShardedRows.open(tmp_path / "nothing.parquet")


def test_parquet_of_other_names_or_in_another_order_is_no_part_of_the_same_rows(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    first = pa.table({"x": [1.0], "y": [2.0]})
    parquet.write_table(first, tmp_path / "0.parquet")
    for other in (first.select(["y", "x"]), first.rename_columns(["x", "z"])):
        parquet.write_table(other, tmp_path / "1.parquet")
        with pytest.raises(ValueError, match=r"1.parquet' has the column '[yz]' where .*0.parq"):
            ShardedRows.open(tmp_path)
    parquet.write_table(first.select(["y", "x"]), tmp_path / "1.parquet")
    X = ShardedRows.open(tmp_path, columns=["x", "y"])
    np.testing.assert_array_equal(X[:], [[1.0, 2.0], [1.0, 2.0]])


def test_metadata_of_pandas_that_say_nothing_are_passed_over(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for k, text in enumerate((b"{", b"[]", b'{"index_columns": 3}')):
        table = pa.table({"x": [1.0]}).replace_schema_metadata({b"pandas": text})
        parquet.write_table(table, tmp_path / f"{k}.parquet")
    assert ShardedRows.open(tmp_path).shape == (3, 1)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([[1.0, 2.0], [3.0]], "row 1 of .*t.parquet' has a list of 1"),
        ([[1.0, 2.0], None], "row 1 of .*t.parquet' has no list"),
        ([[1, 2], [3, None]], "has missing values"),
    ],
)
def test_lists_that_are_no_matrix_are_named_before_training(column, message, tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({"e": column}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=message):
        small().fit(ShardedRows.open(tmp_path))


def test_a_row_group_larger_than_the_buffer_is_told_of_and_read(tmp_path, rows):
    skip_without_package("parquet", pytest)
    pattern = write_kind("parquet", tmp_path, rows)
    with pytest.warns(UserWarning, match=r"row groups take up to .*row_group_size"):
        X = ShardedRows.open(pattern, buffer_bytes=50)
    np.testing.assert_array_equal(X[:], rows)
    order = X.visiting_order(np.random.default_rng(0))[:]
    np.testing.assert_array_equal(np.sort(order), np.arange(len(rows)))


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"sksae\[parquet\]"):
        ShardedRows.open(tmp_path)


def test_files_of_two_precisions_are_read_in_the_higher(tmp_path, rows):
    np.save(tmp_path / "a.npy", rows.astype(np.float16))
    np.save(tmp_path / "b.npy", rows.astype(np.float64))
    X = ShardedRows.open(tmp_path)
    assert X.dtype == np.float64
    both = np.concatenate([rows.astype(np.float16).astype(np.float64), rows])
    np.testing.assert_array_equal(X[:], both)
    np.testing.assert_array_equal(X[[3, 900, 5]], both[[3, 900, 5]])


# Indexing, against an array.

KEYS = st.one_of(
    hnp.basic_indices((41,), max_dims=1, allow_ellipsis=False, allow_newaxis=False),
    st.lists(st.integers(-41, 40), max_size=60),
    hnp.arrays(np.int64, st.integers(0, 60), elements=st.integers(-41, 40)),
    hnp.arrays(np.bool_, 41),
)
ROWS = np.arange(82.0).reshape(41, 2)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    pattern = write_npy(folder, ROWS, 5)
    return [ShardedRows.open(pattern, buffer_bytes=n) for n in (16, 500, 2**20)]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=KEYS, before=KEYS, which=st.integers(0, 2))
def test_an_index_gives_the_rows_of_an_array(key, before, which, opened):
    key = key[0] if isinstance(key, tuple) and key else key
    key = slice(None) if isinstance(key, tuple) else key
    as_index = np.asarray(key, dtype=np.int64) if isinstance(key, list) else key
    X = opened[which]
    np.testing.assert_array_equal(X[key], ROWS[as_index])
    if not isinstance(key, int):
        lazy = X[key, ...]
        assert isinstance(lazy, ShardedRows)
        np.testing.assert_array_equal(lazy[:], ROWS[as_index])
        # Rows of rows.
        part = lazy[::-2, ...]
        np.testing.assert_array_equal(part[:], ROWS[as_index][::-2])
        np.testing.assert_array_equal(part[1:5], ROWS[as_index][::-2][1:5])
        np.testing.assert_array_equal(list(lazy), list(ROWS[as_index]))


@pytest.mark.parametrize(
    "key", [41, -42, [0, 41], np.ones(40, bool), [[0], [1]], "x", 1.5, [0.5], None, (0, 1, 2)]
)
def test_an_index_that_names_no_rows_is_refused(key, opened):
    with pytest.raises(IndexError):
        opened[0][key]


def test_columns_are_read_of_all_rows(opened):
    for X in opened:
        np.testing.assert_array_equal(X[:, 1], ROWS[:, 1])
        np.testing.assert_array_equal(X[5:20, [1, 0]], ROWS[5:20, [1, 0]])
        np.testing.assert_array_equal(X[0, ...], ROWS[0])
        np.testing.assert_array_equal(np.asarray(X, dtype=np.float32), ROWS)
        with pytest.raises(IndexError, match="read rows first"):
            X[[1, 2], [0, 1]]
        with pytest.raises(ValueError, match="always a copy"):
            np.asarray(X, copy=False)


def test_splits_of_scikit_learn_stay_in_files(opened):
    X = opened[0]
    for part, expected in zip(
        train_test_split(X, random_state=0), train_test_split(ROWS, random_state=0), strict=True
    ):
        assert isinstance(part, ShardedRows)
        np.testing.assert_array_equal(part[:], expected)
    for _, test in KFold(3, shuffle=True, random_state=0).split(X):
        np.testing.assert_array_equal(_safe_indexing(X, test)[:], ROWS[test])
    np.testing.assert_array_equal(_safe_indexing(X, [1], axis=1), ROWS[:, [1]])


@pytest.mark.parametrize("size", [1, 2, 5, 7, 41])
def test_shares_are_all_rows_in_order_and_equal_to_one(size, opened):
    shares = [opened[1].share(rank, size) for rank in range(size)]
    np.testing.assert_array_equal(np.concatenate([each[:] for each in shares]), ROWS)
    lengths = [len(each) for each in shares]
    assert max(lengths) - min(lengths) <= 1


def test_shares_are_whole_files_where_files_are_alike(tmp_path, rows):
    X = in_files(tmp_path, rows, n_files=6)
    np.testing.assert_array_equal(X.share(1, 3)[:], rows[200:400])  # the third and the fourth


@pytest.mark.parametrize(("rank", "size"), [(-1, 2), (2, 2), (0, 0), (0, 42)])
def test_a_share_that_is_none_is_refused(rank, size, opened):
    with pytest.raises(ValueError, match=r"(rank|size) must be"):
        opened[0].share(rank, size)


@pytest.mark.parametrize("given", [("0", 2), (0, "2"), (0.0, 2)])
def test_numbers_of_processes_that_are_texts_are_refused(given, opened):
    with pytest.raises(TypeError, match=r"must be an int, got .*: use int"):
        opened[0].share(*given)


def test_a_pickle_has_paths_and_no_rows(tmp_path, rows, monkeypatch):
    X = in_files(tmp_path, np.tile(rows, (50, 1)))
    X[np.arange(0, len(X), 7)]
    text = pickle.dumps(X)
    assert len(text) < 10_000 < X.nbytes
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(pickle.loads(text)[:], X[:])
    # The same data by whatever was read of them before.
    before = joblib.hash(X)
    small().fit(X)
    assert joblib.hash(X) == before


# Files that cannot be read: each is named before training.


def spoil(path, what):
    """Make a file of rows into one that cannot be used."""
    rows = np.load(path)
    if what == "truncated":
        path.write_bytes(path.read_bytes()[:-5])
    elif what == "cut in its header":
        path.write_bytes(path.read_bytes()[:60])
    elif what == "of another format":
        path.write_bytes(b"PK" + path.read_bytes())
    elif what == "without bytes":
        path.write_bytes(b"")
    elif what == "of objects":
        np.save(path, rows.astype(object), allow_pickle=True)
    else:
        spoiled = {
            "without rows": rows[:0],
            "without columns": rows[:, :0],
            "of one dimension": rows[:, 0],
            "of three dimensions": rows[None],
            "of other columns": rows[:, 1:],
            "of integers": rows.astype(int),
            "of complex numbers": rows.astype(complex),
            "of text": rows.astype(str),
            "of fields": np.zeros(3, [("a", "f4"), ("ß", "f4")]),
        }
        np.save(path, spoiled[what])


@pytest.mark.parametrize(
    "what",
    [
        "truncated",
        "cut in its header",
        "of another format",
        "without bytes",
        "of objects",
        "without rows",
        "without columns",
        "of one dimension",
        "of three dimensions",
        "of other columns",
        "of integers",
        "of complex numbers",
        "of text",
        "of fields",
    ],
)
def test_a_bad_npy_file_is_named_when_files_are_opened(what, tmp_path, rows):
    pattern = write_npy(tmp_path, rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # numpy's about version 3
        spoil(tmp_path / "part-4.npy", what)
    with pytest.raises(ValueError, match=r"part-4\.npy"):
        ShardedRows.open(pattern)


def header_of(entry):
    text = json.dumps(entry).encode()
    return len(text).to_bytes(8, "little") + text


GOOD = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x05",
        (2**60).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"{x",
        header_of({}),
        header_of({"a": 3}),
        header_of({"a": GOOD}) + bytes(15),
        header_of({"a": GOOD | {"dtype": "F8_E4M3"}}) + bytes(16),
        header_of({"a": GOOD | {"shape": [2, 3]}}) + bytes(16),
        header_of({"a": GOOD | {"shape": [-2, -2]}}) + bytes(16),
        header_of({"a": GOOD | {"shape": [4]}}) + bytes(16),
        header_of({"a": GOOD | {"data_offsets": [-16, 0]}}) + bytes(16),
        header_of({"a": GOOD | {"data_offsets": ["a", "b"]}}) + bytes(16),
    ],
)
def test_a_bad_safetensors_file_is_named_when_files_are_opened(content, tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.safetensors"):
        ShardedRows.open(path)
    path.write_bytes(header_of({"a": GOOD}) + bytes(16))
    np.testing.assert_array_equal(ShardedRows.open(path)[:], np.zeros((2, 2)))


@pytest.mark.parametrize("what", ["truncated", "empty", "noise", "damaged inside"])
def test_a_bad_parquet_file_is_named_before_training(what, tmp_path, rows):
    skip_without_package("parquet", pytest)
    pattern = write_kind("parquet", tmp_path, rows)
    path = tmp_path / "part-1.parquet"
    content = path.read_bytes()
    if what == "damaged inside":
        path.write_bytes(content[:4] + bytes(400) + content[404:])
    else:
        path.write_bytes({"truncated": content[:-9], "empty": b"", "noise": bytes(400)}[what])
    with pytest.raises(ValueError, match=r"part-1\.parquet"):
        small().fit(ShardedRows.open(pattern))


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (-np.inf, "infinity")])
@pytest.mark.parametrize("kind", KINDS[:4])
def test_a_row_that_is_not_finite_is_named_with_its_file(kind, value, name, tmp_path, rows):
    skip_without_package(kind, pytest)
    rows[417, 2] = value
    X = ShardedRows.open(write_kind(kind, tmp_path, rows))
    message = rf"contains {name} in row 17, column 2 of '.*part-2\.{kind.split()[0]}'"
    good = small().fit(rows[:400])
    for call in (small().fit, small().partial_fit, good.transform, good.score, good.score_samples):
        with pytest.raises(ValueError, match=message):
            call(X)
    assert not hasattr(small(), "coefs_")
    # Rows beside it may be used.
    assert good.score(X[:400, ...]) == good.score(rows[:400])
    chosen = np.delete(np.arange(len(rows)), 417)[::-1]
    assert good.score(X[chosen, ...]) == pytest.approx(good.score(rows[chosen]), rel=1e-6)
    with pytest.raises(ValueError, match=message):
        good.score(X[[3, 417], ...])


def test_extreme_rows_are_finite(tmp_path, rows):
    large = rows.astype(np.float64) * 1e308
    X = in_files(tmp_path, large)
    np.testing.assert_array_equal(small().fit(X).transform(X), small().fit(large).transform(large))


def test_a_file_of_zeros_is_a_file(tmp_path, rows):
    rows[:100] = 0
    X = in_files(tmp_path, rows, n_files=6)
    np.testing.assert_array_equal(small().fit(X).coefs_[0], small().fit(rows).coefs_[0])


@pytest.mark.parametrize("kind", ["npy", "safetensors", "parquet"])
def test_a_file_that_goes_or_changes_is_named_before_training(kind, tmp_path, rows):
    skip_without_package(kind, pytest)
    X = ShardedRows.open(write_kind(kind, tmp_path, rows))
    small().fit(X)  # it was good before
    path = tmp_path / f"part-1.{kind}"
    content, model = path.read_bytes(), small()
    path.write_bytes(content)
    os.utime(path, ns=(0, 0))
    with pytest.raises(ValueError, match=rf"part-1\.{kind}' was changed since"):
        model.fit(X)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"part-1\.{kind}' has gone since"):
        model.fit(X)
    assert not hasattr(model, "coefs_")


def test_no_row_is_too_few(tmp_path, rows):
    none = in_files(tmp_path, rows)[[], ...]
    assert none.shape == (0, 6)
    with pytest.raises(ValueError, match="X holds no row"):
        small().fit(none)
    with pytest.raises(ValueError, match="features"):
        small().fit(rows[:, :3]).transform(in_files(tmp_path, rows))
