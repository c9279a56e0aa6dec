"""What a search has done ahead of its evaluation, found again by parameters and data."""

import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self, cast

import joblib
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_memory

from sksae.base.protocols import Autoencoder, is_autoencoder
from sksae.model.numbers import Matrix
from sksae.model_selection.arrays import KnownArrays, TakenRows, Whole
from sksae.model_selection.steps import Key, SharedSteps, StepFit, pack, recorded, unpack
from sksae.training.precomputed import Fit, use_precomputed_fits
from sksae.training.specification import Specification

# Types whose values are equal, and of one type, where they look the same.
PLAIN = (int, float, bool, str, type(None))


def autoencoders_in(estimator: Any) -> list[Autoencoder]:
    """Return the sparse autoencoders that an estimator is or contains."""
    if is_autoencoder(estimator):
        return [estimator]
    if not isinstance(estimator, BaseEstimator):
        return []
    parts = estimator.get_params(deep=True).values()
    return [part for part in parts if is_autoencoder(part)]


class FitReached(BaseException):
    """A sparse autoencoder that is still to be trained was asked to fit; nobody's error."""


@dataclass
class Request:
    """A fit that the evaluation is going to ask for.

    Attributes
    ----------
    key : tuple
        Equal for equal parameters and data.
    specification : Specification
        The autoencoder.
    X : ndarray, TakenRows or CSR matrix of shape (n_samples, n_features)
        Validated rows.
    sample_weight : ndarray of shape (n_samples,) or None
        Validated weights.
    is_watched : bool
        Whether somebody hears of every epoch, by callbacks.
    """

    key: Key
    specification: Specification
    X: Matrix
    sample_weight: np.ndarray | None
    is_watched: bool


