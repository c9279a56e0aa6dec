"""The report: one file that holds all it shows, complete or not there."""

import json
import os
import re
import sys
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.inspection import feature_table, report, top_samples
from sksae.inspection.page.contents import histogram
from sksae.inspection.page.rows_shown import RowsShown

pytestmark = pytest.mark.filterwarnings("ignore")

EVIL = "</script><script>alert('x')</script><img src=x onerror=alert(1)> & \"quoted\""


def data_of(path):
    """Return what the page's script reads."""
    page = path.read_text(encoding="utf-8")
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(found)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600], y[:600]


@pytest.fixture(scope="module")
def sae(digits):
    return SparseAutoencoderTransformer(20, max_iter=10, random_state=0).fit(digits[0])


@pytest.fixture(scope="module")
def page(sae, digits, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "digits.html"
    return report(sae, *digits, path=path, image_shape=(8, 8))


def test_it_holds_what_other_functions_say(page, sae, digits):
    X, y = digits
    data = data_of(page)
    assert [unit["unit"] for unit in data["units"]] == list(range(20))
    assert data["kind"] == "image"
    for unit in (0, 7):
        expected = top_samples(sae, X, unit, 8)
        found = data["units"][unit]["samples"]["top"]
        assert [row for row, _ in found] == expected.indices.tolist()
        np.testing.assert_allclose([value for _, value in found], expected.activations, rtol=1e-3)
        assert all(data["rows"][str(row)].startswith("data:image/png") for row, _ in found)
    table = feature_table(sae, X, y)
    cells = re.findall(r'<tr id="row-7">(.*?)</tr>', page.read_text(encoding="utf-8"), re.S)[0]
    values = [float(value) for value in re.findall(r'data-value="([^"]+)"', cells)]
    assert values[0] == 7
    for name in ("density", "largest_activation", "separation", "p_adjusted", "atom_norm"):
        assert table[name][7] in values


def test_a_picture_is_the_row(page, digits):
    import base64
    import io

    from PIL import Image

    data = data_of(page)
    row, source = next(iter(data["rows"].items()))
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))
    values = digits[0][int(row)].reshape(8, 8)
    assert pixels.shape == (8, 8)
    np.testing.assert_allclose(pixels, 255 * values / 16.0, atol=1.0)


def test_the_same_rows_give_the_same_file(page, sae, digits, tmp_path):
    again = report(sae, *digits, path=str(tmp_path / "again.html"), image_shape=(8, 8))
    assert again.read_bytes() == page.read_bytes()


def test_nothing_is_loaded_from_elsewhere(page):
    text = page.read_text(encoding="utf-8")
    head = text[: text.index('id="data"')]
    assert "default-src 'none'" in head
    for attribute in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert attribute.startswith(("#", "data:")), attribute
    assert "url(http" not in text
    assert "@import" not in text


def test_every_string_is_escaped(digits, tmp_path):
    X = pd.DataFrame(digits[0][:200, 20:26], columns=[f"{EVIL} {j}" for j in range(6)])
    y = np.where(digits[1][:200] < 5, EVIL, "<i>other</i>")
    model = SparseAutoencoderTransformer(5, max_iter=5, random_state=0).fit(X)
    path = report(model, X, y, path=tmp_path / "a.html", title=EVIL)
    text = path.read_text(encoding="utf-8")
    assert text.count("<script") == 2
    assert "<img src=x" not in text
    assert "<i>other" not in text
    data = data_of(path)
    assert data["class_names"] == sorted(["<i>other</i>", EVIL])
    assert set(data["units"][0]["atom"]["names"]) == set(X.columns)
    texts = [f"{EVIL} word{i % 3} text {i}" for i in range(200)]
    path = report(model, X, text=texts, path=tmp_path / "b.html")
    assert path.read_text(encoding="utf-8").count("<script") == 2
    assert set(data_of(path)["rows"].values()) <= set(texts)


def test_texts_have_words_and_marked_terms(tmp_path):
    texts = ["a cat sat", "the dog ran home", "cat and cat", "fish swim in the sea"] * 30
    pipe = make_pipeline(
        TfidfVectorizer(),
        SparseAutoencoderTransformer(4, sparsity="topk", rho=1, max_iter=60, random_state=0),
    ).fit(texts)
    data = data_of(report(pipe, texts, path=tmp_path / "texts.html"))
    assert data["kind"] == "text"
    assert set(data["rows"].values()) == set(texts)
    labels = [unit["label"] for unit in data["units"] if unit["label"]]
    assert labels
    assert all(
        unit["terms"] == unit["label"].split(", ") for unit in data["units"] if unit["label"]
    )


