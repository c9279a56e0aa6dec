"""Cores: what a crew keeps to one, restores, divides and raises; trainings by several threads."""

import gc
import threading

import numpy as np
import pytest
import torch
from oracle import small_parts
from threadpoolctl import ThreadpoolController

from sksae import SparseAutoencoderTransformer
from sksae.engine import threads
from sksae.engine.threads import Crew, n_parts


def blas_threads():
    libraries = ThreadpoolController().select(internal_api="openblas").lib_controllers
    return [library.get_num_threads() for library in libraries]


@pytest.fixture
def two_threads():
    """Give torch and BLAS two threads each, whatever the machine and the environment."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        yield
    torch.set_num_threads(before)


def test_a_crew_keeps_to_one_core_each_and_restores(two_threads):
    before = blas_threads()
    with Crew(2) as crew:
        found = crew.run([torch.get_num_threads, torch.get_num_threads])
        assert found == [1, 1]
        assert all(n == 1 for n in blas_threads())
    assert torch.get_num_threads() == 2
    assert blas_threads() == before


def test_blas_stays_at_one_thread_until_the_last_crew_leaves(two_threads):
    before = blas_threads()
    first, second = Crew(1), Crew(1)
    with first:
        with second:
            pass
        assert all(n == 1 for n in blas_threads())
    assert blas_threads() == before


def test_threads_are_restored_after_an_error(two_threads):
    before = blas_threads()
    with pytest.raises(ZeroDivisionError), Crew(2) as crew:
        crew.run([lambda: 1 / 0, lambda: None])
    assert torch.get_num_threads() == 2
    assert blas_threads() == before


def test_a_crew_has_as_many_members_as_torch_has_threads(two_threads):
    assert Crew().n_members == 2
    with Crew(1):
        assert Crew().n_members == 1


def test_tasks_run_side_by_side_and_results_are_in_order():
    meet = threading.Barrier(3, timeout=10)

    def task(number):
        meet.wait()  # nobody passes alone
        return number

    with Crew(3) as crew:
        assert crew.run([lambda k=k: task(k) for k in range(3)]) == [0, 1, 2]


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_is_raised_when_all_have_ended(failing):
    ended = []

    def task(number):
        if number == failing:
            raise KeyError(number)
        threading.Event().wait(0.05)
        ended.append(number)

    with Crew(2) as crew:
        with pytest.raises(KeyError):
            crew.run([lambda: task(0), lambda: task(1)])
        assert ended == [1 - failing]
        assert crew.run([lambda: 3, lambda: 4]) == [3, 4]


def test_a_crew_that_is_interrupted_on_its_way_in_or_out_changes_nothing(two_threads, monkeypatch):
    before, press = blas_threads(), [False]
    enter, leave = threads._limit.enter, threads._limit.leave

    def interrupted(function):
        def call(crew):
            function(crew)
            if press[0]:
                press[0] = False
                raise KeyboardInterrupt

        return call

    monkeypatch.setattr(threads._limit, "enter", interrupted(enter))
    monkeypatch.setattr(threads._limit, "leave", interrupted(leave))
    press[0] = True
    with pytest.raises(KeyboardInterrupt), Crew(2):
        pass
    assert (torch.get_num_threads(), blas_threads()) == (2, before)
    with pytest.raises(KeyboardInterrupt), Crew(2):
        press[0] = True
    assert (torch.get_num_threads(), blas_threads()) == (2, before)
    # What was entered and never left is restored when it is forgotten.
    crew = Crew(2)
    crew.__enter__()
    del crew
    gc.collect()
    assert (torch.get_num_threads(), blas_threads()) == (2, before)


def test_nobody_leaves_while_others_write_however_often_ctrl_c_is_pressed(monkeypatch):
    ended, n_pressed, wait = [], [0], threads.wait

    def waiting(futures):
        if n_pressed[0] < 3:
            n_pressed[0] += 1
            raise KeyboardInterrupt
        wait(futures)

    def task():
        threading.Event().wait(0.05)
        ended.append(True)

    monkeypatch.setattr(threads, "wait", waiting)
    with Crew(2) as crew, pytest.raises(KeyboardInterrupt):
        crew.run([lambda: None, task])
    assert ended == [True]


def test_work_that_nobody_can_begin_with_is_done_all_the_same(monkeypatch):
    def submit(self, *args):
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(threads.ThreadPoolExecutor, "submit", submit)
    with Crew(3) as crew:
        assert crew.run([lambda: 1, lambda: 2, lambda: 3]) == [1, 2, 3]


def test_a_child_that_unwinds_a_crew_of_its_parent_is_limited_later(two_threads):
    before = blas_threads()
    with Crew(1):
        threads._limit.begin_child()
        assert blas_threads() == before
    with Crew(1):
        assert all(n == 1 for n in blas_threads())
    assert blas_threads() == before


def test_overflows_are_silent_in_all_members():
    with Crew(2) as crew, np.errstate(all="raise"):
        found = crew.run([lambda: np.float32(1e38) * np.float32(1e38)] * 2)
    assert found == [np.inf, np.inf]


@pytest.mark.parametrize(
    ("work", "n_rows", "n_members", "expected"),
    [
        (0.0, 10, 8, 1),
        (threads.LEAST_WORK, 10**6, 8, 1),
        (3 * threads.LEAST_WORK, 10**6, 8, 3),
        (1e15, 10**6, 8, 8),
        (1e15, 4 * threads.LEAST_ROWS, 8, 4),
        (1e15, 1, 8, 1),
    ],
)
def test_work_is_divided_by_its_size_alone(work, n_rows, n_members, expected):
    assert n_parts(work, n_rows, n_members) == expected


@pytest.mark.parametrize("n_members", [2, 4])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"beta": "auto", "sparsity": "l1", "dtype": "float64"},
        {"dtype": "float64"},
        {"dtype": "float64", "batch_size": 30, "tied_weights": True},
    ],
)
def test_several_threads_train_to_the_same_bits_again_and_to_what_one_does(
    n_members, solver, params, monkeypatch
):
    X = np.random.default_rng(0).normal(size=(200, 12)) @ np.diag(np.linspace(2.0, 0.2, 12))
    # Every search along a line adds to what rounding has made different.
    n_iter = 2 if solver == "lbfgs" else 4

    def fitted(n_threads):
        monkeypatch.setattr(threads, "n_cores", lambda: n_threads)
        model = SparseAutoencoderTransformer(
            6, solver=solver, max_iter=n_iter, tol=0, device="cpu", random_state=0, **params
        )
        return model.fit(X)

    with small_parts():
        alone, first, second = fitted(1), fitted(n_members), fitted(n_members)
    for a, b in zip(first.coefs_, second.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
    limit = 1e-10 if params.get("dtype") == "float64" else 2e-3
    for a, b in zip(alone.coefs_, first.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=limit, atol=limit)
    assert first.loss_ == pytest.approx(alone.loss_, rel=1e-4)
