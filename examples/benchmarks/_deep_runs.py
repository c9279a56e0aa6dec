"""What deep.py compares: each function trains one alternative with one seed and returns a Run."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import ClassVar

import _deep_by_hand as by_hand
import numpy as np
import torch
from _deep_by_hand import Penalty, Training
from _deep_data import UNLABELLED, Labelled, SomeLabels
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)

# UFLDL's settings for the digits, by Adam: 5 epochs reach the J of 50 iterations of L-BFGS.
PENALTY = Penalty(rho=0.1, beta=3.0, alpha=3e-3)
UFLDL = {
    "rho": PENALTY.rho,
    "beta": PENALTY.beta,
    "alpha": PENALTY.alpha,
    "output_activation": "sigmoid",
    "scale_data": False,
}
PRETRAINING = Training(max_iter=5, rate=1e-2)
TOP = Training(max_iter=100, solver="lbfgs")  # a softmax on the codes
TUNING = Training(max_iter=8, rate=5e-3)  # all layers, many labels
FEW_TUNING = Training(max_iter=20, rate=1e-3)  # all layers, few labels
FROM_RANDOM = Training(max_iter=100, rate=3e-3)  # all layers, few labels, nothing learnt before
DECAY, FEW_DECAY = 1e-4, 1e-3  # of the softmax
FEW_UNITS = 500
# The features are harder to come by without the digits they are for, and the softmax has few rows.
SELF_TAUGHT = Training(max_iter=15, rate=1e-2)
SELF_TAUGHT_DECAY = 1e-5
# Codes for a linear classifier, from fewer rows.
FEATURE_SETTINGS = {"mnist": UFLDL, "sentences": {}}
L1 = {"sparsity": "l1"}
FEATURES = Training(max_iter=20, rate=1e-2)
FEATURES_TOGETHER = Training(max_iter=20, rate=3e-3)


@dataclass
class Run:
    """The accuracies of one alternative with one seed, and the seconds of its parts."""

    accuracy: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    clock: ClassVar[Callable[[], float]] = time.perf_counter

    def timed(self, part: str, function: Callable, *args, **kwargs):
        """Return what the function returns, and add its time to that of the part."""
        start = Run.clock()
        result = function(*args, **kwargs)
        self.seconds[part] = self.seconds.get(part, 0.0) + Run.clock() - start
        return result


def half_of(how: Training) -> Training:
    return replace(how, max_iter=how.max_iter // 2)


# --- sksae -----------------------------------------------------------------------------------


def as_parameters(how: Training) -> dict[str, object]:
    """Return the parameters with which an estimator of sksae trains as `how` says, to the end."""
    return {
        "solver": how.solver,
        "learning_rate": how.rate if how.solver == "adam" else "auto",
        "learning_rate_schedule": "linear",
        "batch_size": by_hand.BATCH,
        "max_iter": how.max_iter,
        "tol": 0,
        "n_iter_no_change": how.max_iter + 1,
        "device": "cpu",
    }


def autoencoder(n_components: int, how: Training, **settings) -> SparseAutoencoderTransformer:
    return SparseAutoencoderTransformer(n_components, **as_parameters(how), **settings)


def members(
    sizes: Sequence[int], seed: int, how: Training = PRETRAINING
) -> list[SparseAutoencoderTransformer]:
    """Return one autoencoder for each size, as UFLDL has them; each gets a seed of its own."""
    return [
        autoencoder(size, how, random_state=1000 * seed + layer, **UFLDL)
        for layer, size in enumerate(sizes)
    ]


def fit_stack(autoencoders, X: np.ndarray) -> StackedSparseAutoencoder:
    """Return a stack trained layer upon layer, not fine-tuned."""
    return StackedSparseAutoencoder(autoencoders, finetune=False).fit(X)


def classifier(autoencoders, how: Training, seed: int, decay: float = DECAY, **parameters):
    """Return a classifier that puts a softmax on these autoencoders."""
    return SparseAutoencoderClassifier(
        autoencoders, alpha=decay, random_state=seed, **as_parameters(how), **parameters
    )


def frozen_sksae(
    unlabelled, rows: Labelled, sizes: Sequence[int], seed: int, how: Training = SELF_TAUGHT
) -> Run:
    """Pre-train on rows without labels, then train a softmax on the codes of other rows."""
    run = Run()
    stack = run.timed("pre-training", fit_stack, members(sizes, seed, how), unlabelled)
    model = classifier(
        stack.autoencoders_, TOP, seed, SELF_TAUGHT_DECAY, pretrain=False, freeze=len(sizes)
    )
    run.timed("softmax", model.fit, rows.X_train, rows.y_train)
    run.accuracy["test"] = model.score(rows.X_test, rows.y_test)
    return run


def tuned_sksae(rows: Labelled, sizes: Sequence[int], seed: int) -> Run:
    """Pre-train, then let one fit train the softmax and after it all layers together.

    What the softmax alone reaches is found apart, outside of what is timed.
    """
    run = Run()
    X, y = rows.X_train, rows.y_train
    stack = run.timed("pre-training", fit_stack, members(sizes, seed), X)
    before = classifier(stack.autoencoders_, TOP, seed, pretrain=False, freeze=len(sizes))
    run.accuracy["before"] = before.fit(X, y).score(rows.X_test, rows.y_test)
    after = classifier(stack.autoencoders_, TUNING, seed, pretrain=False)
    run.timed("softmax and fine-tuning", after.fit, X, y)
    run.accuracy["test"] = after.score(rows.X_test, rows.y_test)
    return run


def few_labels_sksae(
    rows: SomeLabels,
    sizes: Sequence[int],
    seed: int,
    how: Training = PRETRAINING,
    pretrained_on_all: bool = True,
) -> Run:
    """Give all rows to one fit, where those without a label have their mark; or the labelled."""
    run = Run()
    model = classifier(members(sizes, seed, how), FEW_TUNING, seed, FEW_DECAY, unlabeled=UNLABELLED)
    X, y = (rows.X, rows.y) if pretrained_on_all else labelled_of(rows)
    run.timed("all", model.fit, X, y)
    run.accuracy["test"] = model.score(rows.X_test, rows.y_test)
    return run


def labelled_of(rows: SomeLabels) -> tuple[np.ndarray, np.ndarray]:
    return rows.labelled.X_train, rows.labelled.y_train


def features_sksae(
    rows: Labelled, autoencoders: list, decay: float, seed: int, together: bool = False
) -> Run:
    """Train layer upon layer; then, with the last one's decay, all `together` to rebuild X."""
    stack = StackedSparseAutoencoder(autoencoders, finetune=False, random_state=seed)
    if together:
        stack.set_params(
            finetune=True, alpha=autoencoders[-1].alpha, **as_parameters(FEATURES_TOGETHER)
        )
    run = Run()
    run.timed("all", stack.fit, rows.X_train)
    return judged(run, rows, stack.transform, decay)


