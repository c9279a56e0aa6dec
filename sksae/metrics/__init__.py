"""What a code is worth, and a dictionary; and scorers that tell it to a search over parameters.

All of it is numpy and scipy: nothing here trains, and nothing imports torch.
"""

from sksae.metrics.activity import is_active
from sksae.metrics.codes import (
    dead_fraction,
    dead_units,
    explained_variance,
    feature_density,
    kl_sparsity,
    l0,
    mean_activation,
)
from sksae.metrics.dictionaries import (
    dictionary_coherence,
    matched_correlation,
    mean_max_cosine_similarity,
)
from sksae.metrics.scoring import refit_sparsest, sparsity_scorers
from sksae.metrics.sparseness import hoyer_sparsity, treves_rolls_sparseness

__all__ = [
    "dead_fraction",
    "dead_units",
    "dictionary_coherence",
    "explained_variance",
    "feature_density",
    "hoyer_sparsity",
    "is_active",
    "kl_sparsity",
    "l0",
    "matched_correlation",
    "mean_activation",
    "mean_max_cosine_similarity",
    "refit_sparsest",
    "sparsity_scorers",
    "treves_rolls_sparseness",
]