class WorkAhead:
    """What steps of pipelines gave and what trainings came to.

    It is a source of fits (see `precomputed`). While `collecting`, a fit that it does not know is
    noted as a request and ends the fit of whatever the autoencoder is part of.

    To another process it goes by way of a file; one that cannot read it knows nothing, and fits
    there are made one by one.

    Parameters
    ----------
    folder : Path
        Where that file is written, and what candidates share.
    X : object, optional
        All rows of the search. Those of its splits are not kept besides, if it is an array.
    n_bytes : float, default=0
        How much of what candidates share is kept.
    """

    def __init__(self, folder: Path, X: Any = None, n_bytes: float = 0.0) -> None:
        self._folder = folder
        self._shared = SharedSteps(folder, n_bytes)
        # What a step gave last, and what tells that from others.
        self._newest: tuple[Any, Key | None] = (None, None)
        self._file: Path | None = None
        is_matrix = isinstance(X, np.ndarray) and X.ndim == 2 and not X.dtype.hasobject
        self._whole = Whole(X) if is_matrix else None
        self._split: tuple[Any, TakenRows] | None = None
        self._arrays = KnownArrays()
        self._steps: dict[Key, StepFit] = {}
        self._fits: dict[Key, Fit] = {}
        self._collected: list[Request] | None = None
        self._warned: dict[Any, Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        if self._file is None:
            file = self._folder / "ahead.joblib"
            joblib.dump((self._arrays, pack(self._steps), self._fits), file)
            self._file = file
        return _read_ahead, (self._file, self._shared.n_bytes)

    def find(
        self,
        specification: Specification,
        X: Matrix,
        sample_weight: np.ndarray | None,
        *,
        is_watched: bool,
    ) -> Fit | None:
        """Return what training came to, if it is known."""
        key = self._key(specification.given, X, sample_weight)
        if key is None:
            return None
        if self._collected is not None and key not in self._fits:
            rows = cast("Matrix", self._where_they_lie(X))
            self._collected.append(Request(key, specification, rows, sample_weight, is_watched))
            raise FitReached
        return self._fits.get(key)

    def know(self, data: Any) -> None:
        """Take note of data that shared steps are fitted on."""
        self._arrays.number(data)

    def add(self, fits: Mapping[Key, Fit]) -> None:
        """Take up what trainings came to."""
        self._fits.update(fits)

    def fit_step(
        self,
        make: Callable[[], tuple[Any, Any]],
        described: object,
        X: Any,
        y: Any,
        *,
        is_shared: bool,
    ) -> tuple[Any, Any]:
        """Return what fitting a step gave, or make it: transformed rows, fitted transformer.

        The warnings that came with it come again each time.

        Parameters
        ----------
        make : callable
            Makes it.
        described : object
            Tells the step from others.
        X, y
            What it is fitted on.
        is_shared : bool
            Whether others will ask for it, in this process or another one.
        """
        try:
            key = self._key(described, X, y)
        except (pickle.PicklingError, AttributeError, TypeError):  # of a lambda or a lock, say
            key = None
        fit = None if key is None else self._steps.get(key)
        if fit is None and key is not None and is_shared:
            fit = self._shared.find(key)
        if fit is None:
            if key is None or (self._collected is None and not is_shared):
                return make()
            fit = recorded(make)
            if self._collected is None:
                self._shared.keep(key, fit)
            else:
                self._steps[key] = fit
        self._newest = fit.rows, key
        for each in fit.warned:
            warnings.warn_explicit(*each, registry=self._warned)
        return fit.rows, fit.transformer

    @contextmanager
    def collecting(self) -> Iterator[list[Request]]:
        """Note fits that are not known yet in the list given."""
        self._collected = []
        try:
            with use_precomputed_fits(self):
                yield self._collected
        finally:
            self._collected = None

    @contextmanager
    def on_split(self, X_train: Any, train: Any) -> Iterator[None]:
        """Let it be known meanwhile that some data are the rows of X with these indices."""
        if self._whole is not None and isinstance(X_train, np.ndarray):
            index = np.arange(len(self._whole.array))[train]
            self._split = X_train, TakenRows(self._whole, index)
        try:
            yield
        finally:
            self._split = None

    def _where_they_lie(self, data: Any) -> Any:
        """Return data as rows of X if they are those of the split, and else as they are."""
        return self._split[1] if self._split is not None and data is self._split[0] else data

    def _key(self, described: object, *data: Any) -> Key | None:
        """Return what tells a piece of work from others, or None if its data are unknown."""
        numbers = [self._number(self._where_they_lie(each)) for each in data]
        return None if None in numbers else (_told_apart(described), *numbers)

    def _number(self, data: Any) -> int | Key | None:
        """Return what tells data from others; of what a shared step just gave, that step."""
        if self._collected is not None:
            return self._arrays.number(data)
        number = self._arrays.find(data)
        rows, key = self._newest
        return key if number is None and data is rows else number


def _told_apart(described: object) -> str:
    """Return what is equal for equal descriptions; at once where they are plain numbers and words.

    As most parameters of an autoencoder are, of each of the many candidates of a search.
    """
    if isinstance(described, dict) and all(map(_is_plain, described.values())):
        return repr(described)
    return cast("str", joblib.hash(described))


def _is_plain(value: object) -> bool:
    return type(value) in PLAIN or (type(value) is tuple and all(map(_is_plain, value)))


@lru_cache(maxsize=1)
def _read_ahead(file: Path, n_bytes: float) -> WorkAhead:
    ahead = WorkAhead(file.parent, n_bytes=n_bytes)
    ahead._file = file
    try:
        arrays, steps, fits = joblib.load(file, mmap_mode="r")
    except FileNotFoundError:  # another machine's
        return ahead
    ahead._arrays, ahead._steps, ahead._fits = arrays, unpack(steps), fits
    return ahead


class StepMemory:
    """The ``memory`` of a pipeline whose steps may have been fitted ahead.

    Parameters
    ----------
    ahead : WorkAhead
        Where fitted steps are found.
    memory : None, str or object with the interface of joblib.Memory
        The pipeline's own, for all else.
    is_shared : bool, default=False
        Whether several pipelines have all these steps in common.
    """

    def __init__(self, ahead: WorkAhead, memory: Any, *, is_shared: bool = False) -> None:
        self._ahead, self._memory, self._is_shared = ahead, memory, is_shared

    def __sklearn_clone__(self) -> Self:
        return self

    def cache(
        self, func: Callable[..., Any], ignore: Sequence[str] = (), **options: Any
    ) -> Callable[..., Any]:
        """Return a function that looks up the fit of a step before it makes it.

        ``func`` is scikit-learn's: it takes a transformer, X, y and more by name, and returns the
        transformed X and the fitted transformer.
        """
        make = check_memory(self._memory).cache(func, ignore=list(ignore), **options)

        def fit_transform(transformer: Any, X: Any, y: Any, **others: Any) -> Any:
            def make_it() -> Any:
                with use_precomputed_fits(self._ahead):
                    return make(transformer, X, y, **others)

            if autoencoders_in(transformer) and not self._is_shared:
                return make_it()
            # A transformer's callbacks are part of it: with others than in the rehearsal it is
            # fitted again, and they hear of it. The message is what a verbose pipeline prints.
            left_out = {*ignore, "message"}
            described = [transformer, {k: v for k, v in others.items() if k not in left_out}]
            return self._ahead.fit_step(make_it, described, X, y, is_shared=self._is_shared)

        return fit_transform