def features_tuned_sksae(rows: Labelled, autoencoders: list, decay: float, seed: int) -> Run:
    """Fine-tune for the labels, and take the last codes for features."""
    run = Run()
    model = classifier(autoencoders, TUNING, seed)
    run.timed("all", model.fit, rows.X_train, rows.y_train)
    return judged(run, rows, partial(codes, model.autoencoders_), decay)


def codes(autoencoders, X: np.ndarray) -> np.ndarray:
    for autoencoder in autoencoders:
        X = autoencoder.transform(X)
    return X


# --- by hand ---------------------------------------------------------------------------------


def frozen_by_hand(unlabelled, rows: Labelled, sizes: Sequence[int], seed: int) -> Run:
    torch.manual_seed(seed)
    run = Run()
    X, y = rows.X_train, rows.y_train
    stack = run.timed("pre-training", by_hand.fit_stack, unlabelled, sizes, PENALTY, SELF_TAUGHT)
    network = run.timed("softmax", by_hand.fit_top, stack, X, y, SELF_TAUGHT_DECAY, TOP)
    run.accuracy["test"] = by_hand.accuracy(network, rows.X_test, rows.y_test)
    return run


def tuned_by_hand(rows: Labelled, sizes: Sequence[int], seed: int) -> Run:
    torch.manual_seed(seed)
    run = Run()
    X, y = rows.X_train, rows.y_train
    stack = run.timed("pre-training", by_hand.fit_stack, X, sizes, PENALTY, PRETRAINING)
    part = "softmax and fine-tuning"
    network = run.timed(part, by_hand.fit_top, stack, X, y, DECAY, TOP)
    run.accuracy["before"] = by_hand.accuracy(network, rows.X_test, rows.y_test)
    run.timed(part, by_hand.fine_tune, network, X, y, DECAY, TUNING)
    run.accuracy["test"] = by_hand.accuracy(network, rows.X_test, rows.y_test)
    return run


