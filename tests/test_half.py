"""Half precision: products of a training step in bfloat16, and everything else in float32."""

import pickle

import numpy as np
import pytest
import torch
from batched import assert_same_results, search_both
from oracle import Problem, relative_error, small_parts
from plans import plan_of
from sklearn.exceptions import NotFittedError

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.engine import device, products
from sksae.engine.memory import bytes_side_by_side
from sksae.engine.products import HalfProducts, Operand

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Of a number that is rounded to bfloat16.
ROUNDING = 2.0**-9


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.random((80, 3)) @ rng.normal(size=(3, 10)) + 0.1 * rng.random((80, 10))


@pytest.fixture(scope="module")
def y(X):
    return (X[:, 0] > np.median(X[:, 0])).astype(int)


@pytest.fixture(autouse=True)
def small_products(monkeypatch):
    """Let the smallest products but those with a vector be in bfloat16, on any processor.

    torch computes them everywhere, if slowly.
    """
    monkeypatch.setattr(device, "has_half_products", lambda: True)
    monkeypatch.setattr(products, "LEAST_HALF_WORK", 1)
    monkeypatch.setattr(products, "LEAST_HALF_SIDE", 2)


@pytest.fixture
def halves(monkeypatch):
    """The dtypes of what torch multiplied for `HalfProducts`."""
    found = []

    class Listening(products.TorchProducts):
        def product(self, left, right, out, input_scale=1.0):
            found.append({each.tensor.dtype for each in (left, right, out)})
            return super().product(left, right, out, input_scale)

    monkeypatch.setattr(products, "TorchProducts", Listening)
    return found


def make(**params):
    defaults = {"n_components": 6, "batch_size": 16, "max_iter": 15, "random_state": 0}
    return SparseAutoencoderTransformer(**(defaults | {"dtype": "bfloat16"} | params))


# Products.


@pytest.mark.parametrize("n_models", [1, 3])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("way", ["plain", "left.mT", "right.mT", "out.mT"])
def test_a_product_is_that_of_rounded_matrices(n_models, shared, way, halves):
    if way in ("left.mT", "out.mT") and shared and n_models > 1:
        pytest.skip("no library takes those")
    rng = torch.Generator().manual_seed(0)
    left = torch.randn(n_models, 5, 7, generator=rng)
    right = torch.randn(1 if shared else n_models, 7, 4, generator=rng)
    added, out = torch.randn(n_models, 5, 1, generator=rng), torch.empty(n_models, 5, 4)
    expected = left.bfloat16().double() @ right.bfloat16().double()
    turn = [each.mT.contiguous().mT for each in (left, right, out)]
    a, b, c = (
        Operand(turned if way.startswith(name) else straight)
        for name, straight, turned in zip(
            ("left", "right", "out"), (left, right, out), turn, strict=True
        )
    )
    half = HalfProducts(torch.device("cpu"))
    half.product(a, b, c, 0.5)()
    largest = expected.abs().max().item()
    # In small products torch rounds more than once.
    room = {"rtol": 0.0, "atol": 2 * ROUNDING * largest}
    torch.testing.assert_close(c.tensor.double(), 0.5 * expected, **room)
    half.affine(a, b, c, 2.0)(added)
    torch.testing.assert_close(c.tensor.double() / 2.0, added / 2.0 + expected, **room)
    assert {torch.bfloat16} in halves


def test_sums_over_rows_and_small_products_are_in_float32(monkeypatch):
    def of(*sides):
        a, b, c = sides
        rng = torch.Generator().manual_seed(0)
        left, right = (torch.randn(1, *each, generator=rng) for each in ((a, b), (b, c)))
        out = torch.empty(1, a, c)
        HalfProducts(torch.device("cpu")).product(*map(Operand, (left, right, out)))()
        return relative_error(out, left.double() @ right.double())

    assert of(40, 50, 1) < 1e-6
    assert of(1, 50, 40) < 1e-6
    assert of(40, 50, 30) > 1e-4
    monkeypatch.setattr(products, "LEAST_HALF_WORK", 40 * 50 * 30 + 1)
    assert of(40, 50, 30) < 1e-6


# Training.


@pytest.mark.parametrize("sparsity", ["kl", "l1"])
@pytest.mark.parametrize("hidden", [(), (5,)], ids=["shallow", "deep"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("n_members", [1, 2])
def test_the_gradient_is_that_of_float32_to_the_precision(sparsity, hidden, tied, n_members):
    problem = Problem.draw(sparsity, hidden_layer_sizes=hidden, tied=tied)
    with small_parts():
        value, gradient = problem.minibatch(torch.float32, n_members=n_members)
        value_half, half = problem.minibatch(torch.float32, n_members=n_members, half=True)
    assert value_half == pytest.approx(value, rel=4 * ROUNDING)
    assert 1e-5 < relative_error(half, gradient) < 8 * ROUNDING


@pytest.mark.each_once
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"sparsity": "l1", "beta": "auto"},
        {"hidden_layer_sizes": (8,)},
        {"tied_weights": True},
        {"noise": "masking", "early_stopping": True},
    ],
    ids=lambda params: "-".join(params) or "default",
)
def test_a_fit_comes_close_to_float32(X, solver, params):
    half, single = (make(solver=solver, dtype=d, **params).fit(X) for d in ("bfloat16", "float32"))
    assert half.loss_ == pytest.approx(single.loss_, rel=0.01)
    assert not np.array_equal(half.coefs_[0], single.coefs_[0])
    for name, value in vars(single).items():
        if isinstance(value, np.ndarray):
            assert getattr(half, name).dtype == value.dtype
    for ours, theirs in zip(half.coefs_, single.coefs_, strict=True):
        assert ours.dtype == theirs.dtype == np.float32
    assert half.transform(X).dtype == np.float64
    assert half.transform(X.astype(np.float32)).dtype == np.float32


