"""Steps and trainings of a search, found again by parameters and data."""

import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import joblib
import numpy as np

from sksae.model.numbers import Matrix
from sksae.model_selection.arrays import KnownArrays, TakenRows, Whole
from sksae.model_selection.autoencoders import only_reads
from sksae.model_selection.steps import Key, SharedSteps, StepFit, pack, recorded, unpack
from sksae.training.precomputed import Fit, use_precomputed_fits
from sksae.training.specification import Specification

# What scikit-learn fits a step of a pipeline by: rows and targets to transformed rows and the step.
Make = Callable[[Any, Any], tuple[Any, Any]]
# Types whose values are equal, and of one type, where they look the same.
PLAIN = (int, float, bool, str, type(None))


class FitReached(BaseException):
    """A sparse autoencoder that is still to be trained was asked to fit; nobody's error."""


@dataclass
class FitRequest:
    """A fit that the evaluation is going to ask for.

    Attributes
    ----------
    key : tuple
        Equal for equal parameters and data.
    specification : Specification or None
        The autoencoder; None if its parameters make no sense.
    X : ndarray, TakenRows or CSR matrix of shape (n_samples, n_features)
        Validated rows.
    sample_weight : ndarray of shape (n_samples,) or None
        Validated weights.
    is_watched : bool
        Whether somebody hears of every epoch, by callbacks.
    """

    key: Key
    specification: Specification | None
    X: Matrix
    sample_weight: np.ndarray | None
    is_watched: bool


class FitCache:
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
        self._rows: TakenRows | None = None
        # Rows and targets of a split as all candidates get them.
        self._lent: tuple[Any, ...] = ()
        self._arrays = KnownArrays()
        self._steps: dict[Key, StepFit] = {}
        self._fits: dict[Key, Fit] = {}
        self._collected: list[FitRequest] | None = None
        self._warned: dict[Any, Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        if self._file is None:
            file = self._folder / "fit_cache.joblib"
            served = {key: fit for key, fit in self._steps.items() if not fit.in_place}
            joblib.dump((self._arrays, pack(served), self._fits), file)
            self._file = file
        return _read_cache, (self._file, self._shared.n_bytes)

    def load(self, file: Path) -> None:
        """Take up what another process has written; nothing if this is another machine."""
        self._file = file
        try:
            arrays, steps, fits = joblib.load(file, mmap_mode="r")
        except FileNotFoundError:
            return
        self._arrays, self._steps, self._fits = arrays, unpack(steps), fits

    def find(
        self,
        given: Mapping[str, Any],
        specify: Callable[[], Specification],
        X: Matrix,
        sample_weight: np.ndarray | None,
        *,
        is_watched: bool,
    ) -> Fit | None:
        """Return what training came to, if it is known (see `training.precomputed`)."""
        key = self._key(given, X, sample_weight)
        if key is None:
            return None
        if self._collected is not None and key not in self._fits:
            # Candidates may each have a copy, of which one is enough.
            rows = self._arrays.first(key[1])
            try:
                specification = specify()
            except Exception:  # the fit itself will report it
                specification = None
            self._collected.append(FitRequest(key, specification, rows, sample_weight, is_watched))
            raise FitReached
        return self._fits.get(key)

    def add(self, fits: Mapping[Key, Fit]) -> None:
        """Take up what trainings came to."""
        self._fits.update(fits)

    def fit_step(
        self,
        make: Make,
        transformer: Any,
        options: object,
        X: Any,
        y: Any,
        *,
        is_shared: bool,
        may_be_written: bool,
    ) -> tuple[Any, Any]:
        """Return what fitting a step gave, or make it: transformed rows, fitted transformer.

        The warnings that came with it come again each time. A step that works in place does so
        again, on what each candidate that is evaluated has of its own.

        Parameters
        ----------
        make : callable
            Makes it of rows and targets.
        transformer : estimator
            The step, unfitted.
        options : object
            What else tells it from others.
        X, y
            What it is fitted on.
        is_shared : bool
            Whether others will ask for it, in this process or another one.
        may_be_written : bool
            Whether the rows may reach somebody who writes to them.
        """
        key = self._step_key([transformer, options], X, y)
        fit = None if key is None else self._steps.get(key)
        if key is not None and self._collected is not None:
            if fit is None:
                fit = self._steps[key] = self._record(make, transformer, X, y)
            rows, fitted = fit.rows, fit.transformer
        elif fit is not None and not fit.in_place:
            try:
                rows, fitted = fit.rows, deepcopy(fit.transformer)
            except Exception:  # it holds a generator or a lock, say
                return make(*self.own(X, y))
        elif fit is None and key is not None and is_shared:
            fit = self._shared.find(key)
            if fit is None:
                fit = self._record(make, transformer, X, y)
                if not fit.in_place:
                    self._shared.keep(key, fit)
            rows, fitted = fit.rows, fit.transformer
        else:
            return make(*self.own(X, y))
        if may_be_written:
            (rows,) = self.own(rows)
        if not fit.in_place:
            self._newest = rows, key
        for each in fit.warned:
            warnings.warn_explicit(*each, registry=self._warned)
        return rows, fitted

    def own(self, *data: Any) -> list[Any]:
        """Return data to be written to: copies of what other candidates see too."""
        lent = [*self._lent, *(fit.rows for fit in self._steps.values())]
        return [deepcopy(x) if any(x is each for each in lent) else x for x in data]

    def _record(self, make: Make, transformer: Any, X: Any, y: Any) -> StepFit:
        """Fit a step, and see whether it writes to its data.

        Parameters
        ----------
        make : callable
            Makes it of rows and targets.
        transformer : estimator
            The step, unfitted.
        X, y
            What it is fitted on.
        """
        if only_reads(transformer):
            return recorded(make, (X, y), (X, y))
        copies = deepcopy((X, y))
        if self._collected is None:
            return recorded(make, self.own(X, y), copies)
        # Data that have a number stay as they are.
        return recorded(make, copies, (X, y))

    @contextmanager
    def collecting(self) -> Iterator[list[FitRequest]]:
        """Note fits that are not known yet in the list given."""
        self._collected = []
        try:
            with use_precomputed_fits(self):
                yield self._collected
        finally:
            self._collected = None

    @contextmanager
    def on_split(self, X_train: Any, y_train: Any, train: Any) -> Iterator[None]:
        """Let it be known meanwhile that these data are the rows with these indices.

        Parameters
        ----------
        X_train, y_train
            Rows and targets of a split.
        train : ndarray
            Indices of these rows among all.
        """
        self._arrays.number(y_train)
        if self._whole is not None and isinstance(X_train, np.ndarray):
            self._rows = TakenRows(self._whole, np.arange(len(self._whole.array))[train])
            self._arrays.number(self._rows)
        self._lent = X_train, y_train
        try:
            yield
        finally:
            self._rows, self._lent = None, ()

    def _where_they_lie(self, data: Any) -> Any:
        """Return data as rows of X if they are those of the split, and else as they are."""
        return self._rows if self._rows is not None and data is self._lent[0] else data

    def _step_key(self, described: object, X: Any, y: Any) -> Key | None:
        """Return what tells the fit of a step from others, or None if nobody can tell.

        Parameters
        ----------
        described : object
            The step, and what else tells it from others.
        X, y
            What it is fitted on.
        """
        try:
            return self._key(described, X, y)
        except (pickle.PicklingError, AttributeError, TypeError):  # of a lambda or a lock, say
            return None

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
def _read_cache(file: Path, n_bytes: float) -> FitCache:
    cache = FitCache(file.parent, n_bytes=n_bytes)
    cache.load(file)
    return cache
