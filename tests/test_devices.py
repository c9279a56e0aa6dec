"""Tensors are made where they are to be, whatever device torch makes them on by default."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from plans import plan_of as plan_for
from stand_in import DEVICE, on_stand_in
from ways_to_train import COMMON

import sksae
from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.engine import batches, lbfgs
from sksae.engine.batches import Rows
from sksae.engine.inference import layers, pursuit
from sksae.engine.losses import CrossEntropy, SquaredError
from sksae.engine.portions import Portions
from sksae.engine.training import train
from sksae.model.architecture import Architecture
from sksae.model.settings import Dropout, Noise
from sksae.model.tasks import TrainingResult
from sksae.model_selection import BatchedGridSearchCV

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FACTORIES = {
    *("arange", "as_tensor", "asarray", "empty", "empty_strided", "eye", "full", "linspace"),
    *("logspace", "normal", "ones", "rand", "randint", "randn", "randperm", "scalar_tensor"),
    *("tensor", "zeros", "Generator"),
}
SOURCES = sorted(Path(sksae.__file__).parent.rglob("*.py"))

rng = np.random.default_rng(0)
X = rng.random((60, 6)) * (rng.random((60, 6)) > 0.3)
WEIGHT = rng.random(60)
LABELS = (X[:, 0] > X[:, 1]).astype(int)

TRANSFORMERS = {
    **COMMON,
    "auto l1": {"beta": "auto", "sparsity": "l1", "max_iter": 12},
    "auto l1 lbfgs": {"beta": "auto", "sparsity": "l1", "solver": "lbfgs"},
    "gaussian": {"noise": "gaussian"},
    "masking": {"noise": "masking"},
    "masking lbfgs": {"noise": "masking", "solver": "lbfgs"},
    "deep": {"hidden_layer_sizes": (5,)},
    "deep tied prelu": {
        "hidden_layer_sizes": (5,),
        "hidden_activation": "prelu",
        "tied_weights": True,
    },
    "float64": {"dtype": "float64"},
}


def make(**params):
    defaults = {"n_components": 4, "batch_size": 16, "max_iter": 4, "random_state": 0}
    return SparseAutoencoderTransformer(**(defaults | params))


def members(**params):
    return [make(**params), make(n_components=3, **params)]


def results_of(model, rows):
    """Return what a fitted autoencoder or stack gives of rows."""
    codes = model.transform(rows)
    back = model.inverse_transform(codes)
    return [codes, back, model.score_samples(rows), model.score(rows, sample_weight=WEIGHT)]


def transformer(params, rows=X, weight=None):
    model = make(**params).fit(rows, sample_weight=weight)
    return [*model.coefs_, *model.intercepts_, model.loss_curve_, *results_of(model, rows)]


def in_pieces(**params):
    model = make(**params)
    for weight in (None, WEIGHT, None):
        model.partial_fit(X, sample_weight=weight)
    return [*model.coefs_, model.loss_, *results_of(model, X)]


def warmly(**params):
    model = make(warm_start=True, **params)
    return [model.fit(X).fit(X).loss_curve_, *model.coefs_]


def stack(**params):
    model = StackedSparseAutoencoder(members(), max_iter=4, random_state=0, **params).fit(X)
    return results_of(model, X)


def classifier(**params):
    model = SparseAutoencoderClassifier(members(), max_iter=4, random_state=0, **params)
    model.fit(X, LABELS, sample_weight=WEIGHT)
    found = [model.transform(X), model.predict_proba(X)]
    if not params.get("early_stopping") and params.get("solver") != "lbfgs":
        found.append(model.partial_fit(X, LABELS).predict_proba(X))
    return found


def regressor(**params):
    model = SparseAutoencoderRegressor(members(), max_iter=4, random_state=0, **params)
    return [model.fit(X, X[:, :2]).predict(X)]


def search(**params):
    grid = {"rho": [0.1, 0.3], "learning_rate": [0.01, 0.02], "max_iter": [2, 4]}
    found = BatchedGridSearchCV(make(**params), grid, cv=2).fit(X)
    return [found.cv_results_["mean_test_score"], *found.best_estimator_.coefs_]


CASES = {name: (transformer, {"params": params}) for name, params in TRANSFORMERS.items()} | {
    "CSR": (transformer, {"params": {}, "rows": sp.csr_array(X)}),
    "CSR lbfgs": (transformer, {"params": {"solver": "lbfgs"}, "rows": sp.csr_array(X)}),
    "float32 rows": (transformer, {"params": {}, "rows": X.astype(np.float32)}),
    "weights": (transformer, {"params": {}, "weight": WEIGHT}),
    "weights lbfgs": (transformer, {"params": {"solver": "lbfgs"}, "weight": WEIGHT}),
    "weights auto": (transformer, {"params": {"beta": "auto"}, "weight": WEIGHT}),
    "pieces": (in_pieces, {}),
    "pieces sgd auto": (in_pieces, {"solver": "sgd", "sparsity": "l1", "beta": "auto"}),
    "warm": (warmly, {}),
    "warm auto": (warmly, {"beta": "auto", "sparsity": "l1", "early_stopping": True}),
    "warm lbfgs": (warmly, {"solver": "lbfgs"}),
    "stack": (stack, {}),
    "stack lbfgs": (stack, {"solver": "lbfgs"}),
    "classifier": (classifier, {"dropout": 0.2, "noise": "gaussian"}),
    "classifier lbfgs": (classifier, {"solver": "lbfgs"}),
    "classifier early stopping": (classifier, {"early_stopping": True}),
    "regressor": (regressor, {}),
    "regressor frozen": (regressor, {"freeze": 1}),
    "search": (search, {}),
    "search auto": (search, {"beta": "auto", "sparsity": "l1"}),
    "search early stopping": (search, {"early_stopping": True}),
    "search lbfgs": (search, {"solver": "lbfgs"}),
}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_whatever_makes_a_tensor_names_its_device(source):
    for node in ast.walk(ast.parse(source.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if ast.unparse(node.func.value) == "torch" and node.func.attr in FACTORIES:
            names = [keyword.arg for keyword in node.keywords]
            assert "device" in names, f"{source.name}:{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("case", CASES)
def test_the_default_device_and_dtype_of_torch_make_no_difference(case):
    what, params = CASES[case]
    expected = what(**params)
    with torch.device("meta"):
        on_another = what(**params)
    torch.set_default_dtype(torch.float64)
    try:
        in_double = what(**params)
    finally:
        torch.set_default_dtype(torch.float32)
    for found in (on_another, in_double):
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


# Where no GPU is: tensors without values on a device that stands for one. What lies elsewhere
# cannot be computed with.

# Of two batches; as many epochs as beta needs to be moved.
STAND_INS = {
    name: params | {"batch_size": 30, "max_iter": 4 if "beta" in params else 2}
    for name, params in TRANSFORMERS.items()
    if name != "float64"
}


def plan_of(rows=X, weight=None, **params):
    return plan_for(make(**params), rows, weight)


def train_on_stand_in(plans, *, rows=X, weight=None, make_loss=None):
    """Return what came of training plans for the same rows side by side."""
    first = plans[0]

    def make_rows(index):
        return Rows(
            rows,
            centre=first.scaling.centre,
            scale=first.scaling.scale,
            dtype=torch.float32,
            device=DEVICE,
            index=index,
            sample_weight=weight,
            target=first.target,
        )

    held_out = first.held_out_index
    with on_stand_in():
        return train(
            first.architecture,
            [plan.task() for plan in plans],
            make_rows(first.index),
            make_loss() if make_loss else SquaredError(first.scaling.offset),
            held_out=None if held_out is None else make_rows(held_out),
        )


def assert_trained(outcomes):
    assert outcomes
    assert all(isinstance(outcome, TrainingResult) for outcome in outcomes)


@pytest.mark.parametrize("name", STAND_INS)
def test_training_keeps_to_its_device(name):
    assert_trained(train_on_stand_in([plan_of(**STAND_INS[name])]))


@pytest.mark.parametrize("name", ["kl", "lbfgs", "auto l1", "masking", "early stopping"])
def test_training_on_rows_that_are_not_kept_keeps_to_its_device(name, monkeypatch):
    monkeypatch.setattr(batches, "RESIDENT_BYTES", 0)
    assert_trained(train_on_stand_in([plan_of(**STAND_INS[name])]))


@pytest.mark.parametrize(
    "name", ["kl", "deep tied prelu", "lbfgs", "auto kl", "auto l1", "masking", "early stopping"]
)
def test_training_in_parts_keeps_to_its_device(name, monkeypatch):
    begin = Portions.__init__

    def begin_with_few(self, *of):
        begin(self, *of)
        self.most = 7

    monkeypatch.setattr(Portions, "__init__", begin_with_few)
    assert_trained(train_on_stand_in([plan_of(weight=WEIGHT, **STAND_INS[name])], weight=WEIGHT))


WEIGHTED = ["kl", "l1", "auto kl", "auto l1", "lbfgs", "auto l1 lbfgs", "early stopping"]


@pytest.mark.parametrize("name", WEIGHTED)
def test_training_with_weights_keeps_to_its_device(name):
    plans = [plan_of(weight=WEIGHT, **STAND_INS[name])]
    assert_trained(train_on_stand_in(plans, weight=WEIGHT))


@pytest.mark.parametrize(
    "name", ["kl", "l1", "sgd", "auto kl", "auto l1", "tied", "deep tied prelu", "early stopping"]
)
def test_training_side_by_side_keeps_to_its_device(name):
    # Rates and lengths differ, so that some go on without the others.
    plans = [
        plan_of(**(STAND_INS[name] | {"learning_rate": rate, "alpha": rate, "max_iter": n_epochs}))
        for rate, n_epochs in ((0.01, 4), (0.02, 4), (0.02, 1))
    ]
    if plans[0].penalties.beta == "auto":
        plans = plans[:2]  # those are of one length
    assert_trained(train_on_stand_in(plans))


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_training_on_sparse_rows_keeps_to_its_device(solver):
    rows = sp.csr_array(X)
    assert_trained(train_on_stand_in([plan_of(rows, solver=solver)], rows=rows))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("noise", [None, Noise("gaussian", 0.1)], ids=["clean", "noise"])
def test_training_for_a_task_keeps_to_its_device(solver, noise):
    architecture = Architecture((6, 4, 2), ("sigmoid", "identity"), 1, output_layout="columns")
    dropout = Dropout(0.3, (0,)) if solver == "adam" else None
    for target, make_loss in (
        (LABELS[:, None], CrossEntropy),
        (X[:, :2], lambda: SquaredError(np.ones(2))),
    ):
        plan = plan_of(solver=solver, early_stopping=True, sparsity=None)
        plan = replace(
            plan,
            architecture=architecture,
            start=np.random.default_rng(0).normal(size=architecture.n_parameters),
            config=replace(plan.config, noise=noise, dropout=dropout),
            target=target,
        )
        assert_trained(train_on_stand_in([plan], make_loss=make_loss))


@pytest.mark.parametrize("name", ["kl", "sgd", "auto kl", "auto l1", "early stopping"])
def test_training_that_goes_on_keeps_to_its_device(name):
    model = make(**STAND_INS[name]).fit(X, sample_weight=WEIGHT)
    plan = plan_for(model, X, WEIGHT, resume_from=model)
    assert_trained(train_on_stand_in([plan], weight=WEIGHT))


def test_the_inverse_hessian_keeps_to_the_device_of_the_parameters(monkeypatch):
    monkeypatch.setattr(lbfgs, "MAX_PAIRS", 3)
    with on_stand_in():
        flat = torch.zeros(7, dtype=torch.float64, device=DEVICE)
        monkeypatch.setattr(torch.Tensor, "__float__", lambda self: 1.0)
        monkeypatch.setattr(torch, "dot", lambda a, b: torch.ones((), device=DEVICE))
        hessian = lbfgs.InverseHessian(flat)
        for _ in range(5):
            hessian.update(flat + 1.0, flat + 2.0)
            assert hessian.direction(flat).device == DEVICE


@pytest.mark.each_once
@pytest.mark.parametrize("rows", [X, X.astype(np.float32), sp.csr_array(X)], ids=type)
@pytest.mark.parametrize("name", ["kl", "prelu", "deep tied prelu", "sigmoid"])
def test_inference_keeps_to_its_device(name, rows, monkeypatch):
    model = make(**TRANSFORMERS[name]).fit(X)
    expected = results_of(model, rows)
    monkeypatch.setattr(layers, "inference_device", lambda name, dtype: DEVICE)
    with on_stand_in():
        found = results_of(model, rows)
    for ours, theirs in zip(found, expected, strict=True):
        assert np.shape(ours) == np.shape(theirs)


def test_pursuit_keeps_to_its_device():
    with on_stand_in():
        atoms, targets = (
            torch.zeros((n_rows, 6), dtype=dtype, device=DEVICE)
            for n_rows, dtype in ((9, torch.float32), (5, torch.float64))
        )
        support = pursuit.choose_atoms(atoms, targets, 3)
        found = pursuit.fit_coefficients(atoms, targets, support)
        assert {each.device for each in (*support, *found)} == {DEVICE}


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_stand_in_finds_what_lies_elsewhere(solver, monkeypatch):
    plan = plan_of(solver=solver, noise="masking")
    assert_trained(train_on_stand_in([plan]))
    blank = Rows.blank
    monkeypatch.setattr(Rows, "blank", lambda self, **kwargs: blank(self, **kwargs).cpu())
    with pytest.raises(RuntimeError, match="device"):
        train_on_stand_in([plan])
