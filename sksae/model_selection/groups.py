"""Fits that a search asks for, trained side by side in groups."""

import time
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import get_active_backend
from sklearn.utils import check_random_state

from sksae.beforehand import Fit
from sksae.fitting import train_plans
from sksae.model_selection.ahead import Key, Request
from sksae.planning import Plan, make_plan
from sksae.transformer import SparseAutoencoderTransformer


@dataclass(frozen=True)
class Group:
    """Fits on the same rows whose networks differ in numbers only.

    Attributes
    ----------
    requests : sequence of Request
    plans : sequence of Plan
        What each asks for.
    """

    requests: Sequence[Request]
    plans: Sequence[Plan]

    def __len__(self) -> int:
        return len(self.requests)

    def train(self) -> tuple[list[Fit], float]:
        """Return what came of each request, and how many seconds all of them took."""
        begun = time.perf_counter()
        first = self.requests[0]
        outcomes = train_plans(self.plans, first.X, first.sample_weight)
        fits = [Fit(*each) for each in zip(self.plans, outcomes, strict=True)]
        return fits, time.perf_counter() - begun

    def cut(self, n_bytes: float, n_jobs: int) -> "list[Group]":
        """Return parts of nearly equal size, none of which takes more memory than allowed.

        Their number is a multiple of that of the jobs, so that no job waits for another.
        """
        longest = self._largest_part(n_bytes)
        n_parts = -(-len(self) // longest)
        n_parts = min(len(self), -(-n_parts // n_jobs) * n_jobs)
        bounds = [len(self) * k // n_parts for k in range(n_parts + 1)]
        return [Group(self.requests[a:b], self.plans[a:b]) for a, b in pairwise(bounds)]

    def _largest_part(self, n_bytes: float) -> int:
        """Return how many networks take no more memory than allowed; one at least."""
        from sksae.engine.footprint import bytes_side_by_side

        plan, n_rows = self.plans[0], self.requests[0].X.shape[0]
        if plan.schedule.solver == "lbfgs":
            return 1
        described = plan.architecture, n_rows, plan.schedule.batch_size, plan.dtype
        sizes = range(len(self), 1, -1)
        fitting = (size for size in sizes if bytes_side_by_side(size, *described) <= n_bytes)
        return next(fitting, 1)


class Trainer:
    """Trains what a search asks for, in groups as large as memory allows.

    To be made where the search begins: groups go to the processes that joblib is set up for there.

    Parameters
    ----------
    n_jobs : int or None
        Processes.
    n_bytes : float
        What the networks of a group may take.
    """

    def __init__(self, n_jobs: int | None, n_bytes: float) -> None:
        # A backend set by parallel_config is one object for all, and the search's own evaluation
        # has it open while networks are trained.
        backend, _ = get_active_backend()
        self._parallel = Parallel(n_jobs=n_jobs, backend=copy(backend))
        self._n_jobs = effective_n_jobs(n_jobs)
        self._n_bytes = n_bytes
        self._sizes: list[int] = []
        self._alone: dict[Key, str] = {}

    @cached_property
    def _seed(self) -> int:
        """What estimators without a random_state draw from, all the same.

        Networks that visit the rows in the same order can share them.
        """
        return int(check_random_state(None).randint(np.iinfo(np.int32).max))

    def train(self, requests: Iterable[Request]) -> dict[Key, tuple[Fit, float]]:
        """Train what is asked for, each key once.

        Returns
        -------
        trained : dict
            Of each key, what came of it, and its share of the seconds that its group took.
            What is left to an estimator's own fit is missing.
        """
        groups = self._make_groups({request.key: request for request in requests}.values())
        self._sizes += [len(group) for group in groups]
        if self._n_jobs == 1 or any(_is_on_gpu(group.plans[0]) for group in groups):
            results = [group.train() for group in groups]
        else:
            results = self._parallel(delayed(group.train)() for group in groups)
        return {
            request.key: (fit, seconds / len(group))
            for group, (fits, seconds) in zip(groups, results, strict=True)
            for request, fit in zip(group.requests, fits, strict=True)
        }

    def summary(self) -> str:
        """Return a sentence on what was trained side by side and what was not."""
        together = [size for size in self._sizes if size > 1]
        words = f"{sum(together)} networks trained side by side in {len(together)} groups"
        for reason, n_fits in Counter(self._alone.values()).items():
            words += f"; {n_fits} one by one: {reason}"
        return words

    def _make_groups(self, requests: Iterable[Request]) -> list[Group]:
        alike: dict[object, tuple[list[Request], list[Plan]]] = {}
        for request in requests:
            reason = _why_not_ahead(request.estimator)
            plan = self._plan(request) if reason is None else None
            if plan is None:
                self._alone[request.key] = reason or "their parameters do not fit the data"
                continue
            members, plans = alike.setdefault(_likeness(request, plan), ([], []))
            members.append(request)
            plans.append(plan)
        return [part for group in alike.values() for part in self._cut(Group(*group))]

    def _cut(self, group: Group) -> list[Group]:
        parts = group.cut(self._n_bytes, self._n_jobs)
        for part in parts:
            if len(part) == 1:
                self._alone[part.requests[0].key] = (
                    "solver='lbfgs'"
                    if group.plans[0].schedule.solver == "lbfgs"
                    else "no other shares their shapes, solver and rows"
                    if len(group) == 1
                    else "working_memory or n_jobs divides them"
                )
        return parts

    def _plan(self, request: Request) -> Plan | None:
        """Return what a request asks for; None if that fails, which its own fit will report."""
        estimator = request.estimator
        seed = self._seed if estimator.random_state is None else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return make_plan(estimator, request.X, request.sample_weight, random_state=seed)
            except Exception:
                return None


def _why_not_ahead(estimator: SparseAutoencoderTransformer) -> str | None:
    """Return why a sparse autoencoder must be fitted by itself, if it must."""
    if estimator.verbose:
        return f"verbose={estimator.verbose!r} prints every epoch"
    if getattr(estimator, "_skl_callbacks", None):
        return "callbacks watch every epoch"
    return None


def _is_on_gpu(plan: Plan) -> bool:
    from sksae.engine.device import training_device

    return training_device(plan.device, plan.dtype).type != "cpu"


def _likeness(request: Request, plan: Plan) -> object:
    """Return what is equal for fits that can be trained side by side."""
    estimator = request.estimator
    _, *data = request.key
    return (
        tuple(data),
        plan.architecture,
        plan.penalties.sparsity,
        plan.schedule.common,
        plan.dtype,
        plan.device,
        plan.scaling.scaled,
        plan.scaling.shift,
        estimator.early_stopping and estimator.validation_fraction,
    )
