"""What an ONNX runtime says of a file is what the model says that it was made of."""

import os
import sys

import numpy as np
import pytest
from exported import MODELS, TARGETED, X, fitted, rows_of, sae, y
from registered import CODE_ACTIVATIONS
from scipy.sparse import csr_array
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from sksae import SparseAutoencoderClassifier, SparseAutoencoderRegressor
from sksae.export import onnx_files, onnx_graph, register_onnx_converters, to_onnx
from sksae.model_selection import BatchedGridSearchCV

skl2onnx = pytest.importorskip("skl2onnx")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*transform_n_active"),
    pytest.mark.filterwarnings("ignore:.*With scale_data=False"),
]

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE)
LOWEST, HIGHEST = 12, 22


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def outputs_of(path, rows):
    """Return what a file's model says of rows, by the names of its outputs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(path, options)
    given = rows if isinstance(rows, dict) else {"X": rows}
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(None, given), strict=True))


def codes_of(path, rows):
    return outputs_of(path, rows)["variable"]


def assert_says_the_same(path, model, rows, given=None):
    """Assert that a file says of rows what a model does, in their precision."""
    found = outputs_of(path, rows if given is None else given)
    dtypes = {np.dtype(kind) for kind in getattr(rows, "dtypes", [getattr(rows, "dtype", None)])}
    tolerance = TOLERANCE["float64" if dtypes == {np.dtype("float64")} else "float32"]
    if hasattr(model, "predict_proba"):
        assert (found["label"] == model.predict(rows)).all()
        found, expected = found["probabilities"], model.predict_proba(rows)
    elif hasattr(model, "predict"):
        found, expected = found["variable"], model.predict(rows)
        expected = expected.reshape(len(rows), -1)
    else:
        found, expected = found["variable"], model.transform(rows)
    assert found.dtype == expected.dtype or dtypes != {np.dtype("float32"), np.dtype("float64")}
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


# Autoencoders, and what is made of them.


@pytest.mark.each_once
@each_dtype
@pytest.mark.parametrize("name", MODELS)
def test_it_says_what_the_model_says(name, dtype, path):
    rows, model = rows_of(name).astype(dtype), fitted(name)
    assert to_onnx(model, path, dtype=dtype) == path
    assert_says_the_same(path, model, rows)


@pytest.mark.each_once
@each_dtype
@pytest.mark.parametrize("name", [each for each in MODELS if each not in TARGETED])
def test_it_decodes_as_the_model_does(name, dtype, path):
    model, rows = fitted(name), rows_of(name).astype(dtype)
    codes = model.transform(rows)
    to_onnx(model, path, dtype=dtype, method="inverse_transform")
    expected = model.inverse_transform(codes)
    tolerance = TOLERANCE[dtype] * np.abs(rows).max()
    np.testing.assert_allclose(codes_of(path, codes), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("sparsity", "activation"), CODE_ACTIVATIONS)
def test_codes_of_every_activation_are_those_of_transform(sparsity, activation, path):
    count = {"rho": 3} if sparsity in ("topk", "batchtopk", "jumprelu") else {}
    model = sae(15, sparsity=sparsity, activation=activation, **count).fit(X)
    for dtype in TOLERANCE:
        assert_says_the_same(to_onnx(model, path, dtype=dtype), model, X.astype(dtype))


def test_all_units_may_be_kept(path):
    model = sae(5, sparsity="topk", rho=4, transform_n_active=5).fit(X)
    assert_says_the_same(to_onnx(model, path, dtype="float64"), model, X)


def test_targets_of_several_columns(path):
    targets = np.c_[y, 1000.0 - 3.0 * y]
    model = SparseAutoencoderRegressor([sae()], max_iter=2, random_state=0).fit(X, targets)
    assert_says_the_same(to_onnx(model, path, dtype="float64"), model, X)
    assert codes_of(to_onnx(model, path), X.astype("float32")).shape == (len(X), 2)


# Pipelines.


def classifier():
    return SparseAutoencoderClassifier([sae()], max_iter=2, random_state=0)


def top():
    return LogisticRegression(max_iter=1000)


RHOS = {"sparseautoencodertransformer__rho": [0.1, 0.2]}
PIPELINES = {
    "scaled": make_pipeline(StandardScaler(), sae(), top()),
    "classifier": make_pipeline(StandardScaler(), classifier()),
    "two": make_pipeline(sae(), StandardScaler(), sae(8)),
    "columns": make_pipeline(
        ColumnTransformer([("some", make_pipeline(StandardScaler(), sae(5)), [1, 2, 3, 20])]),
        top(),
    ),
    "columns beside": make_pipeline(
        ColumnTransformer([("some", sae(5), slice(0, 20))], remainder="passthrough"), classifier()
    ),
    "union": make_pipeline(
        FeatureUnion(
            [("a", sae(5)), ("b", sae(7, sparsity="topk", rho=3))], transformer_weights={"a": 2.0}
        ),
        Ridge(),
    ),
    "search": GridSearchCV(make_pipeline(sae(), top()), RHOS, cv=2),
    "batched search": BatchedGridSearchCV(make_pipeline(sae(), top()), RHOS, cv=2),
    "search within": make_pipeline(
        StandardScaler(), BatchedGridSearchCV(make_pipeline(sae(), top()), RHOS, cv=2)
    ),
    "calibrated": CalibratedClassifierCV(classifier(), cv=2),
    "bagged": BaggingClassifier(classifier(), n_estimators=2, random_state=0),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines_are_one_file(name, path):
    model = PIPELINES[name].fit(X, y)
    for dtype in TOLERANCE:
        assert_says_the_same(to_onnx(model, path, dtype=dtype), model, X.astype(dtype))


def test_a_binary_classifier_can_be_calibrated(path):
    model = CalibratedClassifierCV(classifier(), cv=2).fit(X, y > 4)
    assert_says_the_same(to_onnx(model, path), model, X.astype("float32"))


@pytest.mark.parametrize("is_mixed", [False, True], ids=["float32", "mixed"])
def test_columns_of_a_table_are_inputs(is_mixed, path):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X[:, 18:24].astype("float32"), columns=list("abcdef"))
    table["kind"] = np.where(X[:, 30] > 4, "high", "low")
    if is_mixed:
        table = table.astype({"a": "float64", "b": "int64"})
    columns = [("numbers", sae(5), list("abcdef")), ("kinds", OneHotEncoder(), ["kind"])]
    model = make_pipeline(ColumnTransformer(columns), top()).fit(table, y)
    given = {
        name: table[[name]].to_numpy(dtype=object if name == "kind" else None) for name in table
    }
    found = outputs_of(to_onnx(model, path, table[:1]), given)
    assert (found["label"] == model.predict(table)).all()
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(table), atol=1e-5)


@pytest.mark.parametrize("container", [list, np.asarray, csr_array], ids=lambda each: each.__name__)
def test_an_example_may_be_in_any_container(container, path):
    rows = X[:2].tolist() if container is list else container(X[:2])
    assert_says_the_same(to_onnx(fitted("kl"), path, rows), fitted("kl"), X)


def test_whole_numbers_are_read_as_float32(path):
    model = fitted("kl")
    codes = codes_of(to_onnx(model, path, X[:1].astype(int)), X.astype(int))
    np.testing.assert_allclose(codes, model.transform(X), atol=1e-5)
    assert codes.dtype == np.float32


# Labels.

LABELS = {
    "strings": np.array(["zero", "one", "two"], dtype=object),
    "numpy strings": np.array(["zéro", "one", "two"]),
    "uint8": np.array([3, 200, 7], np.uint8),
    "negative": np.array([-1, 5, 2**40]),
    "whole floats": np.array([1.0, 2.0, 5.0]),
    "booleans": np.array([False, True, True]),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_those_of_predict(name, path):
    model = classifier().fit(X, LABELS[name][y % 3])
    assert_says_the_same(to_onnx(model, path), model, X.astype("float32"))


@pytest.mark.parametrize("labels", [[0.5, 1.0], [2.0**70, 1.0], [None, "one"], [(1, 2), "one"]])
def test_labels_that_onnx_does_not_know_are_refused(labels, path):
    model = classifier().fit(X, y % 2)
    model.classes_ = np.empty(2, object if not isinstance(labels[0], float) else float)
    model.classes_[:] = labels
    with pytest.raises(ValueError, match="classes must be whole numbers, booleans or strings"):
        to_onnx(model, path)
    assert not path.exists()


# Numbers.


@pytest.mark.parametrize("scale_data", [True, False])
@pytest.mark.parametrize("sparsity", ["kl", "topk"])
def test_rows_far_from_0_lose_no_digits(sparsity, scale_data, path):
    rows = (np.random.default_rng(0).normal(size=(200, 20)) + 12345.6).astype("float32")
    count = {"rho": 3} if sparsity == "topk" else {}
    model = sae(15, sparsity=sparsity, scale_data=scale_data, **count).fit(rows)
    assert_says_the_same(to_onnx(model, path), model, rows)


@each_dtype
@pytest.mark.parametrize("name", ["kl", "tanh", "l1", "l2 prelu", "batchtopk", "jumprelu", "gated"])
def test_rows_with_nan_give_nan(name, dtype, path):
    rows = X[:5].astype(dtype)
    rows[2, 10] = np.nan
    is_nan = np.isnan(codes_of(to_onnx(fitted(name), path, dtype=dtype), rows))
    assert is_nan[2].all()
    assert not np.delete(is_nan, 2, axis=0).any()


def test_rows_with_nan_leave_no_code_of_few_units_that_looks_right(path):
    rows = X[:5].astype("float32")
    rows[2, 10] = np.nan
    codes = codes_of(to_onnx(fitted("topk"), path), rows)
    assert np.isnan(codes[2]).sum() == 4
    assert not np.isfinite(codes[2])[codes[2] != 0.0].any()


@pytest.mark.parametrize("name", ["kl", "tanh", "l1", "topk", "jumprelu", "gated"])
def test_rows_of_extreme_size_are_as_the_model_says(name, path):
    rows = (X[:20] * 1e30).astype("float32")
    codes, expected = codes_of(to_onnx(fitted(name), path), rows), fitted(name).transform(rows)
    np.testing.assert_allclose(codes, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_numbers_beyond_float32_are_refused_there(path):
    rows = X * 1e-60
    model = sae().fit(rows)
    with pytest.raises(ValueError, match="beyond the range of float32: convert for rows of float6"):
        to_onnx(model, path)
    with pytest.raises(ValueError, match="beyond the range of float32"):
        to_onnx(model, path, method="inverse_transform")
    assert not path.exists()
    assert_says_the_same(to_onnx(model, path, dtype="float64"), model, rows)
    model = sae().fit(X * 1e60)
    with pytest.raises(ValueError, match="centre is beyond the range of float32"):
        to_onnx(model, path)


# Opsets.


@pytest.mark.parametrize(
    "opset",
    [
        pytest.param(each, marks=() if each in (LOWEST, HIGHEST) else pytest.mark.slow)
        for each in range(LOWEST, HIGHEST + 1)
    ],
)
def test_opsets(opset, path):
    for name in ("topk", "gated", "batchtopk", "l2 prelu", "classifier"):
        to_onnx(fitted(name), path, target_opset=opset)
        assert {each.domain: each.version for each in onnx.load(path).opset_import}[""] == opset
        assert_says_the_same(path, fitted(name), X.astype("float32"))


def test_an_opset_that_is_too_low_is_refused(path):
    with pytest.raises(ValueError, match=r"target_opset=11 has not all operators.*target_opset=12"):
        to_onnx(fitted("topk"), path, target_opset=LOWEST - 1)


# Those who call skl2onnx themselves.


def test_converters_may_be_registered_again():
    rows = X[:5].astype("float32")
    for _ in range(2):
        register_onnx_converters()
    model = skl2onnx.to_onnx(fitted("classifier"), rows[:1]).SerializeToString()
    found = outputs_of(model, rows)["output_probability"]
    expected = fitted("classifier").predict_proba(rows)
    np.testing.assert_allclose([[*each.values()] for each in found], expected, atol=1e-6)
    assert [*found[0]] == [*fitted("classifier").classes_]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_raw_scores_are_those_of_the_decision_function(n_classes):
    register_onnx_converters()
    model = classifier().fit(X, y % n_classes)
    options = {"zipmap": False, "raw_scores": True, "output_class_labels": True}
    made = skl2onnx.to_onnx(model, X[:1], options=options).SerializeToString()
    found, expected = outputs_of(made, X), model.decision_function(X)
    if n_classes == 2:
        expected = np.c_[-expected, expected]
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-12)
    assert [*found["class_labels"]] == [*model.classes_]


# Files.


def test_a_file_says_what_it_is(path):
    model = onnx.load(to_onnx(fitted("kl"), path))
    onnx.checker.check_model(model, full_check=True)
    assert model.doc_string.startswith("a SparseAutoencoderTransformer, written by sksae ")
    assert {each.domain for each in model.opset_import} <= {"", "ai.onnx.ml"}


def test_a_file_that_was_there_stays_if_another_cannot_be_written(path, monkeypatch):
    before = to_onnx(fitted("kl"), path).read_bytes()

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        to_onnx(fitted("topk"), path)
    assert path.read_bytes() == before
    assert len([*path.parent.iterdir()]) == 1


@pytest.mark.parametrize(
    ("module", "match"), [(onnx_graph, "weights takes"), (onnx_files, "The model takes")]
)
def test_what_is_too_large_for_a_file_is_refused(module, match, path, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match=f"{match}.*an ONNX file holds less than 2"):
        to_onnx(fitted("kl"), path)
    assert not path.exists()


# Refusals.


def test_what_a_graph_cannot_do_is_refused(path):
    model = sae(sparsity="topk", rho=4, transform_algorithm="omp").fit(X)
    for each in (model, make_pipeline(model, top()).fit(X, y)):
        with pytest.raises(ValueError, match=r"'omp' looks for the codes.*an ONNX model does not"):
            to_onnx(each, path)
    model = sae(sparsity="topk", rho=4, sparse_output=True).fit(X)
    with pytest.raises(ValueError, match=r"sparse_output=True .* set_params\(sparse_output=False"):
        to_onnx(model, path)
    assert not path.exists()


def test_sparse_output_of_a_classifiers_autoencoder_is_of_no_account(path):
    members = [sae(sparsity="topk", rho=4, sparse_output=True)]
    model = SparseAutoencoderClassifier(members, max_iter=2, random_state=0).fit(X, y)
    assert_says_the_same(to_onnx(model, path), model, X.astype("float32"))


@pytest.mark.parametrize(
    ("error", "match", "parameters"),
    [
        (ValueError, "give X, or dtype='float32', and not both", {"X": X, "dtype": "float32"}),
        (ValueError, r"X must be a table .* of shape \(64,\)", {"X": X[0]}),
        (ValueError, "dtype must be 'float32' or 'float64', got 'float16'", {"dtype": "float16"}),
        (ValueError, "method must be 'inverse_transform' or None", {"method": "transform"}),
        (ValueError, "X has 5 features, but .* is expecting 64", {"X": X[:1, :5]}),
        (
            ValueError,
            "X has 64 columns, but .* n_components=20",
            {"X": X[:1], "method": "inverse_transform"},
        ),
        (TypeError, "target_opset must be an int or a mapping.*'12'", {"target_opset": "12"}),
        (TypeError, "target_opset must be an int or a mapping.*12.5", {"target_opset": {"": 12.5}}),
    ],
)
def test_parameters_that_make_no_sense_are_named(error, match, parameters, path):
    with pytest.raises(error, match=match):
        to_onnx(fitted("kl"), path, **parameters)
    assert not path.exists()


def test_a_table_of_other_columns_is_refused(path):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X[:, 18:22], columns=list("abcd"))
    model = make_pipeline(sae(5), top()).fit(table, y)
    with pytest.raises(ValueError, match="same order as they were in fit"):
        to_onnx(model, path, table[list("dcba")])
    assert not path.exists()
    # Its rows may come as one array, without names.
    assert_says_the_same(to_onnx(model, path, table.to_numpy()), model, table, {"X": X[:, 18:22]})


def test_inputs_have_the_order_of_columns_and_names_without_other_characters(path):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X[:, 18:21], columns=["length (cm)", "a b", "a_b"])
    model = sae(5).fit(table)
    given = dict(
        zip(("length__cm_", "a_b", "a_b1"), np.split(table.to_numpy(), 3, axis=1), strict=True)
    )
    assert_says_the_same(to_onnx(model, path, table[:1]), model, table, given)


def test_a_table_needs_names_that_are_text(path):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X)
    with pytest.raises(
        ValueError, match=r"X must have strings .* got 0: use X.rename\(columns=str"
    ):
        to_onnx(fitted("kl"), path, table)


@pytest.mark.parametrize("kind", ["float16", "int16", "uint64", "Float64"])
def test_types_that_no_input_has_are_refused(kind, path):
    pandas = pytest.importorskip("pandas")
    given = pandas.DataFrame(X).rename(columns=str).astype(kind)
    with pytest.raises(ValueError, match=rf"column '0' .* {kind}.*float32, float64 or int64"):
        to_onnx(fitted("kl"), path, given)
    if kind != "Float64":
        with pytest.raises(ValueError, match=rf"X is of {kind}.*float32, float64 or int64"):
            to_onnx(fitted("kl"), path, X.astype(kind))


def test_an_example_may_have_another_byte_order(path):
    assert_says_the_same(to_onnx(fitted("kl"), path, X.astype(">f8")), fitted("kl"), X)


def test_columns_that_are_chosen_by_name_need_a_table(path):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X[:, 18:22], columns=list("abcd"))
    model = make_pipeline(ColumnTransformer([("some", sae(3), ["a", "c"])]), top()).fit(table, y)
    with pytest.raises(ValueError, match="chooses columns by name: give X, a row or more"):
        to_onnx(model, path)


def test_a_search_without_a_best_estimator_is_refused(path):
    search = GridSearchCV(sae(), {"rho": [0.1]}, cv=2, refit=False).fit(X)
    with pytest.raises(ValueError, match="has no best_estimator_: fit it with refit=True"):
        to_onnx(search, path)


@pytest.mark.parametrize("other", [sae(), None, 3])
def test_a_path_is_text(other):
    with pytest.raises(TypeError, match="path must be a str or a path, got "):
        to_onnx(fitted("kl"), other)


def test_what_it_cannot_be_made_of_is_named(path):
    with pytest.raises(NotFittedError):
        to_onnx(sae(), path)
    with pytest.raises(TypeError, match="has no inverse_transform"):
        to_onnx(fitted("classifier"), path, method="inverse_transform")
    with pytest.raises(TypeError, match="got PCA: of a pipeline or search give the model in it"):
        to_onnx(PCA().fit(X), path, method="inverse_transform")
    with pytest.raises(ValueError, match="give X, some rows"):
        to_onnx(make_pipeline(FunctionTransformer(), fitted("kl")), path)
    with pytest.raises(FileNotFoundError, match="make the folder"):
        to_onnx(fitted("kl"), path.parent / "nowhere" / "model.onnx")
    assert not path.exists()


@pytest.mark.parametrize("package", ["onnx", "skl2onnx"])
def test_who_lacks_a_package_is_told_what_to_install(package, path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    for call in (register_onnx_converters, lambda: to_onnx(fitted("kl"), path)):
        with pytest.raises(ImportError, match=rf'needs {package}: pip install "sksae\[onnx\]"'):
            call()
