"""Who multiplies: numpy and torch agree with plain formulas; the rule, override and fallback."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sksae import SparseAutoencoderTransformer
from sksae.engine import products
from sksae.engine.products import Blas, NumpyProducts, Operand, TorchProducts

BOTH = [NumpyProducts(), TorchProducts()]
GOOD = Blas("OpenBLAS", (0, 3, 31), "SkylakeX")


@pytest.fixture
def anew(monkeypatch):
    """Let the choice be made anew, and forget it afterwards."""
    products.choice.cache_clear()
    monkeypatch.delenv(products.OVERRIDE, raising=False)
    monkeypatch.setattr(products, "_blas_of_numpy", lambda: GOOD)
    monkeypatch.setattr(products, "_vendor", lambda: "AuthenticAMD")
    yield monkeypatch
    products.choice.cache_clear()


def matrices(rng, shape, n_models, *, transposed):
    """Return matrices of that shape, stored the other way round if asked to."""
    n_rows, n_columns = shape
    if transposed:
        return torch.from_numpy(rng.normal(size=(n_models, n_columns, n_rows))).mT
    return torch.from_numpy(rng.normal(size=(n_models, n_rows, n_columns)))


sides = st.tuples(*[st.sampled_from([1, 2, 5, 17, 90])] * 3)


@pytest.mark.parametrize("multiplier", BOTH, ids=["numpy", "torch"])
@pytest.mark.parametrize("input_scale", [1.0, 0.3])
@given(
    sides=sides,
    n_models=st.integers(1, 3),
    shared=st.sampled_from(["none", "left", "right"]),
    transposed=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_products_are_those_of_einsum(multiplier, input_scale, sides, n_models, shared, transposed):
    a, b, c = sides
    rng = np.random.default_rng(0)
    of_right = shared == "right" and n_models > 1
    left = matrices(
        rng,
        (a, b),
        1 if shared == "left" else n_models,
        transposed=transposed[0] and not of_right,
    )
    right = matrices(rng, (b, c), 1 if shared == "right" else n_models, transposed=transposed[1])
    out = matrices(rng, (a, c), n_models, transposed=transposed[2] and shared == "none")
    added = torch.from_numpy(rng.normal(size=(n_models, a, 1)))
    full = [x.expand(n_models, -1, -1) for x in (left, right)]
    expected = input_scale * torch.einsum("mab,mbc->mac", *full)
    operands = Operand(left), Operand(right), Operand(out)
    multiplier.product(*operands, input_scale)()
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    multiplier.affine(*operands, input_scale)(added)
    torch.testing.assert_close(out, expected + added, rtol=1e-12, atol=1e-12)


def test_operands_of_one_memory_are_the_same():
    memory = torch.zeros(1, 6, 4)
    assert Operand(memory[:, 1:3]).is_same_as(Operand(memory[:, 1:3]))
    others = [memory[:, 2:4], memory[:, 1:4], memory.clone()[:, 1:3]]
    assert not any(Operand(memory[:, 1:3]).is_same_as(Operand(other)) for other in others)
    square = torch.zeros(1, 3, 3)
    assert not Operand(square).is_same_as(Operand(square.mT))


# The rule.


def test_numpy_multiplies_on_amd_with_kernels_for_avx_512(anew):
    assert isinstance(products.products_for(torch.device("cpu")), NumpyProducts)
    assert products.describe().startswith(f"numpy {np.__version__} (OpenBLAS 0.3.31 SkylakeX): ")
    assert isinstance(products.products_for(torch.device("cuda")), TorchProducts)


@pytest.mark.parametrize(
    ("blas", "vendor", "reason"),
    [
        (GOOD, "GenuineIntel", "the fastest on GenuineIntel"),
        (GOOD, "", "the fastest on"),
        (GOOD._replace(kernels="Haswell"), "AuthenticAMD", "its Haswell kernels"),
        (GOOD._replace(version=(0, 3, 29)), "AuthenticAMD", "before 0.3.31 is not trusted"),
        (GOOD._replace(version=()), "AuthenticAMD", "not trusted"),
        (Blas("another BLAS", (), ""), "AuthenticAMD", "another library than OpenBLAS"),
    ],
)
def test_torch_multiplies_elsewhere(anew, blas, vendor, reason):
    anew.setattr(products, "_blas_of_numpy", lambda: blas)
    anew.setattr(products, "_vendor", lambda: vendor)
    assert isinstance(products.products_for(torch.device("cpu")), TorchProducts)
    assert products.describe().startswith(f"torch {torch.__version__}: ")
    assert reason in products.describe()


@pytest.mark.parametrize(("name", "kind"), [("numpy", NumpyProducts), ("torch", TorchProducts)])
def test_the_environment_overrides_the_rule(anew, name, kind):
    anew.setattr(products, "_vendor", lambda: "GenuineIntel" if name == "numpy" else "AuthenticAMD")
    anew.setenv(products.OVERRIDE, name)
    assert isinstance(products.products_for(torch.device("cpu")), kind)
    assert "SKSAE_PRODUCTS says so" in products.describe()


def test_another_name_in_the_environment_is_refused(anew):
    anew.setenv(products.OVERRIDE, "mkl")
    with pytest.raises(ValueError, match=r"SKSAE_PRODUCTS='mkl' names no library: .*'numpy'"):
        products.choice()


def test_products_that_are_wrong_are_not_used(anew):
    dot = np.dot
    anew.setattr(np, "dot", lambda *args, **kwargs: dot(*args, **kwargs) * (1.0 + 1e-3))
    with pytest.warns(UserWarning, match=r"products of numpy .* are wrong on this processor"):
        chosen = products.products_for(torch.device("cpu"))
    assert isinstance(chosen, TorchProducts)
    assert "are wrong here" in products.describe()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_both_libraries_train_to_the_same_network(anew):
    X = np.random.default_rng(0).normal(size=(300, 20))
    model = SparseAutoencoderTransformer(
        8, dtype="float64", max_iter=5, tol=0, device="cpu", random_state=0
    )
    codes = []
    for name, kind in (("numpy", NumpyProducts), ("torch", TorchProducts)):
        anew.setenv(products.OVERRIDE, name)
        products.choice.cache_clear()
        assert isinstance(products.products_for(torch.device("cpu")), kind)
        codes.append(model.fit(X).transform(X))
    np.testing.assert_allclose(*codes, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("dtype", "order"), list(product(["float32", "float64"], "CF")))
def test_the_check_finds_a_library_that_is_right(dtype, order):
    assert products._multiplies_rightly()
    a = np.asarray(np.random.default_rng(0).normal(size=(33, 70)), dtype=dtype, order=order)
    wide = a.astype(np.float64)
    limit = 1e3 * np.finfo(dtype).eps
    np.testing.assert_allclose(np.dot(a, a.T), wide @ wide.T, rtol=limit, atol=limit)
