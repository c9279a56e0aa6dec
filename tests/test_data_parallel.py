"""Fits in several processes: what one process would learn of all rows, the same bits in each."""

import data_parallel
import data_parallel_faults
import data_parallel_kept
import data_parallel_memory
import data_parallel_shares
import numpy as np
import pytest
from data_parallel import ALIKE, CASES, STACKS, run_once

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Of what is computed twice in other orders: that of J, and of all that training went through; in
# lbfgs and in thousands of steps differences grow.
OF_J, OF_ALL, OF_LONG = 1e-10, 1e-9, 1e-5
FLOAT32 = 1e-5
FAST = [
    "kl",
    "kl float32",
    "kl weighted",
    "kl csr",
    "kl lbfgs",
    "l1 auto",
    "l1 lbfgs auto",
    "topk",
    "topk float32",
    "topk dead",
    "batchtopk weighted",
    "jumprelu auto",
    "gated weighted",
    "stack",
    "classifier balanced",
    "regressor weighted",
]
FAST_SHARES = [
    "no rows auto",
    "no rows batchtopk",
    "few rows jumprelu",
    "few rows",
    "weightless",
    "weightless alone",
    "held out",
    "classes apart",
    "undivided",
    "any seed",
    "pieces",
    "extreme rows",
    "busy callback",
    "files",
    "tokens weighted",
    "tokens padded",
]


def named(module, names):
    return [f"{module}/{name}" for name in names]


FAST_MEMORY = ["batchtopk bound weighted", "topk", "kl lbfgs auto", "kl total"]
KEPT = "data_parallel_kept/resumed l1 auto"
ALL = [
    *named("data_parallel", FAST),
    *named("data_parallel_shares", FAST_SHARES),
    *named("data_parallel_memory", [*FAST_MEMORY, "exchange"]),
    *named("data_parallel_faults", data_parallel_faults.AS_A_WHOLE),
    KEPT,
]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes found in the fast cases."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(data_parallel_kept.FOLDER, str(tmp_path_factory.mktemp("kept")))
        return run_once(tmp_path_factory, "two", ALL, 2)


@pytest.fixture(scope="module", params=[2, 3])
def several(request, tmp_path_factory):
    """What two and three processes found in all cases but faults."""
    names = [
        *named("data_parallel", CASES),
        *named("data_parallel_shares", data_parallel_shares.CASES),
        *named("data_parallel_memory", data_parallel_memory.FITS),
    ]
    name = f"several-{request.param}"
    return run_once(tmp_path_factory, name, names, request.param, seconds=400)


def assert_close(expected, found, tolerance, name=""):
    """Assert that fitted attributes agree, numbers up to a share of the largest."""
    assert expected.keys() == found.keys(), name
    for key, one in expected.items():
        other, where = found[key], f"{name} {key}"
        if isinstance(one, dict):
            assert_close(one, other, tolerance, where)
        elif isinstance(one, list | tuple):
            assert len(one) == len(other), where
            pairs = {str(at): each for at, each in enumerate(one)}
            assert_close(pairs, {str(at): each for at, each in enumerate(other)}, tolerance, where)
        elif one is None or np.asarray(one).dtype.kind not in "fiub":
            assert np.all(one == other), where
        else:
            one, other = (np.asarray(each, dtype=np.float64) for each in (one, other))
            assert one.shape == other.shape, where
            size = np.abs(one).max(initial=1e-300)
            np.testing.assert_allclose(other, one, rtol=0, atol=tolerance * size, err_msg=where)


def check_alike(found, name):
    one, _ = CASES[name](0, 1)
    (of_first, digest), *others = (each[f"data_parallel/{name}"] for each in found)
    assert all(other == digest for _, other in others)
    of_j, of_all = OF_J, OF_ALL
    if "float32" in name:
        of_j = of_all = FLOAT32
    elif "lbfgs" in name or "dead" in name or "regressor" in name:
        # The layer on top is trained by lbfgs too, and for long.
        of_j = 1e-6 if name == "regressor unlabeled" else 10.0 * OF_J
        of_all = OF_LONG
    assert_close({"J": one["loss_"]}, {"J": of_first["loss_"]}, of_j, name)
    assert_close(one, of_first, of_all, name)


def check_share(found, name):
    first, *others = (each[f"data_parallel_shares/{name}"] for each in found)
    assert all(other[0] == first[0] for other in others)
    assert np.isfinite(first[1]["loss_"])
    if name in data_parallel_shares.ALIKE:
        _, alone = data_parallel_shares.ALIKE[name](0, 1)
        assert_close(alone, first[1], OF_LONG if "regressor" in name else OF_ALL, name)


def check_memory(found, name):
    of_first, of_second, *_ = (each[f"data_parallel_memory/{name}"] for each in found)
    assert of_first[0] == of_second[0]
    assert not of_first[2]
    assert of_second[2]
    _, alone, _ = data_parallel_memory.CASES[name](0, 1)
    assert_close(alone, of_first[1], OF_LONG if "lbfgs" in name else OF_ALL, name)


@pytest.mark.parametrize("name", FAST)
def test_two_processes_learn_what_one_does(two, name):
    check_alike(two, name)


@pytest.mark.parametrize("name", FAST_SHARES)
def test_rows_may_be_dealt_in_any_way(two, name):
    check_share(two, name)


@pytest.mark.parametrize("name", FAST_MEMORY)
def test_memory_may_end_in_one_process(two, name):
    check_memory(two, name)


def test_rows_of_weight_0_are_as_if_they_were_elsewhere(two):
    cases = ("data_parallel_shares/weightless", "data_parallel_shares/weightless alone")
    together, alone = (two[0][case][1] for case in cases)
    assert_close({"J": alone["loss_"]}, {"J": together["loss_"]}, OF_J)


