"""Record what many small fits give, to the last bit, and compare it after a change of internals.

    python tests/record_outputs.py before.npz             # in the tree before the change
    python tests/record_outputs.py --compare before.npz   # in the tree after it

The second prints every difference and exits with status 1 if there is one. Only names that users
have are used, here and in recorded_cases.py, so that both files run in both trees. Bits depend on
the machine, on the versions of all packages and on the number of threads: a file is made for one
comparison and not kept.
"""

import argparse
import contextlib
import io
import os
import platform
import re
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from recorded_cases import CASES, ROWS, TARGETS, WEIGHT, Diary
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator

import sksae
from sksae import metrics

METHODS = (
    "transform",
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "score_samples",
)
PACKAGES = ("numpy", "scipy", "scikit-learn", "torch")
SECONDS = re.compile(r"\b\d[\d.e-]* s\b")
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
CONDITIONS = "conditions"


# What is recorded of a fit.


def flattened(value, name):
    """Yield (name, array) for all numbers and texts in a value, however it is nested."""
    if isinstance(value, BaseEstimator):
        value = fitted(value)
    elif issparse(value):
        value = value.toarray()
    if isinstance(value, dict):
        for key, each in value.items():
            yield from flattened(each, f"{name}/{key}")
    elif isinstance(value, list | tuple) and not all(
        isinstance(each, float | str) for each in value
    ):
        for at, each in enumerate(value):
            yield from flattened(each, f"{name}/{at}")
    else:
        array = np.asarray(value)
        if array.dtype.kind not in "biufU":
            array = np.array([ADDRESS.sub("", repr(each)) for each in array.ravel()])
        yield name, array


def fitted(model):
    """Return all public fitted attributes, those that are computed too, but no times."""
    found = dict(getattr(model, "steps", ()))
    for name in dir(model):
        value = getattr(model, name, None) if re.fullmatch(r"[^_].*[^_]_", name) else None
        if value is None or name in ("refit_time_", "scorer_"):
            continue
        if name == "cv_results_":
            value = {key: each for key, each in value.items() if not key.endswith("_time")}
        found[name] = value
    return found


def answers(model, X, y):
    """Return what a model says of rows that it knows and of others, in both precisions."""
    dense = X.toarray() if issparse(X) else np.asarray(X)
    others = 1.5 * dense[:7] + 0.1
    forms = {
        "the rows": X,
        "dense rows": dense,
        "csr rows": csr_array(dense),
        "float32 rows": dense.astype(np.float32),
        "other rows": others,
        "one row": others[:1],
    }
    methods = [method for method in METHODS if hasattr(model, method)]
    found = {
        f"{method} of {form}": answer(getattr(model, method), rows)
        for form, rows in forms.items()
        for method in methods
    }
    if methods:
        many = np.tile(dense, (20, 1))
        found["many rows"] = getattr(model, methods[0])(many)[::50]
    found["score"] = answer(model.score, X, *(() if y is None else (y,)))
    if hasattr(model, "get_feature_names_out"):
        found["names"] = list(model.get_feature_names_out())
    if hasattr(model, "inverse_transform"):
        codes = found["transform of dense rows"]
        found["inverse_transform"] = answer(model.inverse_transform, codes)
        found["metrics"] = measured(codes)
    return found


def answer(method, *args):
    """Return what a method returns, or the text of its error."""
    try:
        return method(*args)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def measured(codes):
    """Return what sksae.metrics says of codes."""
    return {
        "mean_activation": metrics.mean_activation(codes),
        "l0": metrics.l0(codes, threshold=0.1, relative=True),
        "feature_density": metrics.feature_density(codes, threshold=0.01),
        "dead_fraction": metrics.dead_fraction(codes),
        "hoyer_sparsity": metrics.hoyer_sparsity(codes),
        "treves_rolls_sparseness": metrics.treves_rolls_sparseness(np.abs(codes)),
    }


