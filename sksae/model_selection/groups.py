"""Fits that a search asks for, trained side by side in groups."""

import time
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, Self

import numpy as np
from sklearn.utils import check_random_state

from sksae.model.numbers import Matrix
from sksae.model.scaling import Scaling
from sksae.model.tasks import Monitor
from sksae.model_selection.fit_cache import FitRequest
from sksae.model_selection.steps import Key
from sksae.model_selection.workers import Result, Workers
from sksae.training.fit import train_plans
from sksae.training.moments import find_scaling
from sksae.training.plan import Plan, make_plan
from sksae.training.precomputed import Fit

# The last groups are split where cores would else stand idle for a tenth of the time.
WORTH_A_SPLIT = 1.1


@dataclass(frozen=True)
class Group:
    """Fits on the same rows whose networks differ in numbers only.

    It goes to other processes: what is left of the requests is what training needs.

    Attributes
    ----------
    keys : sequence of tuple
        Of the requests.
    plans : sequence of Plan
        What each asks for.
    X : ndarray, TakenRows or CSR matrix of shape (n_samples, n_features)
        Rows.
    sample_weight : ndarray of shape (n_samples,) or None
        Their weights.
    """

    keys: Sequence[Key]
    plans: Sequence[Plan]
    X: Matrix
    sample_weight: np.ndarray | None

    @classmethod
    def of(cls, requests: Sequence[FitRequest], plans: Sequence[Plan]) -> Self:
        """Return the group of some requests and their plans."""
        keys = [request.key for request in requests]
        return cls(keys, plans, requests[0].X, requests[0].sample_weight)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def work(self) -> float:
        """How long it may take, beside other groups."""
        n_epochs = max(plan.config.max_iter for plan in self.plans)
        n_parameters = self.plans[0].architecture.n_parameters
        return float(len(self) * n_parameters * self.X.shape[0] * n_epochs)

    def train(self, monitor: Monitor | None = None) -> Result:
        """Return what came of each plan, and how many seconds all of them took."""
        begun = time.perf_counter()
        outcomes = train_plans(self.plans, self.X, self.sample_weight, monitor)
        return outcomes, time.perf_counter() - begun

    def cut(self, n_bytes: float) -> "list[Group]":
        """Return parts none of which takes more memory than allowed."""
        return self.split(-(-len(self) // self._largest_part(n_bytes)))

    def split(self, n_parts: int) -> "list[Group]":
        """Return parts of nearly equal size: so many, if there are as many fits."""
        n_parts = min(n_parts, len(self))
        bounds = [len(self) * k // n_parts for k in range(n_parts + 1)]
        return [
            replace(self, keys=self.keys[a:b], plans=self.plans[a:b]) for a, b in pairwise(bounds)
        ]

    def _largest_part(self, n_bytes: float) -> int:
        """Return how many networks take no more memory than allowed; one at least."""
        from sksae.engine.memory import bytes_side_by_side

        plan, n_rows = self.plans[0], self.X.shape[0]
        if plan.config.solver == "lbfgs":
            return 1
        described = plan.architecture, n_rows, plan.config.batch_size, plan.dtype
        sizes = range(len(self), 1, -1)
        fitting = (size for size in sizes if bytes_side_by_side(size, *described) <= n_bytes)
        return next(fitting, 1)


class Trainer:
    """Trains what a search asks for, in groups as large as memory allows.

    On the CPU every core has groups of its own: cores that share each operation of small networks
    wait for each other most of the time, and on a busy machine far longer than they work. On a GPU
    one group goes after the other.

    Parameters
    ----------
    n_bytes : float
        What the networks trained at a time may take.
    workers : Workers
        Who trains them.
    """

    def __init__(self, n_bytes: float, workers: Workers) -> None:
        self.n_bytes, self.workers = n_bytes, workers
        self._sizes: list[int] = []
        self._alone: dict[Key, str] = {}
        self._scalings: dict[Key, Scaling] = {}

    @cached_property
    def _seed(self) -> int:
        """What estimators without a random_state draw from, all the same.

        Networks that visit the rows in the same order can share them.
        """
        return int(check_random_state(None).randint(np.iinfo(np.int32).max))

    def train(self, requests: Iterable[FitRequest]) -> dict[Key, tuple[Fit, float]]:
        """Train what is asked for, each key once.

        Returns
        -------
        trained : dict
            Of each key, what came of it, and its share of the seconds that its group took.
            What is left to an estimator's own fit is missing.
        """
        # Of requests for one training the last is taken: one that makes sense, if any does, as some
        # candidates cannot be read as they ask for.
        in_order = sorted(requests, key=lambda request: request.specification is not None)
        groups = self._make_groups({request.key: request for request in in_order}.values())
        self._sizes += [len(group) for group in groups]
        results = self.workers.train(groups)
        return {
            key: (Fit(plan, outcome), seconds / len(group))
            for group, (outcomes, seconds) in zip(groups, results, strict=True)
            for key, plan, outcome in zip(group.keys, group.plans, outcomes, strict=True)
        }

    def summary(self) -> str:
        """Return a sentence on what was trained side by side and what was not."""
        together = [size for size in self._sizes if size > 1]
        words = f"{sum(together)} networks trained side by side in {len(together)} groups"
        for reason, n_fits in Counter(self._alone.values()).items():
            words += f"; {n_fits} one by one: {reason}"
        return words

    def _make_groups(self, requests: Iterable[FitRequest]) -> list[Group]:
        alike: dict[object, tuple[list[FitRequest], list[Plan]]] = {}
        for request in requests:
            reason = _why_alone(request)
            plan = self._plan(request) if reason is None else None
            if plan is None:
                self._alone[request.key] = reason or "their parameters do not fit the data"
                continue
            members, plans = alike.setdefault(_likeness(request, plan), ([], []))
            members.append(request)
            plans.append(plan)
        groups = [Group.of(*group) for group in alike.values()]
        n_cores = self.workers.n_at_a_time(groups)
        parts = [part for group in groups for part in group.cut(self.n_bytes / n_cores)]
        parts.sort(key=lambda part: part.work, reverse=True)
        n_left = len(parts) % n_cores
        if n_left and len(parts) + n_cores - n_left > WORTH_A_SPLIT * len(parts):
            # Smaller groups cost more for each network, idle cores more still.
            last = [small for part in parts[-n_left:] for small in part.split(n_cores)]
            parts[-n_left:] = last
        self._note_alone(groups, parts)
        return parts

    def _note_alone(self, groups: list[Group], parts: list[Group]) -> None:
        """Note why networks are trained one by one."""
        without_others = {group.keys[0] for group in groups if len(group) == 1}
        for part in parts:
            if len(part) > 1:
                continue
            key = part.keys[0]
            if part.plans[0].config.solver == "lbfgs":
                self._alone[key] = "solver='lbfgs'"
            elif key in without_others:
                self._alone[key] = "no other shares their shapes, solver and rows"
            else:
                self._alone[key] = "working_memory or the number of cores divides them"

    def _plan(self, request: FitRequest) -> Plan | None:
        """Return what a request asks for; None if that fails, which its own fit will report."""
        specification = request.specification
        if specification is None:
            return None
        seed = self._seed if specification.random_state is None else None
        _, *data = request.key
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return make_plan(
                    specification,
                    request.X,
                    request.sample_weight,
                    random_state=seed,
                    find=partial(self._find_scaling, data),
                )
            except Exception:
                return None

    def _find_scaling(
        self,
        data: Sequence[int],
        X: Matrix,
        index: np.ndarray | None,
        weight: np.ndarray | None,
        **how: Any,
    ) -> Scaling:
        """Return what `find_scaling` does, found once for all that have the rows in common.

        Parameters
        ----------
        data : sequence of int
            What tells rows and weights from others.
        X, index, weight, **how
            As of `find_scaling`.
        """
        which = None if index is None else index.tobytes()
        key = (*data, which, *how.values())
        if key not in self._scalings:
            self._scalings[key] = find_scaling(X, index, weight, **how)
        return self._scalings[key]


def _why_alone(request: FitRequest) -> str | None:
    """Return why a sparse autoencoder must be fitted by itself, if it must."""
    specification = request.specification
    if specification is not None and specification.verbose:
        return f"verbose={specification.verbose!r} prints epochs"
    if request.is_watched:
        return "callbacks watch every epoch"
    return None


def _likeness(request: FitRequest, plan: Plan) -> object:
    """Return what is equal for fits that can be trained side by side."""
    specification = request.specification
    assert specification is not None
    _, *data = request.key
    return (
        tuple(data),
        plan.architecture.without_numbers,
        plan.penalties.sparsity,
        plan.loss,
        plan.config.common,
        # A beta that is to be found goes by the length of the training.
        plan.penalties.beta == "auto" and plan.config.max_iter,
        plan.dtype,
        plan.device,
        plan.scaling.scaled,
        plan.scaling.shift,
        specification.early_stopping and specification.validation_fraction,
    )
