"""What anybody might ask of the estimators: parameters, mostly valid, and what they are given."""

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from fuzzing_rows import BAD_TARGETS, BAD_WEIGHTS, LABELS, NUMBERS, WEIGHTS, Rows, rarely, rows
from hypothesis import strategies as st
from registered import ACTIVATIONS, AUTO, COUNTED, EXACT, LAYERED, SMOOTH, SPARSITIES
from sklearn.frozen import FrozenEstimator

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)

# Parameters.

TRAINING = {
    "alpha": [0.0, 1e-6, 0.01, 1, 1e6],
    "solver": ["adam", "sgd", "lbfgs"],
    "learning_rate": ["auto", 1e-30, 1e-4, 0.1, 1, 1e10, 1e30],
    "learning_rate_schedule": ["linear", "constant"],
    "momentum": [0, 0.0, 0.5, 0.999],
    "batch_size": ["auto", 1, 3, 16, 10**9],
    "max_iter": [1, 2, 3, 5, np.int64(2)],
    "tol": [0, 1e-3, 1.0, 1e300],
    "n_iter_no_change": ["auto", 1, 2, 10**9],
    "early_stopping": [True, False],
    "validation_fraction": [1e-9, 0.1, 0.3, 0.5, 0.9],
    "shuffle": [True, False],
    "dtype": ["float32", "float64", "bfloat16"],
    "device": ["auto", "cpu"],
}
NOISE = {
    "noise": [None, "gaussian", "masking"],
    "noise_level": [0, 0.0, 0.3, 0.99, 3.0, 1e20],
}
AUTOENCODER = TRAINING | {
    "n_components": [1, 2, 3, 8, 20, 65, 200],
    "sparsity": list(SPARSITIES),
    "rho": [1e-6, 0.01, 0.05, 0.3, 0.9, 0.999, 1, 2, 7, np.float32(0.2)],
    "beta": [None, "auto", 0, 1e-9, 0.3, 6.0, 1e9],
    "loss": ["squared_error", "cross_entropy"],
    "alpha": [None, *TRAINING["alpha"]],
    "budgets": ["auto", None, (), (0.25, 0.5), (1,), [0.1, 1.0], np.array([0.5])],
    "prefixes": [None, (), (0.5,), (1, 2), [0.01, 0.5, 1.0], np.array([0.3, 0.6])],
    "activation": ["auto", *ACTIVATIONS],
    "output_activation": ["auto", *ACTIVATIONS],
    "hidden_layer_sizes": [(), 4, (1,), (9,), [6, 3], np.array([5]), np.int64(3)],
    "hidden_activation": list(ACTIVATIONS),
    "tied_weights": [True, False],
    "scale_data": [True, False],
    **NOISE,
    "sparse_output": [True, False],
    "transform_n_active": [None, 1, 2, 8],
    "transform_algorithm": ["encode", "refit", "omp"],
    "warm_start": [True, False],
}
STACK = TRAINING | {"finetune": [True, False], "alpha": AUTOENCODER["alpha"]}
SUPERVISED = (
    TRAINING
    | NOISE
    | {"freeze": [None, 0, 1, 2], "decay": ["top", "all"], "dropout": [0, 0.0, 0.2, 0.99]}
)
CLASSIFIER = SUPERVISED | {
    "unlabeled": [False, -1],
    "class_weight": [None, "balanced", {0: 2.0, 1: 1e-9}],
}
REGRESSOR = SUPERVISED | {"unlabeled": [False, np.nan], "alpha": AUTOENCODER["alpha"]}

# Of any parameter, whatever it is.
BAD_VALUES = [None, -1, 0, 2.5, np.nan, np.inf, 1e40, 10**400, "none", "", True, (), [1, -2]]
BAD_VALUES += [("a",), {}, object(), np.zeros(3), 1j, b"kl", float, [[1], [2]]]


