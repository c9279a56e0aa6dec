"""Same seed, same bits; at another number of threads nearly the same; and nobody else's chance."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed, parallel_config
from sklearn.base import clone
from sklearn.datasets import load_digits

import sksae
from sksae import SparseAutoencoderTransformer

MODELS = {
    "adam": {"solver": "adam"},
    "adam-float64": {"solver": "adam", "dtype": "float64"},
    "adam-deep": {
        "hidden_layer_sizes": (40, 20),
        "sparsity": "l1",
        "activation": "prelu",
        "beta": 0.1,
    },
    "adam-held-out": {"early_stopping": True},
    "sgd": {"solver": "sgd"},
    "lbfgs": {"solver": "lbfgs"},
    "lbfgs-float64": {"solver": "lbfgs", "dtype": "float64"},
    "adam-tied-noise": {"tied_weights": True, "noise": "gaussian"},
    "sgd-masks": {"solver": "sgd", "noise": "masking"},
    "lbfgs-noise": {"solver": "lbfgs", "noise": "gaussian"},
}
each_model = pytest.mark.parametrize("name", MODELS)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def make_model(name, **params):
    given = {"n_components": 30, "max_iter": 10, "random_state": 0}
    return SparseAutoencoderTransformer(**(given | MODELS[name] | params))


def make_rows():
    return load_digits().data[:1000].astype(np.float32)


def bits(model):
    """Return everything that training has computed, as bytes."""
    arrays = [*model.coefs_, *model.intercepts_, model.mean_activation_, model.loss_]
    return b"".join(np.asarray(array).tobytes() for array in arrays)


def fit_all():
    X = make_rows()
    return {name: make_model(name).fit(X) for name in MODELS}


def save(path):
    """Fit every model and write down what may be compared; for a fresh process."""
    X = make_rows()
    models = fit_all()
    facts = {"n_threads": torch.get_num_threads()}
    for name, model in models.items():
        facts[f"{name} bits"] = np.frombuffer(bits(model), np.uint8)
        facts[f"{name} loss"], facts[f"{name} score"] = model.loss_, model.score(X)
        facts[f"{name} codes"] = model.transform(X)
    np.savez(path, **facts)


def in_fresh_process(path, n_threads):
    """Return the facts that a new interpreter finds at a number of threads."""
    here = Path(__file__).parent
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(n_threads))
    environment["PYTHONPATH"] = os.pathsep.join([str(here), str(Path(sksae.__file__).parents[1])])
    code = "import sys, test_reproducible; test_reproducible.save(sys.argv[1])"
    command = [sys.executable, "-W", "ignore", "-c", code, str(path)]
    subprocess.run(command, env=environment, check=True, timeout=300)
    with np.load(path) as facts:
        return dict(facts)


@pytest.fixture(scope="module")
def models():
    return fit_all()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    n_threads = torch.get_num_threads()
    facts = in_fresh_process(tmp_path_factory.mktemp("fresh") / "facts.npz", n_threads)
    assert facts["n_threads"] == n_threads
    return facts


@pytest.fixture(scope="module")
def other_threads(tmp_path_factory):
    n_threads = 2 if torch.get_num_threads() == 1 else 1
    facts = in_fresh_process(tmp_path_factory.mktemp("threads") / "facts.npz", n_threads)
    assert facts["n_threads"] == n_threads
    return facts


@each_model
def test_a_refit_gives_the_same_bits(models, name):
    first = bits(models[name])
    assert bits(clone(models[name]).fit(make_rows())) == first
    # And so does one on top of the last.
    assert bits(models[name].fit(make_rows())) == first


@each_model
def test_a_fresh_process_gives_the_same_bits(models, fresh, name):
    assert fresh[f"{name} bits"].tobytes() == bits(models[name])


@pytest.mark.slow
def test_a_loky_worker_gives_the_same_bits(models):
    X = make_rows()
    with parallel_config("loky", n_jobs=2, inner_max_num_threads=torch.get_num_threads()):
        fitted = Parallel()(delayed(make_model(name).fit)(X) for name in MODELS)
    for name, model in zip(MODELS, fitted, strict=True):
        assert bits(model) == bits(models[name]), name


@pytest.mark.slow
@each_model
def test_another_number_of_threads_gives_nearly_the_same(fresh, other_threads, name):
    for fact in ("loss", "score"):
        expected = fresh[f"{name} {fact}"]
        assert other_threads[f"{name} {fact}"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adam", "adam-float64"])
def test_another_number_of_threads_gives_a_kl_model_the_same_codes(fresh, other_threads, name):
    np.testing.assert_allclose(
        other_threads[f"{name} codes"], fresh[f"{name} codes"], rtol=0, atol=1e-4
    )


@pytest.mark.slow
def test_threads_do_not_change_the_codes_of_a_long_training_on_larger_rows(load):
    X = load("mnist.npz")["X_train"][:5000].astype(np.float32)
    model = SparseAutoencoderTransformer(196, rho=0.1, max_iter=60, random_state=0)
    n_threads = torch.get_num_threads()
    codes, losses, scores = [], [], []
    try:
        for n in (1, 4):
            torch.set_num_threads(n)
            codes.append(model.fit_transform(X))
            losses.append(model.loss_)
            scores.append(model.score(X))
    finally:
        torch.set_num_threads(n_threads)
    np.testing.assert_allclose(*codes, rtol=0, atol=1e-4)
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert scores[0] == pytest.approx(scores[1], rel=1e-3)


def test_seeds_differ():
    X = make_rows()
    one, other = (make_model("adam", random_state=seed, max_iter=2).fit(X) for seed in (0, 1))
    assert bits(one) != bits(other)


def test_a_generator_given_is_drawn_from():
    X, generator = make_rows(), np.random.RandomState(0)
    one, other = (make_model("adam", random_state=generator, max_iter=2).fit(X) for _ in range(2))
    assert bits(one) != bits(other)
    again = make_model("adam", random_state=np.random.RandomState(0), max_iter=2).fit(X)
    assert bits(again) == bits(one)


def test_partial_fits_give_the_same_bits():
    X = make_rows()

    def fitted():
        model = make_model("adam")
        for rows in (X[:500], X[500:900], X[:500]):
            model.partial_fit(rows)
        return bits(model)

    assert fitted() == fitted()


def global_generators():
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return kind, keys.tobytes(), rest, torch.get_rng_state().numpy().tobytes()


@pytest.mark.each_once
@pytest.mark.parametrize("random_state", [0, np.random.RandomState(0)], ids=["int", "generator"])
@each_model
def test_global_generators_are_left_alone(name, random_state):
    X = make_rows()[:300]
    np.random.rand(3)  # noqa: NPY002
    torch.rand(3)
    before = global_generators()
    model = make_model(name, random_state=random_state, max_iter=2).fit(X)
    model.inverse_transform(model.transform(X))
    model.score(X)
    if model.solver != "lbfgs" and not model.early_stopping:
        model.partial_fit(X)
    assert global_generators() == before


def test_without_a_seed_only_numpys_generator_is_drawn_from():
    X, before = make_rows()[:300], torch.get_rng_state()
    np.random.seed(7)  # noqa: NPY002
    one = make_model("adam", random_state=None, max_iter=2).fit(X)
    np.random.seed(7)  # noqa: NPY002
    assert bits(make_model("adam", random_state=None, max_iter=2).fit(X)) == bits(one)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_number_of_threads_is_left_alone():
    before = torch.get_num_threads()
    make_model("lbfgs", max_iter=2).fit(make_rows()[:300])
    assert torch.get_num_threads() == before