def test_classes_are_those_of_all_processes(two):
    found = [each["data_parallel_shares/classes apart"][1]["classes_"].tolist() for each in two]
    assert found == [["a", "b", "c"]] * 2


def test_rows_that_nobody_has_divided_are_told_of_once(two):
    told = {
        name: [each for each in said if "have the same 480 rows" in each]
        for name, said in two[0].items()
        if name.endswith(": warnings")
    }
    (only,) = told.pop("data_parallel_shares/undivided: warnings")
    assert only.startswith("StackedSparseAutoencoder: All 2 processes")
    assert not any(told.values())


def test_the_first_process_warns_for_all(two):
    of_first, of_second = (each["data_parallel/kl float32: warnings"] for each in two)
    assert "has not converged" in " ".join(of_first)
    assert of_second == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ALIKE, *STACKS])
def test_several_processes_learn_what_one_does(several, name):
    check_alike(several, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", data_parallel_shares.CASES)
def test_rows_may_be_dealt_to_several_in_any_way(several, name):
    check_share(several, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", data_parallel_memory.FITS)
def test_memory_may_end_in_one_of_several(several, name):
    check_memory(several, name)


DIFFER = {
    "parameters": ("n_components: 12 on rank 0, 13 on rank 1", "rho: 0.2 on rank 0, 0.1 on rank 1"),
    "members": ("sae0__rho: 0.1 on rank 0, 0.2 on rank 1",),
    "invalid": ("n_components: -1 on rank 0, 12 on rank 1",),
    "columns": ("columns of X: 10 on rank 0, 9 on rank 1",),
    "dtypes": ("dtype of X: float64 on rank 0, float32 on rank 1",),
    "kinds": ("kind of X: array on rank 0, CSR matrix on rank 1",),
    "names": ("names of features: ['f0'",),
    "weighted": ("sample_weight: not given on rank 0, given on rank 1",),
    "nobody": ("No process has a row that counts",),
    "started apart": ("same weights in all processes, but those on rank 1 are others",),
    "outputs": ("1 outputs in 1 dimensions on rank 0, and 2 in 2 on rank 1",),
}


def faults(two, name):
    return [each[f"data_parallel_faults/{name}"] for each in two]


@pytest.mark.parametrize("name", DIFFER)
def test_processes_that_differ_are_refused_in_all(two, name):
    for kind, text, _, fitted in faults(two, name):
        assert kind == "ValueError"
        assert all(part in text for part in DIFFER[name]), text
        assert fitted == {}


# Which process fails, and with what; the others say so.
FAIL = {
    "missing": (1, "ValueError", "Input X contains NaN."),
    "warned": (0, "ConvergenceWarning", "has not converged yet"),
    "callback": (1, "OSError", "disk full"),
    "interrupted": (1, "KeyboardInterrupt", ""),
}
MEMORY = "data_parallel_memory/exchange"
SOON = 5.0  # seconds; the group's own timeout is 20


@pytest.mark.parametrize("name", FAIL)
def test_one_that_fails_makes_all_fail_soon(two, name):
    rank, expected, text = FAIL[name]
    found = faults(two, name)
    failed, other = found[rank], found[1 - rank]
    assert failed[0] == expected
    assert text in failed[1]
    assert other[0] == "ProcessesError"
    assert other[1].startswith(f"The fit failed on rank {rank}, and so on all: {expected}")
    assert text in other[1]
    for _, _, seconds, fitted in found:
        assert fitted == {}
        assert seconds < SOON


def test_memory_that_ends_in_an_exchange_makes_all_fail_soon(two):
    of_first, of_second = (each[MEMORY] for each in two)
    assert of_second[0] == "MemoryError"
    assert of_first[0] == "ProcessesError"
    assert of_first[1] == f"The fit failed on rank 1, and so on all: MemoryError: {of_second[1]}"
    assert max(of_first[2], of_second[2]) < SOON


def test_fits_in_other_orders_fail_and_the_next_one_meets(two):
    found = faults(two, "swapped")
    for each in found:
        assert [kind for kind, *_ in each] == ["ValueError", "ValueError", ""]
        assert max(seconds for _, _, seconds, _ in each) < SOON
        assert "n_components: 12 on rank 0, 13 on rank 1" in each[0][1]
    assert found[0][-1][3] == found[1][-1][3] != ""


def test_a_piece_is_no_fit(two):
    for kind, text, *_ in faults(two, "pieces"):
        assert kind == "ValueError"
        assert "the method: fit on rank 0, partial_fit on rank 1" in text


def test_a_callback_that_stops_one_stops_all(two):
    assert [(kind, n_iter) for kind, _, _, n_iter in faults(two, "stop")] == [("", 1)] * 2


def test_what_failed_leaves_nothing_behind(two):
    (kind, _, _, loss), other = faults(two, "afterwards")
    assert kind == ""
    assert loss == other[3] == pytest.approx(data_parallel.fit_alike(0, 1, {}).loss_, rel=OF_J)


def test_a_fit_that_was_interrupted_goes_on_to_the_same_bits(two):
    digests = {digest for each in two for digest in each[KEPT][:2]}
    assert len(digests) == 1


@pytest.mark.parametrize(
    "make",
    [
        SparseAutoencoderTransformer,
        StackedSparseAutoencoder,
        SparseAutoencoderClassifier,
        SparseAutoencoderRegressor,
    ],
)
def test_without_processes_it_is_refused(make):
    X = data_parallel.make_rows()
    with pytest.raises(
        ValueError, match=r"needs processes of torch\.distributed.*torchrun.*fit_on_ray"
    ):
        make(data_parallel=True).fit(X, X[:, 0] > 3.0)
