"""Cases of fits in several processes whose rows are dealt in all ways; see `data_parallel`."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from data_parallel import (
    BATCH,
    TOPK,
    attributes_of,
    dealt,
    digest_of,
    labels_of,
    make_rows,
    members,
    numbers_of,
    sae,
    weights,
)
from scipy.sparse import csr_array

from sksae import (
    ShardedRows,
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    StackedSparseAutoencoder,
)
from sksae.sequence import TokenCodes

FEW = {"max_iter": 3, "tol": 0.0, "dtype": "float64", "batch_size": BATCH}


def told(model):
    """Return what a case is compared by: a checksum, and numbers to look at."""
    found = attributes_of(model)
    names = ("loss_", "n_iter_", "validation_score_curve_", "n_steps_", "coefs_", "classes_")
    return digest_of(model), {name: found[name] for name in names if name in found}


def of_uneven(rank, size):
    """Return rows of a process: three of four are those of the first one."""
    return np.arange(360) if rank == 0 else np.arange(360, 480)[rank - 1 :: size - 1]


def uneven(rank, size):
    return told(
        sae(data_parallel=True, shuffle=True, **FEW).fit(make_rows()[of_uneven(rank, size)])
    )


def shuffled_noise(rank, size):
    model = sae(data_parallel=True, shuffle=True, noise="masking", **FEW)
    return told(model.fit(make_rows()[dealt(rank, size)]))


def any_seed(rank, size):
    model = sae(data_parallel=True, random_state=None, **FEW)
    return told(model.fit(make_rows()[dealt(rank, size)]))


def generator(rank, size):
    model = sae(data_parallel=True, random_state=np.random.RandomState(rank), **FEW)
    return told(model.fit(make_rows()[dealt(rank, size)]))


def no_rows(params, *, sparse=False, rank_without=1):
    """Return a case in which one process has no rows at all."""

    def case(rank, size):
        X = make_rows()
        X = csr_array(np.where(np.abs(X - 3.0) < 0.3, 0.0, X)) if sparse else X
        others = [each for each in range(size) if each != rank_without or size == 1]
        own = dealt(others.index(rank), len(others)) if rank in others else []
        return told(sae(data_parallel=size > 1, **(FEW | params)).fit(X[own]))

    return case


def weightless(rank, size):
    """All rows of one process have weight 0."""
    weight = weights() if rank == 0 else np.zeros(480)
    return told(
        sae(data_parallel=True, solver="lbfgs", **FEW).fit(make_rows(), sample_weight=weight)
    )


def weightless_alone(rank, size):
    """What the one before is to come to."""
    return told(sae(solver="lbfgs", **FEW).fit(make_rows(), sample_weight=weights()))


def few_rows(params):
    """Return a case in which one process has fewer rows than there are minibatches."""

    def case(rank, size):
        own = make_rows()[:2] if rank == 1 else make_rows()
        return told(sae(data_parallel=True, **(FEW | {"batch_size": 64} | params)).fit(own))

    return case


def held_out(params):
    def case(rank, size):
        model = sae(data_parallel=True, early_stopping=True, **(FEW | params))
        return told(model.fit(make_rows()[of_uneven(rank, size)]))

    return case


def classes_apart(rank, size):
    """Each process has other classes, and one of them a class of its own."""
    X = make_rows()
    y = labels_of(X)
    own = y != "c" if rank == 0 else y != "a"
    model = SparseAutoencoderClassifier(members(), data_parallel=True, random_state=0, **FEW)
    return told(model.fit(X[own], y[own]))


def undivided(rank, size):
    """Each process has all rows."""
    model = StackedSparseAutoencoder(members(), data_parallel=True, random_state=0, **FEW)
    return told(model.fit(make_rows()))


def classes_nowhere(rank, size):
    """One process has rows without a label only."""
    X = make_rows()
    y = labels_of(X).astype(object)
    y[::3] = None
    if rank == 1:
        y[:] = None
    own, params = dealt(rank, size), {"unlabeled": None, "early_stopping": True}
    model = SparseAutoencoderClassifier(
        members(), data_parallel=True, random_state=0, **FEW, **params
    )
    return told(model.fit(X[own], y[own]))


def dropout(rank, size):
    X, own = make_rows(), dealt(rank, size)
    model = SparseAutoencoderRegressor(
        members(), dropout=0.2, noise="gaussian", data_parallel=True, random_state=None, **FEW
    )
    return told(model.fit(X[own], numbers_of(X)[own]))


def held_out_regressor(rank, size):
    X, own = make_rows(), dealt(rank, size)
    model = SparseAutoencoderRegressor(
        members(), early_stopping=True, data_parallel=True, random_state=0, **FEW
    )
    return told(model.fit(X[own], numbers_of(X)[own]))


def pieces(rank, size):
    """`partial_fit`, whose second piece is unlike the first."""
    X, own = make_rows(), dealt(rank, size)
    model = sae(data_parallel=size > 1)
    model.partial_fit(X[own]).partial_fit(5.0 * X[own]).partial_fit(X[own])
    return told(model)


def pieces_of_classifier(rank, size):
    X, own = make_rows(), dealt(rank, size)
    y = labels_of(X)
    model = SparseAutoencoderClassifier(
        members(), data_parallel=size > 1, random_state=0, shuffle=False, **FEW
    )
    for _ in range(3):
        model.partial_fit(X[own], y[own], classes=np.unique(y))
    return told(model)


def pieces_of_regressor(rank, size):
    X, own = make_rows(), dealt(rank, size)
    model = SparseAutoencoderRegressor(
        members(), data_parallel=size > 1, random_state=0, shuffle=False, **FEW
    )
    for times in (1.0, 3.0, 1.0):
        model.partial_fit(X[own], times * numbers_of(X)[own])
    return told(model)


def warm(rank, size):
    X, own = make_rows(), dealt(rank, size)
    model = sae(data_parallel=size > 1, warm_start=True, **FEW)
    return told(model.fit(X[own]).fit(X[own]))


def stack_without_rows(rank, size):
    own = make_rows()[:0] if rank == 1 else make_rows()
    return told(
        StackedSparseAutoencoder(members(), data_parallel=True, random_state=0, **FEW).fit(own)
    )


class Busy:
    """A callback that fits and scores, in one process only."""

    max_propagation_depth = 0

    def __init__(self, X):
        self.X = X

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, *args, **kwargs):
        weight = np.linspace(0.0, 2.0, len(self.X))
        model = sae(max_iter=1).fit(self.X, sample_weight=weight)
        assert np.isfinite(model.score(self.X, sample_weight=weight))

    def on_fit_task_end(self, *args, **kwargs):
        self.on_fit_task_begin()
        return False

    def teardown(self, estimator, context):
        pass


def busy_callback(rank, size):
    X, own = make_rows(), dealt(rank, size)
    model = sae(data_parallel=size > 1, **FEW)
    if rank == 1:
        model.set_callbacks(Busy(X))
    return told(model.fit(X[own]))


def extremes(rank, size):
    """Rows far from 1, and a constant column."""
    X, own = 1e-180 * make_rows(), dealt(rank, size)
    X[:, 3] = 7e-180
    return told(sae(data_parallel=size > 1, **FEW).fit(X[own]))


def files(rank, size):
    """Rows of all in two files, of which each process takes its share."""
    rows = np.concatenate([make_rows()[dealt(each, size)] for each in range(size)])
    with TemporaryDirectory() as folder:
        for number, part in enumerate(np.array_split(rows, 2)):
            np.save(Path(folder) / f"{number}.npy", part)
        own = ShardedRows.open(folder).share(rank, size)
        model = sae(data_parallel=size > 1, **FEW).fit(own)
        assert np.isfinite(model.score(own))
    return told(model)


# What one process learns of all rows too.
def tokens(*, weighted=False, padded=False, in_pieces=False):
    """Return a case of rows of two tokens each; in some a value, or a whole token, is missing."""

    def case(rank, size):
        X, weight, own = make_rows(), weights() if weighted else None, dealt(rank, size)
        X[::7, 3] = X[1::5, 8] = np.nan
        if padded:
            X[::3, 5:] = np.nan
            own = own[:0] if rank == 1 else own
        inner = sae(data_parallel=size > 1, **FEW | {"batch_size": 2 * BATCH, "random_state": None})
        seed = None if padded else 0
        model = TokenCodes(inner, token_width=5, random_state=seed)
        parts = np.array_split(own, 2) if in_pieces else [own]
        for part in parts:
            fit = model.partial_fit if in_pieces else model.fit
            fit(X[part], sample_weight=None if weight is None else weight[part])
        checksum, found = told(model.autoencoder_)
        mean = model.token_mean_
        return (checksum, mean.tolist()), found | {"token_mean_": mean, "length_": model.length_}

    return case


ALIKE = {
    "tokens": tokens(),
    "tokens weighted": tokens(weighted=True),
    "pieces": pieces,
    "pieces of a classifier": pieces_of_classifier,
    "pieces of a regressor": pieces_of_regressor,
    "warm start": warm,
    "extreme rows": extremes,
    "busy callback": busy_callback,
    "files": files,
    "no rows": no_rows({}),
    "no rows first": no_rows({}, rank_without=0),
    "no rows auto": no_rows({"sparsity": "l1", "beta": "auto"}),
    "no rows csr": no_rows({}, sparse=True),
    "no rows topk": no_rows(TOPK),
    "no rows batchtopk": no_rows({"sparsity": "batchtopk", "rho": 3}),
    "no rows gated": no_rows({"sparsity": "gated", "beta": "auto"}),
    "no rows lbfgs": no_rows({"solver": "lbfgs", "beta": "auto", "sparsity": "l1"}),
}
CASES = ALIKE | {
    "tokens padded": tokens(padded=True),
    "tokens in pieces": tokens(in_pieces=True),
    "uneven": uneven,
    "noise": shuffled_noise,
    "any seed": any_seed,
    "generator": generator,
    "weightless": weightless,
    "weightless alone": weightless_alone,
    "few rows": few_rows({}),
    "few rows batchtopk": few_rows({"sparsity": "batchtopk", "rho": 3}),
    "few rows jumprelu": few_rows({"sparsity": "jumprelu", "beta": "auto"}),
    "held out": held_out({}),
    "held out lbfgs": held_out({"solver": "lbfgs"}),
    "held out batchtopk": held_out({"sparsity": "batchtopk", "rho": 3}),
    "classes apart": classes_apart,
    "undivided": undivided,
    "classes nowhere": classes_nowhere,
    "dropout": dropout,
    "held out regressor": held_out_regressor,
    "stack without rows": stack_without_rows,
}
