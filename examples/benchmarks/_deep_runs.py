"""What deep.py compares: each function trains one alternative with one seed and returns a Run."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import _deep_by_hand as by_hand
import numpy as np
import torch
from _deep_by_hand import Penalty, Training
from _deep_data import UNLABELLED, Labelled, SomeLabels
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading

# UFLDL's settings for the digits, by Adam: 5 epochs reach the J of 50 iterations of L-BFGS.
PENALTY = Penalty(rho=0.1, beta=3.0, alpha=3e-3)
PRETRAINING = Training(max_iter=5, rate=1e-2)
TOP = Training(max_iter=100, solver="lbfgs")  # a softmax on the codes
TUNING = Training(max_iter=8, rate=5e-3)  # all layers, many labels
FEW_TUNING = Training(max_iter=20, rate=1e-3)  # all layers, few labels
FROM_RANDOM = Training(max_iter=100, rate=3e-3)  # all layers, few labels, nothing learnt before
DECAY = 1e-4  # of the softmax
# The features are harder to come by without the digits they are for, and the softmax has few rows.
SELF_TAUGHT = Training(max_iter=10, rate=1e-2)
SELF_TAUGHT_DECAY = 1e-5


@dataclass
class Run:
    """The accuracies of one alternative with one seed, and the seconds of its parts."""

    accuracy: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, part: str, function: Callable, *args, **kwargs):
        """Return what the function returns, and add its time to that of the part."""
        start = time.perf_counter()
        result = function(*args, **kwargs)
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - start
        return result

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


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


def members(sizes: Sequence[int], seed: int, how: Training = PRETRAINING) -> list:
    """Return one autoencoder for each size; each gets a seed of its own."""
    from sksae import SparseAutoencoderTransformer

    return [
        SparseAutoencoderTransformer(
            size,
            rho=PENALTY.rho,
            beta=PENALTY.beta,
            alpha=PENALTY.alpha,
            output_activation="sigmoid",
            scale_data=False,
            random_state=1000 * seed + layer,
            **as_parameters(how),
        )
        for layer, size in enumerate(sizes)
    ]


def fit_stack(sizes: Sequence[int], X, seed: int, how: Training = PRETRAINING):
    """Return a stack trained layer upon layer, not fine-tuned."""
    from sksae import StackedSparseAutoencoder

    return StackedSparseAutoencoder(members(sizes, seed, how), finetune=False).fit(X)


def classifier(autoencoders, how: Training, seed: int, decay: float = DECAY, **parameters):
    """Return a classifier that puts a softmax on these autoencoders."""
    from sksae import SparseAutoencoderClassifier

    return SparseAutoencoderClassifier(
        autoencoders, alpha=decay, random_state=seed, **as_parameters(how), **parameters
    )


def frozen_sksae(unlabelled, rows: Labelled, sizes: Sequence[int], seed: int) -> Run:
    """Pre-train on rows without labels, then train a softmax on the codes of other rows."""
    run = Run()
    stack = run.timed("pre-training", fit_stack, sizes, unlabelled, seed, SELF_TAUGHT)
    model = classifier(
        stack.autoencoders_, TOP, seed, SELF_TAUGHT_DECAY, pretrain=False, freeze=len(sizes)
    )
    run.timed("softmax", model.fit, rows.X_train, rows.y_train)
    run.accuracy["test"] = model.score(rows.X_test, rows.y_test)
    return run


def tuned_sksae(rows: Labelled, sizes: Sequence[int], seed: int) -> Run:
    run = Run()
    X, y = rows.X_train, rows.y_train
    stack = run.timed("pre-training", fit_stack, sizes, X, seed)
    before = classifier(stack.autoencoders_, TOP, seed, pretrain=False, freeze=len(sizes))
    run.timed("softmax", before.fit, X, y)
    run.accuracy["before"] = before.score(rows.X_test, rows.y_test)
    after = classifier(stack.autoencoders_, TUNING, seed, pretrain=False)
    run.timed("fine-tuning", after.fit, X, y)
    run.accuracy["test"] = after.score(rows.X_test, rows.y_test)
    return run


def few_labels_sksae(rows: SomeLabels, sizes: Sequence[int], decay: float, seed: int) -> Run:
    """Give all rows to one fit; those without a label have their mark."""
    run = Run()
    model = classifier(members(sizes, seed), FEW_TUNING, seed, decay, unlabeled=UNLABELLED)
    run.timed("pre-training and fine-tuning", model.fit, rows.X, rows.y)
    run.accuracy["test"] = model.score(rows.X_test, rows.y_test)
    return run


def features_sksae(rows: Labelled, sizes: Sequence[int], seed: int) -> Run:
    run = Run()
    stack = run.timed("pre-training", fit_stack, sizes, rows.X_train, seed)
    return judged(run, rows, stack.transform(rows.X_train), stack.transform(rows.X_test))


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
    network = run.timed("softmax", by_hand.fit_top, stack, X, y, DECAY, TOP)
    run.accuracy["before"] = by_hand.accuracy(network, rows.X_test, rows.y_test)
    run.timed("fine-tuning", by_hand.fine_tune, network, X, y, DECAY, TUNING)
    run.accuracy["test"] = by_hand.accuracy(network, rows.X_test, rows.y_test)
    return run


def few_labels_by_hand(
    rows: SomeLabels, sizes: Sequence[int], decay: float, seed: int, pretrained: bool = True
) -> Run:
    """Train on the labelled rows from encoders that saw all rows, or from random ones."""
    torch.manual_seed(seed)
    X, y = rows.labelled.X_train, rows.labelled.y_train

    def fit() -> by_hand.DeepClassifier:
        if not pretrained:
            network = by_hand.DeepClassifier(by_hand.untrained(X.shape[1], sizes), int(y.max()) + 1)
            return by_hand.fine_tune(network, X, y, decay, FROM_RANDOM)
        stack = by_hand.fit_stack(rows.X, sizes, PENALTY, PRETRAINING)
        network = by_hand.fit_top(stack, X, y, decay, TOP)
        return by_hand.fine_tune(network, X, y, decay, FEW_TUNING)

    run = Run()
    network = run.timed("pre-training and fine-tuning", fit)
    run.accuracy["test"] = by_hand.accuracy(network, rows.X_test, rows.y_test)
    return run


def features_by_hand(rows: Labelled, sizes: Sequence[int], seed: int) -> Run:
    torch.manual_seed(seed)
    run = Run()
    stack = run.timed("pre-training", by_hand.fit_stack, rows.X_train, sizes, PENALTY, PRETRAINING)
    return judged(run, rows, by_hand.codes(stack, rows.X_train), by_hand.codes(stack, rows.X_test))


# --- scikit-learn ----------------------------------------------------------------------------


def logistic_regression(rows: Labelled, decay: float, seed: int) -> Run:
    """Train a softmax on the features as they are, with the weight decay that the others have."""
    run = Run()
    model = LogisticRegression(C=1 / (decay * len(rows.X_train)), max_iter=1000)
    run.timed("softmax", model.fit, rows.X_train, rows.y_train)
    run.accuracy["test"] = model.score(rows.X_test, rows.y_test)
    return run


def mlp(rows: Labelled, sizes: Sequence[int], seed: int, how: Training | None = None) -> Run:
    """Train MLPClassifier, by its defaults or on sigmoid units for as many epochs as `how` says."""
    parameters = {} if how is None else {"activation": "logistic", "learning_rate_init": how.rate}
    if how is not None:
        parameters |= {"batch_size": by_hand.BATCH, "max_iter": how.max_iter, "tol": 0}
        parameters |= {"n_iter_no_change": how.max_iter + 1}
    run = Run()
    model = MLPClassifier(tuple(sizes), random_state=seed, **parameters)
    run.timed("fine-tuning", model.fit, rows.X_train, rows.y_train)
    run.accuracy["test"] = model.score(rows.X_test, rows.y_test)
    return run


def label_spreading(rows: SomeLabels, seed: int) -> Run:
    """Spread the labels over the graph of nearest neighbours of all rows."""
    run = Run()
    model = LabelSpreading(kernel="knn", n_neighbors=7)
    run.timed("fit", model.fit, rows.X, rows.y)
    run.accuracy["test"] = model.score(rows.X_test, rows.y_test)
    return run


def features_as_they_are(rows: Labelled, seed: int) -> Run:
    return judged(Run(), rows, rows.X_train, rows.X_test)


def judged(run: Run, rows: Labelled, train: np.ndarray, test: np.ndarray) -> Run:
    """Add the accuracy of a linear classifier on the codes."""
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    run.accuracy["test"] = linear.fit(train, rows.y_train).score(test, rows.y_test)
    return run
