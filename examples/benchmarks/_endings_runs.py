"""What endings.py compares: a fit by default, and a patient one that minimises the same J.

Each function of RUNS trains one kind of model and returns figures that JSON can keep.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from _extractors import sparse_autoencoder
from _wide_data import DATA, Data
from sklearn.metrics import log_loss

from sksae import SparseAutoencoderClassifier, StackedSparseAutoencoder
from sksae.training import defaults

# A patient fit: a share of the rate, epochs without a new best, and epochs (or iterations) in all.
SLOWER, PATIENCE, LONGEST = 0.1, 100, 3000

Figures = dict[str, Any]
Parameters = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A model on some data.

    Attributes
    ----------
    name : str
        What is tried.
    data : str
        Key of DATA.
    parameters : dict
        That differ from the defaults.
    kind : {"transformer", "stack", "classifier"}
        Of model.
    """

    name: str
    data: str
    parameters: Parameters = field(default_factory=dict)
    kind: str = "transformer"


def patient(rate: float, solver: str) -> Parameters:
    """Return the parameters that make a training patient, whose rate by default is that."""
    if solver == "lbfgs":
        return {"tol": 0.0, "n_iter_no_change": PATIENCE, "max_iter": LONGEST}
    return {
        "learning_rate": SLOWER * rate,
        "n_iter_no_change": PATIENCE,
        "max_iter": LONGEST,
    }


def patient_member(member, n_rows: int) -> Parameters:
    """Return parameters with which a fitted autoencoder would have been trained patiently."""
    rate = defaults.resolve_learning_rate(
        "auto",
        member.solver,
        member.sparsity,
        member.n_features_in_,
        is_scaled=True,
        is_tied=member.tied_weights,
    )
    if member.early_stopping:
        n_rows -= int(np.ceil(member.validation_fraction * n_rows))
    return {
        "alpha": member.alpha_,
        "beta": member.beta_,
        "batch_size": defaults.resolve_batch_size(member.batch_size, n_rows),
        **patient(rate, member.solver),
    }


def fitted(model, X, y=None) -> tuple[Any, Figures]:
    """Return a model fitted, with its loss, epochs, steps, seconds and warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.process_time()
        model.fit(X, y)
        seconds = time.process_time() - start
    return model, {
        "loss": model.loss_,
        "epochs": model.n_iter_,
        "steps": model.n_steps_,
        "seconds": seconds,
        "warnings": ", ".join(sorted({each.category.__name__ for each in caught})),
    }


def transformer(data: Data, parameters: Parameters, how: Parameters | None) -> Figures:
    """Train an autoencoder, by default or as said."""
    X, _ = data
    parameters = {"n_components": 100, "seed": 0, **parameters, **(how or {})}
    model, figures = fitted(sparse_autoencoder(**parameters), X)
    return figures | {"R^2": model.score(X), "patient": patient_member(model, X.shape[0])}


def stack(data: Data, parameters: Parameters, how: Parameters | None) -> Figures:
    """Train two autoencoders one upon the other and then together, by default or patiently."""
    X, _ = data
    of_members = how["members"] if how else [{}, {}]
    members = [
        sparse_autoencoder(size, 0, **of_member)
        for size, of_member in zip((100, 50), of_members, strict=True)
    ]
    together = parameters | (how["together"] if how else {})
    model = StackedSparseAutoencoder(members, device="cpu", random_state=0, **together)
    model, figures = fitted(model, X)
    return figures | {"R^2": model.score(X), "patient": patient_stack(model, X.shape[0])}


def classifier(data: Data, parameters: Parameters, how: Parameters | None) -> Figures:
    """Train a classifier on one autoencoder; its R^2 is the share of the entropy explained.

    The accuracy on the training rows, too, is kept.
    """
    X, y = data
    member = sparse_autoencoder(100, 0, **(how["members"][0] if how else {}))
    together = parameters | (how["together"] if how else {})
    model = SparseAutoencoderClassifier([member], device="cpu", random_state=0, **together)
    model, figures = fitted(model, X, y)
    entropy = log_loss(y, np.tile(np.bincount(y) / len(y), (len(y), 1)))
    return figures | {
        "R^2": 1.0 - log_loss(y, model.predict_proba(X)) / entropy,
        "accuracy": model.score(X, y),
        "patient": patient_stack(model, X.shape[0]),
    }


def patient_stack(model, n_rows: int) -> dict[str, Any]:
    """Return how the members of a fitted stack, and all together, would be trained patiently."""
    rate = defaults.resolve_finetuning_rate("auto", model.solver, model.n_features_in_)
    size = defaults.resolve_finetuning_batch_size(model.batch_size)
    return {
        "members": [patient_member(member, n_rows) for member in model.autoencoders_],
        "together": {
            "alpha": getattr(model, "alpha_", model.alpha),
            "batch_size": size,
            **patient(rate, model.solver),
        },
    }


RUNS: dict[str, Callable[[Data, Parameters, Parameters | None], Figures]] = {
    "transformer": transformer,
    "stack": stack,
    "classifier": classifier,
}


def run(case: Case, how: Parameters | None = None) -> Figures:
    """Return the figures of a case, by default or as said."""
    return RUNS[case.kind](DATA[case.data](), case.parameters, how)
