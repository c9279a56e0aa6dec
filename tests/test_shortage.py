"""Where memory ends: one error that says how much was asked for and what to do."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.engine import lbfgs_training, minibatch_training
from sksae.engine.inference import layers
from sksae.model_selection import BatchedGridSearchCV
from sksae.process.shortage import explained_shortage

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 40000000000000 bytes. Error code 12 (Cannot allocate memory)"
)
WINDOWS = "DefaultCPUAllocator: not enough memory: you tried to allocate 3221225472 bytes."
CUDA = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 8.00 GiB."
MPS = (
    "MPS backend out of memory (MPS allocated: 1 GB). Tried to allocate 256 bytes on private pool."
)
CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
BAD_ALLOC, IN_WINDOWS = "std::bad_alloc", "bad allocation"
DIMENSION = "Maximum allowed dimension exceeded"
TOO_BIG = (
    "array is too big; `arr.size * arr.dtype.itemsize` is larger than the maximum possible size."
)
NUMPY = "Unable to allocate 218. TiB for an array with shape (3, 10) and data type float64"

rng = np.random.default_rng(0)
X, LABELS = rng.random((40, 5)), rng.integers(0, 2, 40)


def make(**params):
    defaults = {"n_components": 3, "batch_size": 16, "max_iter": 2, "random_state": 0}
    return SparseAutoencoderTransformer(**(defaults | params))


def exhausted(*args, **kwargs):
    raise RuntimeError(CPU)


@pytest.mark.parametrize(
    ("error", "size"),
    [
        (RuntimeError(CPU), ": 36.4 TiB were asked for at once"),
        (RuntimeError(WINDOWS), ": 3 GiB were asked for at once"),
        (torch.OutOfMemoryError(CUDA), ": 20 GiB were asked for at once"),
        (RuntimeError(MPS), ": 256 bytes were asked for at once"),
        (RuntimeError(CUBLAS), ""),
        (RuntimeError(BAD_ALLOC), ""),
        (RuntimeError(IN_WINDOWS), ""),
        (ValueError(DIMENSION), ""),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), ""),
        (OSError(12, "Cannot allocate memory"), ""),
        (RuntimeError("can't start new thread"), ""),
        (ValueError(TOO_BIG), ""),
        (MemoryError(NUMPY), ": 218 TiB were asked for at once"),
        (MemoryError(), ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_error_tells_the_size_and_what_to_do(error, size):
    @explained_shortage("Do this.")
    @explained_shortage("Do that.")
    def fail():
        raise error

    with pytest.raises(MemoryError) as caught:
        fail()
    assert str(caught.value) == f"Out of memory{size}. Do that."
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [RuntimeError("no such kernel"), ValueError("no"), KeyError(1), OSError(2, "No such file")],
)
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, explained_shortage("Do this."):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("n_components", [10**7, 10**13])
def test_a_network_that_no_machine_holds(method, n_components):
    rows = sp.random_array(
        (20, 10**6), density=1e-4, random_state=np.random.default_rng(0), format="csr"
    )
    with pytest.raises(MemoryError, match=r"Out of memory.*n_components.*device"):
        getattr(make(n_components=n_components), method)(rows)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize(
    "model",
    [
        make(),
        StackedSparseAutoencoder([make(), make()]),
        SparseAutoencoderClassifier([make()]),
        SparseAutoencoderRegressor([make()]),
    ],
    ids=lambda model: type(model).__name__,
)
def test_fits_that_run_out_of_memory(model, solver, monkeypatch):
    monkeypatch.setattr(minibatch_training.MinibatchTraining, "run", exhausted)
    monkeypatch.setattr(lbfgs_training._LBFGSTraining, "run", exhausted)
    with pytest.raises(MemoryError, match=r"36\.4 TiB were asked for at once\. .*batch_size"):
        model.set_params(solver=solver).fit(X, LABELS)
    assert not hasattr(model, "n_features_in_")
    if solver != "lbfgs":
        with pytest.raises(MemoryError, match="Out of memory"):
            make(solver=solver).partial_fit(X)


@pytest.mark.parametrize("rows", [X, sp.csr_array(X)], ids=["dense", "CSR"])
@pytest.mark.parametrize("method", ["transform", "inverse_transform", "score", "score_samples"])
@pytest.mark.parametrize("kind", ["one", "stack"])
def test_inference_that_runs_out_of_memory(kind, method, rows, monkeypatch):
    model = make() if kind == "one" else StackedSparseAutoencoder([make(), make()], max_iter=2)
    model.fit(X)
    given = model.transform(X) if method == "inverse_transform" else rows
    monkeypatch.setattr(layers.Layers, "run", exhausted)
    with pytest.raises(MemoryError, match=r"36\.4 TiB were asked for at once\. Give fewer rows"):
        getattr(model, method)(given)


@pytest.mark.parametrize("n_cores", [1, 2])
def test_a_search_that_runs_out_of_memory_says_so(n_cores, monkeypatch):
    monkeypatch.setattr("sksae.engine.threads.n_cores", lambda: n_cores)
    monkeypatch.setattr(minibatch_training.MinibatchTraining, "run", exhausted)
    with pytest.raises(MemoryError, match=r"36\.4 TiB were asked for at once\. .*batch_size"):
        BatchedGridSearchCV(make(), {"rho": [0.1, 0.2, 0.3]}, cv=2).fit(X)
