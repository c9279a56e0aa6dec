"""One model of many workers of Ray, from one call."""

import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from threading import Event, Thread
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.utils import check_scalar

from sksae.distributed.cluster import check_room, ray_running
from sksae.distributed.columns import ReadAs
from sksae.distributed.desk import Desk
from sksae.distributed.failing import explained
from sksae.distributed.shares import Share, opened, shares_of
from sksae.distributed.worker import fit_share
from sksae.process.extras import check_installed
from sksae.process.warning import warn_user

E = TypeVar("E", bound=BaseEstimator)

# How often lines of workers are fetched and printed.
SECONDS_BETWEEN_LOOKS = 0.2


def fit_on_ray(
    estimator: E,
    data: Any,
    y: Any = None,
    *,
    num_workers: int,
    sample_weight: Any = None,
    columns: Sequence[str] | None = None,
    target: str | None = None,
    use_gpu: bool = False,
    resources_per_worker: Mapping[str, float] | None = None,
    timeout: float = 1800.0,
    start_timeout: float = 60.0,
    max_failures: int = 0,
) -> E:
    r"""Fit a copy of an estimator on workers of Ray, each of which has a part of the rows.

    The fit is that of ``data_parallel=True`` (docs/guide/distributed.md): one model of all rows, by
    processes that `Ray Train <https://docs.ray.io/en/latest/train/train.html>`_ starts and watches
    [1]_. Worker k of m has the k-th of m parts of the rows, which lie side by side and are as long
    to one row. Two workers find the bits that two processes of torchrun find with these parts, and
    one worker those of ``estimator.fit``, given the same number of threads.

    Parameters
    ----------
    estimator : estimator
        A `SparseAutoencoderTransformer`, `StackedSparseAutoencoder`, `SparseAutoencoderClassifier`
        or `SparseAutoencoderRegressor`, which stays as it is. Its ``data_parallel`` is not read.
        Its callbacks run in each worker, as copies.
    data : array-like, CSR matrix, DataFrame, ray.data.Dataset, ShardedRows, path or list of paths
        Rows, of shape (n_samples, n_features). Arrays are put into Ray's object store one part
        after another, and a worker gets its own part only. A Dataset is computed once, and its
        blocks, in the order of its rows, stay in the object store. Of files, that is ShardedRows or
        what `ShardedRows.open` takes (a path, a pattern, a folder, a list), only headers are read
        here: workers must find them under the same absolute paths.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Targets, for a classifier or regressor.
    num_workers : int
        How many workers, at least 1 and at most the number of rows.
    sample_weight : array-like of shape (n_samples,) or str, default=None
        Weights of rows; a str is the name of a column, as ``target`` is.
    columns : sequence of str or str, default=None
        Columns of a Dataset or of Parquet files that are features: of numbers, or a single one of
        vectors (tensors, lists of one length). None is all but ``target`` and ``sample_weight``.
        Columns of numbers of a Dataset give the model ``feature_names_in_``.
    target : str, default=None
        Column of a Dataset or of Parquet files that is y.
    use_gpu : bool, default=False
        Whether each worker gets a GPU, which ``device="auto"`` then is.
    resources_per_worker : dict of str to float, default=None
        What Ray reserves for each worker. None is one CPU, and a GPU with ``use_gpu``; what is not
        named is so too.
    timeout : float, default=1800.0
        Seconds that workers wait for each other in one step, at least 1; seconds after the point
        are cut. A worker that hangs for longer ends the fit. A worker alone is never waited for.
    start_timeout : float, default=60.0
        Seconds to wait until the cluster has room for all workers at once, at least 1.
    max_failures : int, default=0
        How many times Ray starts all workers anew after one has failed, at least 0. With a
        `Checkpoint` with ``resume=True`` they go on from its file, and else from the beginning. A
        ValueError or a TypeError is not tried again.

    Returns
    -------
    model : estimator
        A fitted copy of ``estimator`` with its parameters, as rank 0 has fitted it. It needs
        neither Ray nor torch.distributed.

    Raises
    ------
    ImportError
        If there is no Ray; ``pip install "sksae[ray]"`` installs it.
    FileNotFoundError, TypeError, ValueError
        If an argument is invalid, a file or a column is not there, or files have other columns than
        the first, all before workers start; and what the fit raises for bad rows or parameters,
        with the rank of the worker.
    RuntimeError
        If there is no room for the workers; or if one fails in another way, is killed or hangs. The
        message says which and why, and its cause is Ray's error. All workers have ended then.

    Warns
    -----
    UserWarning
        If Ray has less than all workers need, and so must grow; and what the fit on rank 0 warns
        of.

    See Also
    --------
    SparseAutoencoderTransformer : Its parameter ``data_parallel``, by which processes that you
        start yourself fit one model.
    ShardedRows : Rows in many files.
    Checkpoint : Keeps where the fit stands.

    Notes
    -----
    If this process has not called ``ray.init``, Ray is started on this machine, or the cluster that
    the environment variable ``RAY_ADDRESS`` names is joined; at the end of the call it is shut down
    or left. Who calls this several times calls ``ray.init`` before.

    The model comes back through Ray; no folder must be shared, except for files of rows and for a
    `Checkpoint`, whose file is written on the machine of rank 0. Relative paths are relative to the
    working directory of the caller, where workers have such a folder. Notes of Ray Train go to a
    temporary folder, which is removed.

    A worker has as many threads as it has CPUs, unless ``OMP_NUM_THREADS`` was set when Ray was
    started. Lines that workers print (``verbose``: rank 0) are printed here. Ctrl-C ends the
    workers, and raises KeyboardInterrupt here.

    References
    ----------
    .. [1] P. Moritz et al., "Ray: A Distributed Framework for Emerging AI Applications", OSDI 2018,
       pages 561-577.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.distributed import fit_on_ray
    >>> X = load_digits().data
    >>> sae = SparseAutoencoderTransformer(32, max_iter=10, tol=0.05, random_state=0)
    >>> sae = fit_on_ray(sae, X, num_workers=2)  # doctest: +SKIP
    >>> sae.transform(X).shape  # doctest: +SKIP
    (1797, 32)
    """
    _check_arguments(estimator, num_workers, use_gpu, timeout, start_timeout, max_failures)
    read_as = _read_as(columns, target, sample_weight, y)
    _check_targets(estimator, y, target)
    bundle = _bundle(resources_per_worker, use_gpu)
    if read_as.weight is not None:
        sample_weight = None
    data = opened(data, y, sample_weight, read_as, num_workers)
    check_installed("fit_on_ray", "ray", "ray.train")
    with ray_running() as is_own:
        shares = shares_of(data, y, sample_weight, read_as, num_workers)
        check_room(bundle, num_workers, start_timeout, is_own)
        model, warned = _run(estimator, shares, bundle, use_gpu, timeout, max_failures)
    for text, category in warned:
        warn_user(text, category)
    return model


