"""Searches over sparse autoencoders, all candidates at once."""

from sksae.model_selection.search import BatchedGridSearchCV, BatchedRandomizedSearchCV

__all__ = ["BatchedGridSearchCV", "BatchedRandomizedSearchCV"]
