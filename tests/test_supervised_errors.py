"""What classifier and regressor refuse, before any training."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import MinMaxScaler
from stacking import assert_nothing_half_fitted, no_training, sae
from supervising import KINDS, TARGETS, X, each_kind, make

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BAD_VALUES = [
    ("pretrain", "yes"),
    ("freeze", -1),
    ("freeze", 1.5),
    ("decay", "none"),
    ("unlabeled", True),
    ("unlabeled", [-1]),
    ("unlabeled", np.inf),
    ("alpha", -1.0),
    ("solver", "rmsprop"),
    ("learning_rate", 0.0),
    ("learning_rate_schedule", "cosine"),
    ("momentum", 1.0),
    ("batch_size", 0),
    ("max_iter", 0),
    ("tol", -1.0),
    ("n_iter_no_change", 0),
    ("early_stopping", "no"),
    ("validation_fraction", 0.0),
    ("shuffle", 3),
    ("dtype", "float16"),
    ("device", "gpu"),
    ("verbose", -1),
    ("random_state", "seed"),
]


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
@each_kind
def test_a_bad_value_is_refused_before_any_training(monkeypatch, kind, name, value, method):
    no_training(monkeypatch)
    model = make(kind, **{name: value})
    with pytest.raises((ValueError, TypeError), match=name):
        getattr(model, method)(X, TARGETS[kind])
    assert_nothing_half_fitted(model, "predict")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([], "autoencoders is empty"),
        ([MinMaxScaler()], r"entry 0 is MinMaxScaler\(\)"),
        ([("a", sae(5)), ("a", sae(4))], "not unique.*'a'"),
        ([("freeze", sae(5))], "conflict.*'freeze'"),
        ([sae(5), sae(4, rho=-1.0)], "'rho' parameter"),
        (sae(5), "'autoencoders' parameter"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@each_kind
def test_what_is_no_list_of_autoencoders_is_refused(monkeypatch, kind, members, said):
    no_training(monkeypatch)
    for method in ("fit", "partial_fit"):
        model = make(kind, members)
        with pytest.raises((TypeError, ValueError), match=f"(?s){said}"):
            getattr(model, method)(X, TARGETS[kind])
        assert_nothing_half_fitted(model, "predict")


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@each_kind
def test_there_must_be_a_target_for_each_row(monkeypatch, kind, method):
    no_training(monkeypatch)
    for y, said in ((None, "requires y"), (TARGETS[kind][:-1], "inconsistent numbers")):
        model = make(kind)
        with pytest.raises(ValueError, match=said):
            getattr(model, method)(X, y)
        assert_nothing_half_fitted(model, "predict")


@each_kind
def test_targets_that_are_all_missing(monkeypatch, kind):
    no_training(monkeypatch)
    for mark, y in ((-1, np.full(60, -1)), (np.nan, np.full(60, np.nan)), (None, [None] * 60)):
        for method in ("fit", "partial_fit"):
            model = make(kind, unlabeled=mark)
            with pytest.raises(ValueError, match=f"y holds no target.*unlabeled={mark}"):
                getattr(model, method)(X, y)
            assert_nothing_half_fitted(model, "predict")


@each_kind
def test_a_mark_that_is_not_named_is_refused(monkeypatch, kind):
    no_training(monkeypatch)
    y = TARGETS[kind].astype(float)
    y[3] = np.nan
    with pytest.raises(ValueError, match="Input y contains NaN"):
        make(kind).fit(X, y)
    with pytest.raises(ValueError, match="Input y contains NaN"):
        make(kind, unlabeled=-1).fit(X, y)


@pytest.mark.parametrize("rows", [np.full((60, 6), np.nan), np.empty((0, 6)), np.ones(60), "text"])
@each_kind
def test_what_is_no_table_of_numbers_is_refused(monkeypatch, kind, rows):
    no_training(monkeypatch)
    model = make(kind)
    with pytest.raises(ValueError, match=r"X|[Ss]ample|[Aa]rray|string"):
        model.fit(rows, TARGETS[kind])
    assert_nothing_half_fitted(model, "predict")


@each_kind
def test_nothing_comes_of_an_unfitted_model(kind):
    with pytest.raises(NotFittedError, match=KINDS[kind].__name__):
        make(kind).predict(X)
    with pytest.raises(ValueError, match="7 features"):
        make(kind).fit(X, TARGETS[kind]).predict(np.ones((2, 7)))
