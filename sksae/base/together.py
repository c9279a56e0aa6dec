"""A fit that several processes of torch.distributed make together, each on rows of its own."""

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator

from sksae.base.fit_identity import checksum_of, described_alike
from sksae.model.numbers import Matrix
from sksae.process.processes import processes_in_use, working_with
from sksae.process.warning import warn_user

P = ParamSpec("P")
R = TypeVar("R")

ABSENT = "not given"
# At either end of the rows of a process.
N_LOOKED_AT = 32


def fits_together(method: Callable[P, R]) -> Callable[P, R]:
    """Make a method that fits one of all processes where ``data_parallel`` says so.

    It is the outermost decorator: whatever goes wrong within, in validation too, the other
    processes hear of it.
    """
    return fits_together_as(lambda estimator: estimator)(method)


def fits_together_as(
    trained: Callable[[Any], object],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return what makes such a method where the parameter is that of another estimator.

    Parameters
    ----------
    trained : callable
        ``trained(estimator)`` returns the one within that has the parameter, if it has.
    """

    def of_all(method: Callable[P, R]) -> Callable[P, R]:
        parameters = signature(method)

        @wraps(method)
        def fit(*args: P.args, **kwargs: P.kwargs) -> R:
            estimator: Any = args[0]
            # A subclass may have other parameters; what is no bool the method itself refuses.
            asked = getattr(trained(estimator), "data_parallel", False)
            is_asked_for = isinstance(asked, bool | np.bool_) and bool(asked)
            if not is_asked_for or processes_in_use().are_several or not _are_started():
                return method(*args, **kwargs)
            given = parameters.bind(*args, **kwargs).arguments
            own = {"the method": method.__name__, **_description(estimator, given)}
            return _fitted_by_all(own, lambda: method(*args, **kwargs))

        return fit

    return of_all


def _are_started() -> bool:
    """Return whether there are other processes, or raise if nobody has started any."""
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_initialized():
        raise ValueError(
            "data_parallel=True needs processes of torch.distributed, of which each calls fit with "
            "rows of its own: start the program by torchrun (or by Ray Train), and "
            "call torch.distributed.init_process_group before fit. In a notebook, "
            "sksae.distributed.fit_on_ray starts them. In one program alone, and in processes that "
            "joblib starts, use data_parallel=False."
        )
    return bool(dist.get_world_size() > 1)


def _fitted_by_all(description: dict[str, str], fit: Callable[[], R]) -> R:
    """Fit with all processes; when it fails in one, it fails in all.

    Parameters
    ----------
    description : dict of str
        What the fit is to this process.
    fit : callable
        Calls it.
    """
    from sksae.engine.meeting import Meeting
    from sksae.engine.processes import ProcessGroup

    meeting, group = Meeting(), None
    try:
        check_agreement(meeting.begin(description))
        group = ProcessGroup(meeting)
        with working_with(group):
            found = fit()
        meeting.part()
    except BaseException as error:
        meeting.tell(error)
        raise
    finally:
        if group is not None:
            group.end()
    return found


def _description(estimator: BaseEstimator, given: Mapping[str, Any]) -> dict[str, str]:
    """Return what must be the same in all processes before they begin, by name."""
    return {
        "the estimator": type(estimator).__name__,
        **described_alike(estimator.get_params()),
        **{
            name: "given" if given.get(name) is not None else ABSENT
            for name in ("y", "sample_weight", "classes")
            if name != "y" or hasattr(estimator, "unlabeled")
        },
    }


def check_agreement(descriptions: list[dict[str, str]]) -> None:
    """Raise, in all processes alike, where one is not what the first one is.

    Parameters
    ----------
    descriptions : list of dict
        What each process says of itself, in the order of ranks.

    Raises
    ------
    ValueError
        Naming all that differs.
    """
    first, differences = descriptions[0], []
    for rank, other in enumerate(descriptions[1:], start=1):
        for name in [*first, *(each for each in other if each not in first)]:
            here, there = first.get(name, ABSENT), other.get(name, ABSENT)
            if here != there:
                differences.append(f"{name}: {here} on rank 0, {there} on rank {rank}")
    if differences:
        raise ValueError(
            "With data_parallel=True all processes must fit the same model to rows of the same "
            f"form, but they differ: {'; '.join(differences)}."
        )


def check_same_form(estimator: BaseEstimator, X: Matrix, weight: np.ndarray | None) -> None:
    """Raise, in all processes, if their rows are of several forms or nobody has rows that count.

    It warns of rows that nobody has divided: each process would have all of them.

    Parameters
    ----------
    estimator : estimator
        The one being fitted; it knows the names of features.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Validated rows of this process.
    weight : ndarray of shape (n_samples,) or None
        Their weights.
    """
    processes = processes_in_use()
    if not processes.are_several:
        return
    names = getattr(estimator, "feature_names_in_", None)
    own = {
        "columns of X": str(X.shape[1]),
        "dtype of X": str(X.dtype),
        "kind of X": "CSR matrix" if sp.issparse(X) else "array",
        "names of features": ABSENT if names is None else str(list(names)),
    }
    found = processes.gathered((own, _looked_at(X, weight)))
    check_agreement([form for form, _ in found])
    n_counted = X.shape[0] if weight is None else np.count_nonzero(weight)
    if processes.total(n_counted) == 0:
        raise ValueError(
            "No process has a row that counts: X must hold at least one whose weight is not 0, in "
            "one of them at least."
        )
    is_first_time, processes.are_rows_compared = not processes.are_rows_compared, True
    if is_first_time and X.shape[0] > 1 and len({looked_at for _, looked_at in found}) == 1:
        warn_user(
            f"All {len(found)} processes have the same {X.shape[0]} rows, by the first and the "
            "last of them: each row counts as often. Give each process rows of its own, such as "
            "X[rank::size], or share(rank, size) of ShardedRows."
        )


def _looked_at(X: Matrix, weight: np.ndarray | None) -> str:
    """Return what the rows of a process are most likely known by: a few of them, and weights.

    Weights may divide rows that all processes have: each gives 0 to those of others.
    """
    n_rows = X.shape[0]
    return f"{n_rows} {checksum_of(X[:N_LOOKED_AT], X[max(n_rows - N_LOOKED_AT, 0) :], weight)}"