def agreeing(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters of an autoencoder without most of what makes no sense together.

    Parameters
    ----------
    params : dict
        Others than these have their defaults.
    """
    params = dict(params)

    def drop(*names: str) -> None:
        for name in names:
            params.pop(name, None)

    sparsity, n_components = params.get("sparsity", "kl"), params.get("n_components", 100)
    is_smooth = sparsity in SMOOTH
    if sparsity in COUNTED:
        if params.get("solver") == "lbfgs":
            drop("solver")
        if sparsity not in LAYERED:
            drop("hidden_layer_sizes")
        if params.get("output_activation") == "prelu":
            drop("output_activation")
        if sparsity in EXACT or params.get("beta") is None:
            drop("beta")
    if sparsity in ("jumprelu", "gated") or (
        not is_smooth and params.get("activation") not in ("relu", "prelu")
    ):
        drop("activation")
    if sparsity == "kl" and params.get("activation") not in ("sigmoid", "tanh"):
        drop("activation")
    if sparsity is None and params.get("beta") == "auto":
        drop("beta")
    if "hidden_layer_sizes" in params:
        drop("prefixes", "transform_algorithm", "budgets")
    if "prefixes" in params or sparsity == "batchtopk":
        drop("budgets")
    if params.get("loss") == "cross_entropy":
        drop("output_activation", "transform_algorithm")
    if params.get("output_activation") == "relu":
        params["scale_data"] = False
    if params.get("output_activation", "identity") != "identity":
        drop("transform_algorithm")
    activation = params.get("activation", AUTO[sparsity])
    if activation != "relu" and sparsity not in COUNTED:
        drop("sparse_output")
        if params.get("transform_algorithm") == "refit":
            drop("transform_algorithm")
    if isinstance(params.get("rho"), int) and params["rho"] >= n_components:
        drop("rho")
    if sparsity in EXACT and round(params.get("rho", 0.05) * n_components) < 1:
        params |= {"rho": 1, "n_components": max(2, n_components)}
    if params.get("transform_n_active") is not None:
        params["transform_n_active"] = min(params["transform_n_active"], n_components)
    elif params.get("transform_algorithm") == "omp" and sparsity not in COUNTED:
        params["transform_n_active"] = 1
    return params


def agreeing_training(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters of any training without most of what makes no sense together."""
    params = dict(params)
    if params.get("solver") == "lbfgs":
        for name in ("dropout", "dtype"):
            if params.get(name) != "float64":
                params.pop(name, None)
    if params.get("noise") == "masking" and params.get("noise_level", 0.3) >= 1:
        params["noise_level"] = 0.5
    return params


@st.composite
def drawn(draw, table: dict[str, list[Any]], max_size: int = 10) -> dict[str, Any]:
    """Some parameters of a table, brief ones always; a few of them may not go together."""
    names = draw(st.lists(st.sampled_from(sorted(table)), unique=True, max_size=max_size))
    params = {name: draw(st.sampled_from(table[name])) for name in names}
    params.setdefault("max_iter", 2)
    if "n_components" in table:
        params.setdefault("n_components", 8)
    if not draw(rarely()):
        params = agreeing_training(params)
        params = agreeing(params) if "sparsity" in table else params
    if draw(rarely()):
        params[draw(st.sampled_from(sorted(table)))] = draw(st.sampled_from(BAD_VALUES))
    return params


# Whole cases.

KINDS_OF_ESTIMATOR = {
    "transformer": (SparseAutoencoderTransformer, AUTOENCODER, LABELS),
    "stack": (StackedSparseAutoencoder, STACK, LABELS),
    "classifier": (SparseAutoencoderClassifier, CLASSIFIER, LABELS),
    "regressor": (SparseAutoencoderRegressor, REGRESSOR, NUMBERS),
}


@dataclass(frozen=True)
class Case:
    """An estimator, what it is fitted to, and rows that it meets later."""

    kind: str
    params: dict[str, Any]
    members: list[dict[str, Any]] = field(default_factory=list)
    rows: Rows = field(default_factory=lambda: Rows(0, (20, 5)))
    weight: str = "none"
    target: str = "two"
    later: Rows = field(default_factory=lambda: Rows(1, (9, 5)))
    is_strict: bool = False
    # Whether members are fitted before, and frozen.
    is_prefit: bool = False
    is_frozen: bool = False

    def build(self) -> Any:
        """Return the estimator."""
        kind, _, _ = KINDS_OF_ESTIMATOR[self.kind]
        # A parameter that is an object of its own is still the same one.
        params = {"random_state": 0} | self.params
        if self.members:
            members = [SparseAutoencoderTransformer(**each) for each in self.members]
            if self.is_prefit:
                # To other rows of as many features, of one scale.
                before = replace(self.rows, tricks=(), exponent=0, container="C", dtype="float64")
                members = self._fitted(members, replace(before, seed=7, kind="uniform").make())
                params["pretrain"] = False
            params["autoencoders"] = members
        return kind(**params)

    def _fitted(self, members: list[Any], X: np.ndarray) -> list[Any]:
        """Return members fitted to rows, as far as their parameters allow; frozen, if asked for."""
        stack = StackedSparseAutoencoder(members, finetune=False, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                members = stack.fit(X).autoencoders_
            except (ValueError, TypeError):
                return members
        return [FrozenEstimator(member) if self.is_frozen else member for member in members]

    def weight_of(self, n_rows: int) -> Any:
        """Return weights of so many rows."""
        return (WEIGHTS | BAD_WEIGHTS)[self.weight](np.random.default_rng(n_rows), n_rows)

    def target_of(self, n_rows: int) -> Any:
        """Return targets of so many rows."""
        _, _, targets = KINDS_OF_ESTIMATOR[self.kind]
        return (BAD_TARGETS | targets)[self.target](np.random.default_rng(n_rows), n_rows)


@st.composite
def cases(draw, kinds: tuple[str, ...] = ("transformer", *KINDS_OF_ESTIMATOR)) -> Case:
    """An estimator, two in five a transformer, and all that it is given."""
    kind = draw(st.sampled_from(kinds))
    _, table, targets = KINDS_OF_ESTIMATOR[kind]
    params, members = draw(drawn(table)), []
    if kind != "transformer":
        n_members = draw(st.integers(1, 2))
        members = [draw(drawn(AUTOENCODER, max_size=3)) for _ in range(n_members)]
        for member in members:
            if not draw(rarely()):
                member.pop("transform_algorithm", None)
        for member in members[1:]:
            if not draw(rarely()):
                member.pop("loss", None)
    first = members[0] if members else params
    given = draw(rows(are_probabilities=str(first.get("loss")) == "cross_entropy"))
    weights = BAD_WEIGHTS if draw(rarely()) else WEIGHTS
    has_bad_target = kind in ("classifier", "regressor") and draw(rarely())
    return Case(
        kind,
        params,
        members,
        given,
        draw(st.sampled_from(sorted(weights))),
        draw(st.sampled_from(sorted(BAD_TARGETS if has_bad_target else targets))),
        draw(rows(n_features=given.shape[1])),
        draw(st.booleans()),
        is_prefit=draw(rarely(4)),
        is_frozen=draw(rarely(4)),
    )