def few_labels_by_hand(
    rows: SomeLabels, sizes: Sequence[int], seed: int, pretrained: bool = True
) -> Run:
    """Train on the labelled rows from encoders that saw all rows, or from random ones."""
    torch.manual_seed(seed)
    X, y = labelled_of(rows)

    def fit() -> by_hand.DeepClassifier:
        if not pretrained:
            network = by_hand.DeepClassifier(by_hand.untrained(X.shape[1], sizes), int(y.max()) + 1)
            return by_hand.fine_tune(network, X, y, FEW_DECAY, FROM_RANDOM)
        stack = by_hand.fit_stack(rows.X, sizes, PENALTY, PRETRAINING)
        network = by_hand.fit_top(stack, X, y, FEW_DECAY, TOP)
        return by_hand.fine_tune(network, X, y, FEW_DECAY, FEW_TUNING)

    run = Run()
    network = run.timed("all", fit)
    run.accuracy["test"] = by_hand.accuracy(network, rows.X_test, rows.y_test)
    return run


def features_by_hand(rows: Labelled, sizes: Sequence[int], decay: float, seed: int) -> Run:
    torch.manual_seed(seed)
    run = Run()
    stack = run.timed("all", by_hand.fit_stack, rows.X_train, sizes, PENALTY, FEATURES)
    return judged(run, rows, partial(by_hand.codes, stack), decay)


# --- scikit-learn ----------------------------------------------------------------------------


def logistic_regression(rows: Labelled, decay: float, seed: int) -> Run:
    """Train a softmax on the features as they are, with the weight decay that the others have."""
    run = Run()
    model = LogisticRegression(C=1 / (decay * len(rows.X_train)), max_iter=1000)
    run.timed("softmax", model.fit, rows.X_train, rows.y_train)
    run.accuracy["test"] = model.score(rows.X_test, rows.y_test)
    return run


def mlp(rows: Labelled, sizes: Sequence[int], seed: int) -> Run:
    """Train MLPClassifier by its defaults, which end its training too."""
    run = Run()
    model = MLPClassifier(tuple(sizes), random_state=seed)
    run.timed("all", model.fit, rows.X_train, rows.y_train)
    run.accuracy["test"] = model.score(rows.X_test, rows.y_test)
    return run


def mlp_same_epochs(rows: Labelled, sizes: Sequence[int], seed: int) -> Run:
    """Train MLPClassifier on sigmoid units in the batches and for the epochs of fine-tuning."""
    run = Run()
    model = MLPClassifier(
        tuple(sizes),
        activation="logistic",
        learning_rate_init=TUNING.rate,
        batch_size=by_hand.BATCH,
        max_iter=TUNING.max_iter,
        tol=0,
        n_iter_no_change=TUNING.max_iter + 1,
        random_state=seed,
    )
    run.timed("softmax and fine-tuning", model.fit, rows.X_train, rows.y_train)
    run.accuracy["test"] = model.score(rows.X_test, rows.y_test)
    return run


class NeighbourGraph:
    """The nearest neighbours of all rows, as LabelSpreading(kernel="knn") has them.

    Found once, for seeds differ only in which rows have a label; LabelSpreading takes this as its
    kernel.
    """

    def __init__(self, X: np.ndarray, X_test: np.ndarray, n_neighbors: int = 7):
        self._X, self._X_test, self._n_neighbors = X, X_test, n_neighbors
        self.search = Run()

    @cached_property
    def among(self):
        """CSR matrix of shape (n_rows, n_rows)."""
        return self.search.timed("graph", lambda: self._neighbours.kneighbors_graph(self._X))

    @cached_property
    def to_test(self):
        """CSR matrix of shape (n_test_rows, n_rows)."""
        return self._neighbours.kneighbors_graph(self._X_test)

    @cached_property
    def _neighbours(self) -> NearestNeighbors:
        return NearestNeighbors(n_neighbors=self._n_neighbors).fit(self._X)

    def __call__(self, X: np.ndarray, other: np.ndarray):
        return self.among if other is X else self.to_test.T


def label_spreading(rows: SomeLabels, graph: NeighbourGraph, seed: int) -> Run:
    """Spread the labels over the graph of nearest neighbours of all rows."""
    model = LabelSpreading(kernel=graph)
    run = Run(seconds={"graph": 0.0})
    graph.among
    run.timed("spreading", model.fit, rows.X, rows.y)
    run.seconds["graph"] = graph.search.seconds["graph"]
    run.accuracy["test"] = model.score(rows.X_test, rows.y_test)
    return run


def features_as_they_are(rows: Labelled, decay: float, seed: int) -> Run:
    return judged(Run(), rows, lambda X: X, decay)


def judged(run: Run, rows: Labelled, encode: Callable, decay: float) -> Run:
    """Add the accuracy of a linear classifier with this weight decay on the codes."""
    C = 1 / (decay * len(rows.X_train))
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))
    linear.fit(encode(rows.X_train), rows.y_train)
    run.accuracy["test"] = linear.score(encode(rows.X_test), rows.y_test)
    return run