def test_the_loss_is_that_of_float32_at_the_weights_found(X):
    half = make(alpha=0.0, sparsity=None).fit(X)
    single = make(alpha=0.0, sparsity=None, dtype="float32", warm_start=True)
    error = np.sum((half.inverse_transform(half.transform(X)) - X) ** 2, axis=1).mean()
    assert half.loss_ * half.scale_**2 == pytest.approx(error / 2, rel=1e-5)
    assert single.fit(X).loss_ != half.loss_


def test_same_seed_same_bits(X):
    first, second = make().fit(X), make().fit(X)
    for ours, theirs in zip(first.coefs_, second.coefs_, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_pieces_go_on_in_float32(X):
    model = make()
    for piece in np.array_split(X, 4):
        model.partial_fit(piece)
    again = pickle.loads(pickle.dumps(model)).partial_fit(X[:20])
    model.partial_fit(X[:20])
    np.testing.assert_array_equal(again.coefs_[0], model.coefs_[0])
    single = make(dtype="float32")
    for piece in [*np.array_split(X, 4), X[:20]]:
        single.partial_fit(piece)
    assert {key: value.dtype for key, value in model._state.items()} == {
        key: value.dtype for key, value in single._state.items()
    }
    assert model.loss_ == pytest.approx(single.loss_, rel=0.01)


def test_a_search_trains_its_candidates_side_by_side_in_either_precision(X):
    grid = {"rho": [0.1, 0.3], "dtype": ["float32", "bfloat16"]}
    ours, theirs = search_both(make(max_iter=4), grid, X)
    assert_same_results(ours, theirs, atol=0.01)
    assert len(set(ours.cv_results_["mean_test_score"])) == 4


@pytest.mark.parametrize("freeze", [0, 1])
def test_a_classifier_and_a_regressor_on_top(X, y, halves, freeze):
    for cls in (SparseAutoencoderClassifier, SparseAutoencoderRegressor):
        params = {"freeze": freeze, "max_iter": 10, "batch_size": 16, "random_state": 0}
        half, single = (
            cls([make(max_iter=4, dtype="float32")], dtype=dtype, **params).fit(X, y)
            for dtype in ("bfloat16", "float32")
        )
        # The layer on top alone is trained by lbfgs.
        assert ({torch.bfloat16} in halves) == (freeze == 0)
        assert half.score(X, y) == pytest.approx(single.score(X, y), abs=0.05)
        assert half.coef_.dtype == single.coef_.dtype
        halves.clear()


def test_a_stack_is_fine_tuned(X, halves):
    members = [make(dtype="float32", max_iter=4), make(n_components=4, dtype="float32", max_iter=4)]
    stack = StackedSparseAutoencoder(
        members, finetune=True, dtype="bfloat16", max_iter=4, batch_size=16, random_state=0
    ).fit(X)
    assert {torch.bfloat16} in halves
    assert {coef.dtype for member in stack.autoencoders_ for coef in member.coefs_} == {
        np.dtype(np.float32)
    }


def test_memory_for_rounded_matrices_is_counted():
    given = Problem.draw().architecture, 64, 16
    single, half = (bytes_side_by_side(3, *given, name) for name in ("float32", "bfloat16"))
    assert single < half < 2 * single


# Refusing.


def everyone(**params):
    autoencoders = [make(dtype="float32")]
    return [
        make(**params),
        StackedSparseAutoencoder(autoencoders, finetune=True, **{"dtype": "bfloat16"} | params),
        SparseAutoencoderClassifier(autoencoders, **{"dtype": "bfloat16"} | params),
        SparseAutoencoderRegressor(autoencoders, **{"dtype": "bfloat16"} | params),
    ]


def assert_refused(model, X, y, match):
    with pytest.raises(ValueError, match=match):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X) if hasattr(model, "predict") else model.transform(X)


@pytest.fixture
def asked_of_torch(monkeypatch):
    """Let the processor be asked as it is outside of this file, and answer no."""
    monkeypatch.undo()
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)


@pytest.mark.parametrize("place", range(4))
def test_a_processor_without_such_products_refuses(X, y, asked_of_torch, place):
    match = r"dtype='bfloat16' cannot be used.*processor.*Use dtype='float32'"
    assert_refused(everyone()[place], X, y, match)


def test_torch_is_asked_carefully(asked_of_torch, monkeypatch):
    assert not device.has_half_products()
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert device.has_half_products() == torch.backends.mkldnn.is_available()
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    assert not device.has_half_products()
    # A later torch may not have what is not for the public.
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: True)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert not device.has_half_products()


@pytest.mark.parametrize("place", range(4))
def test_lbfgs_refuses(X, y, place):
    match = r"dtype='bfloat16'.*solver='lbfgs'.*solver='adam'.*dtype='float32'"
    assert_refused(everyone(solver="lbfgs")[place], X, y, match)


def test_mps_refuses(X, monkeypatch):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert_refused(make(device="mps"), X, None, r"dtype='bfloat16'.*'mps'.*dtype='float32'")


@pytest.mark.parametrize(("capability", "has"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_cuda_is_asked_for_products_of_its_own(X, monkeypatch, capability, has):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    model = make(device="cuda")
    if has:
        assert plan_of(model, X, None).config.half
    else:
        match = r"dtype='bfloat16'.*CUDA.*dtype='float32'"
        with pytest.raises(ValueError, match=match):
            plan_of(model, X, None)


def test_numbers_are_held_to_the_range_of_float32(X):
    with pytest.raises(ValueError, match=r"alpha=1e\+39.*dtype='bfloat16'"):
        make(alpha=1e39).fit(X)
    make(alpha=1e-30).fit(X)