def _check_arguments(
    estimator: Any,
    num_workers: Any,
    use_gpu: Any,
    timeout: Any,
    start_timeout: Any,
    max_failures: Any,
) -> None:
    if isinstance(estimator, type):
        raise TypeError(
            f"estimator must be an instance, got the class {estimator.__name__}: make one, "
            f"{estimator.__name__}(...)."
        )
    if not hasattr(estimator, "get_params"):
        raise TypeError(f"estimator must be an estimator, got {type(estimator).__name__}.")
    if "data_parallel" not in estimator.get_params(deep=False):
        raise TypeError(
            "fit_on_ray fits estimators of sksae that have the parameter data_parallel, not "
            f"{type(estimator).__name__}: give the autoencoder alone, and of a pipeline fit what "
            "stands before it first, and give the rows that come out."
        )
    check_scalar(num_workers, "num_workers", Integral, min_val=1)
    check_scalar(max_failures, "max_failures", Integral, min_val=0)
    for name, seconds in (("timeout", timeout), ("start_timeout", start_timeout)):
        check_scalar(seconds, name, Real, min_val=1)
    for name, value in (("num_workers", num_workers), ("max_failures", max_failures)):
        if isinstance(value, bool):
            raise TypeError(f"{name} must be an int, got {value!r}.")
    if not isinstance(use_gpu, bool | np.bool_):
        raise TypeError(f"use_gpu must be a bool, got {use_gpu!r}.")


def _read_as(columns: Any, target: Any, sample_weight: Any, y: Any) -> ReadAs:
    if isinstance(columns, str):
        columns = [columns]
    if columns is not None:
        columns = list(columns)
        if not columns or not all(isinstance(name, str) for name in columns):
            raise TypeError(f"columns must be names of columns, got {columns!r}.")
    if not isinstance(target, str | None):
        raise TypeError(f"target must be the name of a column, got {target!r}.")
    if target is not None and y is not None:
        raise ValueError("y and target are two names of the same: give one of them.")
    return ReadAs(columns, target, sample_weight if isinstance(sample_weight, str) else None)


