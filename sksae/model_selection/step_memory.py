"""The memory that a search gives to pipelines, so that they find their steps fitted."""

from collections.abc import Callable, Sequence
from typing import Any, Self

from sklearn.utils.validation import check_memory

from sksae.model_selection.autoencoders import autoencoders_in, only_reads
from sksae.model_selection.fit_cache import FitCache
from sksae.training.precomputed import use_precomputed_fits


class StepMemory:
    """The ``memory`` of a pipeline whose steps may have been fitted in the dry run.

    Parameters
    ----------
    cache : FitCache
        Where fitted steps are found.
    memory : None, str or object with the interface of joblib.Memory
        The pipeline's own, for all else.
    is_shared : bool, default=False
        Whether several pipelines have all these steps in common.
    may_be_written : bool, default=False
        Whether what steps before a sparse autoencoder made may reach a last step that writes to it.
    """

    def __init__(
        self,
        cache: FitCache,
        memory: Any,
        *,
        is_shared: bool = False,
        may_be_written: bool = False,
    ) -> None:
        self._fit_cache, self._memory = cache, memory
        self._how = {"is_shared": is_shared, "may_be_written": may_be_written}

    def __sklearn_clone__(self) -> Self:
        return self

    def cache(
        self, func: Callable[..., Any], ignore: Sequence[str] = (), **options: Any
    ) -> Callable[..., Any]:
        """Return a function that looks up the fit of a step before it makes it.

        ``func`` is scikit-learn's: it takes a transformer, X, y and more by name, and returns the
        transformed X and the fitted transformer.

        Parameters
        ----------
        func : callable
            As above.
        ignore : sequence of str, default=()
            Names of arguments that do not tell one fit from another.
        **options : dict
            For the ``cache`` of the pipeline's own memory.
        """
        make = check_memory(self._memory).cache(func, ignore=list(ignore), **options)

        def fit_transform(transformer: Any, X: Any, y: Any, **others: Any) -> Any:
            def make_it(X: Any, y: Any) -> Any:
                with use_precomputed_fits(self._fit_cache):
                    return make(transformer, X, y, **others)

            if autoencoders_in(transformer) and not self._how["is_shared"]:
                own = (X, y) if only_reads(transformer) else self._fit_cache.own(X, y)
                return make_it(*own)
            # A transformer's callbacks are part of it: with others than in the dry run it is
            # fitted again, and they hear of it. The message is what a verbose pipeline prints.
            left_out = {*ignore, "message"}
            options = {k: v for k, v in others.items() if k not in left_out}
            return self._fit_cache.fit_step(make_it, transformer, options, X, y, **self._how)

        return fit_transform