def test_tables_have_rules_and_what_is_special(tmp_path):
    X, y = load_wine(return_X_y=True, as_frame=True)
    pipe = make_pipeline(StandardScaler(), SparseAutoencoderTransformer(6, random_state=0)).fit(X)
    data = data_of(report(pipe, X, y, path=tmp_path / "wine.html"))
    assert data["kind"] == "table"
    row, shown = next(iter(data["rows"].items()))
    for part in shown.split(" · "):
        name, value = part.rsplit(" ", 1)
        assert float(value) == pytest.approx(X[name][int(row)], rel=1e-3)
    assert data["units"][0]["atom"]["kind"] == "bar"


def test_signals_are_lines(tmp_path):
    t = np.linspace(0.0, 6.0, 60)
    X = np.sin(np.random.default_rng(0).integers(1, 4, size=(80, 1)) * t)
    stack = StackedSparseAutoencoder([8, 4], max_iter=5, random_state=0).fit(X)
    path = report(stack, X, path=tmp_path / "signals.html")
    data = data_of(path)
    assert data["kind"] == "line"
    assert data["units"][0]["atom"]["kind"] == "line"
    line = next(iter(data["rows"].values()))
    assert line["low"] >= -1.0
    # Of a stack's atoms there are no norms.
    assert ">Norm<" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("container", [pd.DataFrame, sp.csr_array])
def test_containers_make_no_difference_to_units(sae, digits, container, page, tmp_path):
    path = report(
        sae, container(digits[0]), digits[1], path=tmp_path / "a.html", image_shape=(8, 8)
    )
    found, expected = data_of(path)["units"], data_of(page)["units"]
    assert [unit["samples"] for unit in found] == [unit["samples"] for unit in expected]


def test_a_classifier_has_a_report(digits, tmp_path):
    classifier = SparseAutoencoderClassifier([10, 6], max_iter=3, random_state=0).fit(*digits)
    text = report(classifier, *digits, path=tmp_path / "a.html").read_text(encoding="utf-8")
    assert "R² of the reconstruction" in text


def test_dead_units_and_one_of_a_kind_are_shown(digits, tmp_path):
    model = SparseAutoencoderTransformer(
        30, sparsity="topk", rho=1, max_iter=3, random_state=0
    ).fit(digits[0])
    few = digits[0][:8]
    data = data_of(report(model, few, path=tmp_path / "a.html"))
    densities = (model.transform(few) != 0.0).sum(axis=0)
    for unit, n_active in zip(data["units"], densities, strict=True):
        assert len(unit["samples"]["top"]) == n_active
        assert (unit["histogram"] is None) == (n_active == 0)


# --- what goes wrong -------------------------------------------------------------------------


def test_bad_input_is_named_and_nothing_is_written(sae, digits, tmp_path):
    X, y = digits
    path = tmp_path / "report.html"
    cases = {
        "image_shape": lambda: report(sae, X, path=path, image_shape=(7, 8)),
        "text": lambda: report(sae, X, path=path, text=["a"] * 5),
        "^y must": lambda: report(sae, X, y[:5], path=path),
        "feature_names": lambda: report(sae, X, path=path, feature_names=["a", "b"]),
        "'n_samples' parameter of report": lambda: report(sae, X, path=path, n_samples=0),
        "needs one row of X": lambda: report(sae, X[:0], path=path),
        "report needs a Sparse": lambda: report(StandardScaler(), X, path=path),
    }
    for message, call in cases.items():
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(NotFittedError):
        report(SparseAutoencoderTransformer(), X, path=path)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_written_is_refused_before_any_work(digits, tmp_path):
    nobody = SparseAutoencoderTransformer()  # whose fit is looked at later
    with pytest.raises(FileNotFoundError, match="make the folder"):
        report(nobody, digits[0], path=tmp_path / "none" / "a.html")
    with pytest.raises(IsADirectoryError, match="must name a file"):
        report(nobody, digits[0], path=tmp_path)


