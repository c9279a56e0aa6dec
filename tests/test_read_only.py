"""Nothing is written into what was loaded as a memory map, or into the arrays of the user."""

import warnings

import joblib
import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)

rng = np.random.default_rng(0)
X = rng.random((60, 6))
y = (X[:, 0] > 0.5).astype(int)
weight = rng.random(60)
for array in (X, y, weight):
    array.flags.writeable = False

SHORT = {"batch_size": 20, "max_iter": 2, "random_state": 0}


def sae(**params):
    return SparseAutoencoderTransformer(3, **(SHORT | {"rho": 0.3} | params))


SPARSITIES = {
    "kl": {},
    "l1": {"sparsity": "l1"},
    "l2": {"sparsity": "l2", "learning_rate": 1e-3},
    "none": {"sparsity": None, "activation": "prelu"},
    "kl auto": {"beta": "auto"},
    "l1 auto": {"sparsity": "l1", "beta": "auto"},
    "l2 auto": {"sparsity": "l2", "beta": "auto", "learning_rate": 1e-3},
    "deep l1 auto": {"sparsity": "l1", "beta": "auto", "hidden_layer_sizes": 4},
    "tied noise": {"noise": "gaussian", "tied_weights": True},
}
KINDS = {
    "transformer": sae,
    "stack": lambda **params: StackedSparseAutoencoder([sae(**params), sae()], **SHORT),
    "classifier": lambda **params: SparseAutoencoderClassifier([sae(**params), sae()], **SHORT),
    "regressor": lambda **params: SparseAutoencoderRegressor([sae(**params), sae()], **SHORT),
}
USES = {
    "fit": lambda model: model.fit(X, y),
    "fit with weights": lambda model: model.fit(X, y, sample_weight=weight),
    "transform": lambda model: model.transform(X),
    "transform one": lambda model: model.transform(X[:1].astype(np.float32)),
    "inverse_transform": lambda model: model.inverse_transform(model.transform(X)),
    "predict": lambda model: model.predict(X),
    "predict_proba": lambda model: model.predict_proba(X),
    "score": lambda model: model.score(X, y),
    "score with weights": lambda model: model.score(X, y, sample_weight=weight),
    "score_samples": lambda model: model.score_samples(X),
    "components": lambda model: model.components_,
    "partial_fit": lambda model: model.partial_fit(X, y).partial_fit(X, y),
    "warm start": lambda model: model.set_params(warm_start=True).fit(X, y),
    "members as they are": lambda model: model.set_params(
        autoencoders=model.autoencoders_, pretrain=False
    ).fit(X, y),
}


@pytest.fixture(autouse=True)
def every_warning():
    """Have torch give each warning as often as there is reason to, and make it an error."""
    torch.set_warn_always(True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message=".*has no effect")
        yield
    torch.set_warn_always(False)


def uses_of(model):
    """Return the uses that a model has, by name."""
    methods = {"components": "n_components", "warm start": "warm_start"}
    methods |= {"members as they are": "autoencoders"}
    return {
        name: use
        for name, use in USES.items()
        if hasattr(model, methods.get(name, name.partition(" ")[0]))
        and not (name == "components" and model.hidden_layer_sizes)
    }


def outcome(value):
    """Return what a use gave: numbers, or the codes of a model."""
    return value.transform(X) if hasattr(value, "transform") else value


SOLVERS = ["adam", "sgd", "lbfgs"]
CASES = [("transformer", sparsity, solver) for sparsity in SPARSITIES for solver in SOLVERS]
CASES += [(kind, "l1 auto", solver) for kind in list(KINDS)[1:] for solver in SOLVERS]
CASES += [(kind, "tied noise", "adam") for kind in list(KINDS)[1:]]
# Each penalty and each kind with one solver, and each solver with some.
FEW = {
    *zip(len(SPARSITIES) * ["transformer"], SPARSITIES, 3 * SOLVERS, strict=True),
    *zip(list(KINDS)[1:], 3 * ["l1 auto"], SOLVERS, strict=True),
}
CASES = [pytest.param(*case, marks=() if case in FEW else pytest.mark.slow) for case in CASES]


@pytest.mark.parametrize(("kind", "sparsity", "solver"), CASES)
def test_a_mapped_model_does_all_that_another_does(tmp_path, kind, sparsity, solver):
    if kind == "transformer":
        model = sae(**SPARSITIES[sparsity], solver=solver)
    else:
        model = KINDS[kind](**SPARSITIES[sparsity]).set_params(solver=solver)
    path = tmp_path / "model.joblib"
    joblib.dump(model.fit(X, y), path)
    written = path.read_bytes()
    for name, use in uses_of(model).items():
        mapped, loaded = joblib.load(path, mmap_mode="r"), joblib.load(path)
        np.testing.assert_array_equal(outcome(use(mapped)), outcome(use(loaded)), err_msg=name)
        assert path.read_bytes() == written
