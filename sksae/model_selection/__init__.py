"""Searches over sparse autoencoders, all candidates at once.

How a batched search works. `batched_search.py` goes through the steps, `search.py` has the
classes.

1. The dry run (`dry_run.py`). Each candidate is fitted on each split as far as its autoencoder. The
   fit cache (`fit_cache.py`) keeps the steps before it, and notes the fit that is asked for.
2. Grouping (`groups.py`). Fits on the same rows whose networks differ in numbers only are one
   group.
3. Memory and cores (`groups.py`). Groups that would take too much memory are cut. The last ones
   are split where cores would be idle.
4. Training (`workers.py`). Threads or processes train the groups. The fit cache takes the results.
   If candidates have several autoencoders in a row, steps 1 to 4 are repeated for each.
5. Substitution (`fit_cache.py`, `step_memory.py`). Scikit-learn's own search fits and scores each
   candidate. Autoencoders and steps take their fits from the cache, and others are fitted as usual.
6. The refit. Scikit-learn fits the best candidate on all rows, without the cache.

`arrays.py` tells equal data by their contents. `steps.py` keeps fitted steps. `autoencoders.py`
finds the autoencoders in an estimator.
"""

from sksae.model_selection.search import BatchedGridSearchCV, BatchedRandomizedSearchCV

__all__ = ["BatchedGridSearchCV", "BatchedRandomizedSearchCV"]
