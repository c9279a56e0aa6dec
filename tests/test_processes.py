"""What several processes share: how rows are cut, what tells a fit from others, and agreement."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from sksae.base.fit_identity import checksum_of_rows, described_alike
from sksae.base.together import check_agreement
from sksae.engine.portions import Portions
from sksae.model.slices import batch_slices, shared_batches
from sksae.process.processes import ALONE, Processes, ProcessesError, processes_in_use, working_with
from sksae.process.shortage import is_shortage


@pytest.mark.parametrize("lengths", [[100, 100], [7, 0, 300], [0, 5], [1, 1, 1], [33, 64]])
@pytest.mark.parametrize("batch_size", [1, 10, 64, 1000])
def test_all_have_the_same_steps_and_every_row_once(lengths, batch_size):
    cuts = [shared_batches(lengths, rank, batch_size) for rank in range(len(lengths))]
    n_batches = -(-sum(lengths) // batch_size)
    for (slices, counts), length in zip(cuts, lengths, strict=True):
        assert len(slices) == n_batches
        assert np.concatenate([np.arange(length)[each] for each in slices]).tolist() == list(
            range(length)
        )
        assert counts == cuts[0][1]
    assert sum(cuts[0][1]) == sum(lengths)
    # Each process rounds its part, up or down.
    assert max(cuts[0][1]) <= batch_size + len(lengths)


@pytest.mark.parametrize("n_rows", [1, 10, 1000])
def test_one_alone_cuts_as_before(n_rows):
    slices, counts = shared_batches([n_rows], 0, 16)
    assert slices == batch_slices(n_rows, 16)
    assert counts == [each.stop - each.start for each in slices]


@pytest.fixture
def rows():
    draws = np.random.default_rng(0)
    X = draws.normal(size=(50, 6)) * (draws.random((50, 6)) < 0.5)
    return X, draws.random((50, 1)), draws.random(50)


def test_rows_in_any_order_have_the_same_checksum(rows):
    order = np.random.default_rng(1).permutation(50)
    expected = checksum_of_rows(*rows)
    assert checksum_of_rows(*(each[order] for each in rows)) == expected
    X, y, weight = rows
    assert checksum_of_rows(csr_array(X), y, weight) == expected


def test_other_rows_have_another_checksum(rows):
    X, y, weight = rows
    known = {checksum_of_rows(X, y, weight)}
    changed = X.copy()
    changed[7, 3] = np.nextafter(changed[7, 3], 9.0)
    swapped = X.copy()
    swapped[[3, 4], 2] = X[[4, 3], 2] + [0.5, -0.5]
    for other in (
        (changed, y, weight),
        (swapped, y, weight),
        (X[:, ::-1], y, weight),
        (X, y[::-1], weight),
        (X, y, weight[::-1]),
        (X, y, None),
        (X, y, np.arange(0, 50, 2)),
        (X, y, np.arange(1, 50, 2)),
        (np.vstack([X, X]), np.vstack([y, y]), np.append(weight, weight)),
        (X[:-1], y[:-1], weight[:-1]),
    ):
        found = checksum_of_rows(*other)
        assert found not in known
        known.add(found)


def test_what_differs_is_named():
    described = described_alike({"rho": 0.1, "verbose": 2, "random_state": np.random.RandomState()})
    assert described == {"rho": "0.1", "random_state": "a RandomState"}
    check_agreement([described, dict(described)])
    with pytest.raises(
        ValueError,
        match=r"rho: 0\.1 on rank 0, 0\.2 on rank 2; a: not given on rank 0, 1 on rank 2",
    ):
        check_agreement([described, described, described | {"rho": "0.2", "a": "1"}])


def test_one_alone_is_who_fits_by_default():
    assert processes_in_use() is ALONE
    others = Processes()
    with working_with(others):
        assert processes_in_use() is others
        with working_with(ALONE):
            assert processes_in_use() is ALONE
    assert processes_in_use() is ALONE


def test_shortage_of_memory_elsewhere_is_none_here():
    text = "The fit failed on rank 1, and so on all: MemoryError: Out of memory"
    assert not is_shortage(ProcessesError(text))
    assert is_shortage(RuntimeError(text))


class Group(Processes):
    """One process that may talk to others."""

    size = 2

    def meet(self):
        self.n_exchanges += 1


@pytest.mark.parametrize("talks", [False, True])
def test_work_in_which_processes_talk_is_not_done_again(talks):
    done, let_go = [], []

    def work():
        done.append(None)
        if talks:
            processes_in_use().meet()
        if len(done) == 1:
            raise RuntimeError("can't allocate memory")
        return "done"

    portions = Portions()
    with working_with(Group()):
        if talks:
            with pytest.raises(RuntimeError, match="can't allocate"):
                portions.until_done(work, lambda: 10, lambda: let_go.append(None))
        else:
            assert portions.until_done(work, lambda: 10, lambda: let_go.append(None)) == "done"
    assert len(done) == 1 + (not talks)
    assert len(let_go) == (not talks)
