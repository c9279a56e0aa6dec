"""The values that parameters of a training may have, the same for all estimators."""

from numbers import Integral, Real
from typing import Any

from sklearn.utils._param_validation import Interval, StrOptions

from sksae.model.numbers import HALF
from sksae.training.validation import SOLVERS

TRAINING: dict[str, list[Any]] = {
    "alpha": [Interval(Real, 0, None, closed="left")],
    "solver": [StrOptions(set(SOLVERS))],
    "learning_rate": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
    "learning_rate_schedule": [StrOptions({"linear", "constant"})],
    "momentum": [Interval(Real, 0, 1, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "tol": [Interval(Real, 0, None, closed="left")],
    "n_iter_no_change": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "shuffle": ["boolean"],
    "dtype": [StrOptions({"float32", "float64", HALF})],
    "device": [str],
    "data_parallel": ["boolean"],
    "verbose": ["verbose"],
    "random_state": ["random_state"],
}

NOISE: dict[str, list[Any]] = {
    "noise": [StrOptions({"gaussian", "masking"}), None],
    "noise_level": [Interval(Real, 0, None, closed="left")],
}

SUPERVISED: dict[str, list[Any]] = {
    "autoencoders": [list, tuple, None],
    "pretrain": ["boolean"],
    "freeze": [Interval(Integral, 0, None, closed="left"), None],
    # The mark of a missing target, False if there is none.
    "unlabeled": ["boolean", Interval(Real, None, None, closed="neither"), "nan", str, None],
    "decay": [StrOptions({"top", "all"})],
    **NOISE,
    "dropout": [Interval(Real, 0, 1, closed="left")],
    **TRAINING,
}