@pytest.mark.parametrize("fault", ["fsync", "replace"])
def test_a_failure_leaves_the_file_before(sae, digits, tmp_path, monkeypatch, fault):
    path = tmp_path / "report.html"
    path.write_text("before")

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if fault == "fsync" else ("pathlib.Path.replace",)), fail)
    with pytest.raises(OSError, match="No space left"):
        report(sae, digits[0], path=path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("package", ["jinja2", "matplotlib", "pandas"])
def test_a_missing_package_is_named_with_its_extra(sae, digits, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"sksae\[report\]"):
        report(sae, digits[0], path=tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []


def test_who_may_read_a_file_stays_and_links_are_followed(sae, digits, tmp_path):
    secret, link = tmp_path / "secret.html", tmp_path / "link.html"
    secret.write_text("before")
    secret.chmod(0o600)
    link.symlink_to(secret)
    assert report(sae, digits[0][:50], path=link) == secret
    assert link.is_symlink()
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.read_text().startswith("<!DOCTYPE html>")
    new = report(sae, digits[0][:50], path=tmp_path / ("n" * 240 + ".html"))
    umask = os.umask(0)
    os.umask(umask)
    assert new.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.skipif(os.name == "nt", reason="needs a file that is none")
def test_what_is_no_file_is_left_alone(sae, digits, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError, match="what is no file"):
        report(sae, digits[0], path=tmp_path / "pipe")


# --- odd rows --------------------------------------------------------------------------------


def test_activations_that_differ_by_rounding_are_one_bar():
    assert histogram(np.array([0.5, np.nextafter(0.5, 1.0)]))["counts"] == [2]
    in_float32 = np.array([0.5, np.nextafter(np.float32(0.5), np.float32(1.0))], np.float32)
    assert sum(histogram(in_float32)["counts"]) == 2
    assert histogram(np.linspace(0.0, 1.0, 41))["counts"][0] == 2


def test_gaps_spoil_nothing_else(digits, tmp_path):
    X = digits[0][:200].copy()
    X[3, 20] = X[7, 30] = np.nan
    pipe = make_pipeline(SimpleImputer(), SparseAutoencoderTransformer(8, max_iter=5)).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        shown = data_of(report(pipe, X, path=tmp_path / "a.html", image_shape=(8, 8)))["rows"]
        whole = data_of(
            report(pipe, np.nan_to_num(X), path=tmp_path / "b.html", image_shape=(8, 8))
        )["rows"]
        lines = data_of(report(pipe, X, path=tmp_path / "c.html"))["rows"]
    same = [row for row in shown if row in whole and row not in ("3", "7")]
    assert same
    assert all(shown[row] == whole[row] for row in same)
    assert all(line["low"] == 0.0 and line["high"] == 16.0 for line in lines.values())
    frame = RowsShown(
        pd.DataFrame(X), None, None, np.array([f"pixel {j} of 64" for j in range(64)])
    )
    (told,) = frame.show(np.array([3]))
    assert told.count(" · ") == 5


def test_frames_of_all_kinds_of_columns_are_shown(tmp_path):
    n = 120
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "day": pd.date_range("2026-01-01", periods=n),
            "city": np.where(np.arange(n) % 3, "Lima", None),
            "tags": [["a", "b"]] * n,
            **{f"size {j}": rng.normal(size=n) for j in range(8)},
        }
    )
    frame.loc[5, "size 7"] = 50.0
    numbers = [f"size {j}" for j in range(8)]
    pipe = make_pipeline(
        ColumnTransformer([("numbers", StandardScaler(), numbers)]),
        SparseAutoencoderTransformer(4, sparsity="topk", rho=1, max_iter=20, random_state=0),
    ).fit(frame)
    rows = data_of(report(pipe, frame, path=tmp_path / "a.html"))["rows"]
    shown = RowsShown(frame, None, None, np.array(frame.columns, dtype=object))
    (told,) = shown.show(np.array([5]))
    assert told.startswith("day 2026-01-06 00:00:00 · city Lima · tags ['a', 'b'] · size 7 50")
    (told,) = shown.show(np.array([0]))
    assert "city missing" in told
    assert all("size" in told for told in rows.values())


def test_a_picture_of_one_channel_is_grey(sae, digits, page, tmp_path):
    path = report(sae, *digits, path=tmp_path / "a.html", image_shape=(8, 8, 1))
    assert data_of(path) == data_of(page)


def test_pictures_before_other_steps_are_pictures(digits, tmp_path):
    pipe = make_pipeline(PCA(5), SparseAutoencoderTransformer(4, max_iter=5)).fit(digits[0])
    path = tmp_path / "a.html"
    data = data_of(report(pipe, digits[0], path=path, image_shape=(8, 8)))
    assert data["kind"] == "image"
    assert data["units"][0]["atom"]["kind"] == "bar"


def test_a_random_state_is_told_alike_each_time(digits, tmp_path):
    model = SparseAutoencoderTransformer(4, max_iter=3, random_state=np.random.RandomState(0))
    report(model.fit(digits[0]), digits[0], path=tmp_path / "a.html")
    assert "RandomState(" not in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_what_holds_rows_is_named(digits, tmp_path):
    model = SparseAutoencoderTransformer(4, max_iter=3).fit(digits[0])
    rows = digits[0][:40]
    for X, name in (
        (rows.tolist(), "40 in a list"),
        (pl.DataFrame(rows), "40 in a DataFrame"),
        (sp.coo_matrix(rows), "40 in a sparse matrix"),
        (rows, "40 in an array of float64"),
    ):
        text = report(model, X, path=tmp_path / "a.html").read_text(encoding="utf-8")
        assert re.search(f"<td>{name}(<|,| of float)", text), name


def test_signals_have_one_scale(tmp_path):
    X = np.sin(np.linspace(0, 9, 50)) * np.array([[1.0], [5.0]] * 30)
    model = SparseAutoencoderTransformer(4, max_iter=3).fit(X)
    lines = data_of(report(model, X, path=tmp_path / "a.html"))["rows"].values()
    assert len({(line["low"], line["high"]) for line in lines}) == 1