def _check_targets(estimator: Any, y: Any, target: Any) -> None:
    if isinstance(y, str):
        raise TypeError(
            f"y must be targets of all rows, got {y!r}: the name of a column is target={y!r}."
        )
    if (is_classifier(estimator) or is_regressor(estimator)) and y is None and target is None:
        raise ValueError(
            f"{type(estimator).__name__} needs targets: give y, or the name of its column in a "
            "Dataset of Ray or in files of Parquet as target."
        )


def _bundle(resources_per_worker: Any, use_gpu: bool) -> dict[str, float]:
    """Return what each worker needs."""
    if not isinstance(resources_per_worker, Mapping | None):
        raise TypeError(
            "resources_per_worker must be a dict such as {'CPU': 4}, got "
            f"{type(resources_per_worker).__name__}."
        )
    bundle: dict[str, float] = {"CPU": 1, **(resources_per_worker or {})}
    for name, number in bundle.items():
        check_scalar(number, f"resources_per_worker[{name!r}]", Real, min_val=0)
    if use_gpu:
        bundle.setdefault("GPU", 1)
    if bool(bundle.get("GPU")) != use_gpu:
        raise ValueError(
            f"resources_per_worker has {bundle.get('GPU', 0)} GPU and use_gpu is {use_gpu}: give "
            "use_gpu=True with GPUs, and leave GPU out without them."
        )
    needed = {name: number for name, number in bundle.items() if number}
    if not needed:
        raise ValueError("resources_per_worker must reserve something for a worker, got nothing.")
    return needed


def _run(
    estimator: E,
    shares: Sequence[Share],
    bundle: Mapping[str, float],
    use_gpu: bool,
    timeout: float,
    max_failures: int,
) -> tuple[E, list[tuple[str, type[Warning]]]]:
    """Return the model that workers have fitted, and their warnings."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Where the caller is: if that machine is lost, so is the call.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    desk = ray.remote(num_cpus=0, scheduling_strategy=here)(Desk).remote()
    work = partial(fit_share, estimator, shares, desk, os.getcwd())
    try:
        with tempfile.TemporaryDirectory(prefix="sksae-ray-") as folder:
            train = _trainer(work, len(shares), bundle, use_gpu, timeout, max_failures, folder)
            error = _watched(train, desk)
        model, warned = ray.get(desk.outcome.remote())
        if error is not None or model is None:
            raise explained(ray.get(desk.failures.remote()), error, len(shares)) from error
    finally:
        ray.kill(desk)
    return ray.cloudpickle.loads(model), warned


def _trainer(
    work: Callable[[], None],
    num_workers: int,
    bundle: Mapping[str, float],
    use_gpu: bool,
    timeout: float,
    max_failures: int,
    folder: str,
) -> Callable[[], Any]:
    """Return what trains by Ray Train, which writes its notes to a folder of this machine."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    def loop() -> None:
        work()

    return TorchTrainer(
        loop,
        # The first of two backends knows of the timeout what nccl does not say.
        torch_config=TorchConfig(
            backend="cpu:gloo,cuda:nccl" if use_gpu else "gloo", timeout_s=int(timeout)
        ),
        scaling_config=ScalingConfig(
            num_workers=num_workers, use_gpu=use_gpu, resources_per_worker=dict(bundle)
        ),
        run_config=RunConfig(
            name="sksae",
            storage_path=folder,
            failure_config=FailureConfig(
                max_failures=max_failures, controller_failure_limit=max_failures
            ),
        ),
    ).fit


def _watched(train: Callable[[], Any], desk: Any) -> BaseException | None:
    """Train in a thread, print what workers print meanwhile, and return the error if it failed.

    Ray Train replaces the handler of Ctrl-C in the main thread, where it ends the program.
    """
    import ray

    found: list[BaseException] = []
    # Not `Thread.join`, which may take an interrupted thread for one that has ended.
    has_ended = Event()

    def call() -> None:
        try:
            train()
        except BaseException as error:
            found.append(error)
        finally:
            has_ended.set()

    Thread(target=call, name="fit_on_ray", daemon=True).start()
    try:
        while not has_ended.wait(SECONDS_BETWEEN_LOOKS):
            _print(ray.get(desk.news.remote()))
    except BaseException:
        for worker in ray.get(desk.close.remote()):
            ray.kill(worker)
        has_ended.wait()
        raise
    _print(ray.get(desk.news.remote()))
    return found[0] if found else None


def _print(text: str) -> None:
    if text:
        sys.stdout.write(text)
        sys.stdout.flush()