def outputs_of(case):
    """Fit one case and return all that a user would see: a dict of names and arrays."""
    X, y = ROWS[case.rows], TARGETS[case.target]
    weight = {"sample_weight": WEIGHT[: X.shape[0]]} if case.weighted else {}
    np.random.seed(0)  # noqa: NPY002  the seed of random_state=None
    printed, found, diary = io.StringIO(), {}, None
    with warnings.catch_warnings(record=True) as warned, contextlib.redirect_stdout(printed):
        warnings.simplefilter("always")
        try:
            model = case.make(**case.params)
            if case.stop_after is not None:
                diary = Diary(case.stop_after)
                model.set_callbacks(diary)
            model = case.train(model, X, y, **weight)
            found["model"] = repr(model)
            found["fitted"] = model
            found["answers"] = answers(model, X, y)
        except Exception as error:
            found["error"] = f"{type(error).__name__}: {error}"
    found["warnings"] = [
        f"{Path(each.filename).name}: {each.category.__name__}: {each.message}" for each in warned
    ]
    found["printed"] = SECONDS.sub("... s", printed.getvalue())
    found["numpy's generator"] = np.random.random()  # noqa: NPY002
    if diary is not None:
        found["diary"] = diary.lines
    return {name.removeprefix("/"): array for name, array in flattened(found, "")}


def record(chosen):
    """Return the outputs of all cases whose name contains a text, and what bits depend on."""
    arrays = dict(flattened(conditions(), CONDITIONS))
    names = [name for name in CASES if chosen in name]
    for name in names:
        for output, array in outputs_of(CASES[name]).items():
            arrays[f"{name} | {output}"] = array
    print(f"{len(names)} fits, {len(arrays)} arrays, sksae from {Path(sksae.__file__).parent}")
    return arrays


def conditions():
    """Return all but the code that bits depend on."""
    return {
        "threads": str(torch.get_num_threads()),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "SKSAE_PRODUCTS": os.environ.get("SKSAE_PRODUCTS", "not set"),
        **{package: version(package) for package in PACKAGES},
    }


# Comparing.


def difference(old, new):
    """Say in what two arrays differ, or return None if they have the same bits."""
    if old.dtype.kind == "U" or new.dtype.kind == "U":
        same = old.shape == new.shape and bool(np.all(old == new))
        return None if same else f"was {old.tolist()!r}\n    is  {new.tolist()!r}"
    if (old.dtype, old.shape) != (new.dtype, new.shape):
        return f"was {old.dtype} of shape {old.shape}, is {new.dtype} of shape {new.shape}"
    if old.tobytes() == new.tobytes():
        return None
    one, other = (array.astype(np.float64).ravel() for array in (old, new))
    differ = (one != other) & ~(np.isnan(one) & np.isnan(other))
    gap = np.abs(one - other)[differ].max(initial=0.0)
    largest = np.abs(one).max()
    return f"{differ.sum()} of {one.size} differ, by up to {gap:.3g}; the largest is {largest:.3g}"


def differences(old, new):
    """Yield a line for each output that is not the same in both records."""
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            yield f"{name}: is missing"
        elif name not in old:
            yield f"{name}: is new"
        elif said := difference(old[name], new[name]):
            yield f"{name}: {said}"


def compare(old, new):
    """Print all differences, and return how many there are beside those of the conditions."""
    found = list(differences(old, new))
    notes = [line for line in found if line.startswith(CONDITIONS)]
    found = [line for line in found if not line.startswith(CONDITIONS)]
    for line in [*notes, *found]:
        print(line)
    cases = {line.partition(" | ")[0] for line in found}
    print(f"{len(found)} differences in {len(cases)} fits" if found else "no difference")
    return len(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, help="an .npz file, to be written or read")
    parser.add_argument("--compare", action="store_true", help="compare with FILE")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument("--only", default="", metavar="TEXT", help="fits whose name contains TEXT")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not options.compare:
        np.savez_compressed(options.file, **record(options.only))
        return 0
    with np.load(options.file) as file:
        old = {
            name: file[name]
            for name in file.files
            if name.startswith(CONDITIONS) or options.only in name.partition(" | ")[0]
        }
    return int(compare(old, record(options.only)) > 0)


if __name__ == "__main__":
    sys.exit(main())
