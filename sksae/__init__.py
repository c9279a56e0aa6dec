"""sksae: sparse autoencoders for scikit-learn."""

from sksae.base.shards.rows import ShardedRows
from sksae.checkpoint import Checkpoint
from sksae.classifier import SparseAutoencoderClassifier
from sksae.process.forks import watch_forks
from sksae.process.version import __version__ as __version__
from sksae.regressor import SparseAutoencoderRegressor
from sksae.stacked import StackedSparseAutoencoder
from sksae.transformer import SparseAutoencoderTransformer
from sksae.versions import show_versions

__all__ = [
    "Checkpoint",
    "ShardedRows",
    "SparseAutoencoderClassifier",
    "SparseAutoencoderRegressor",
    "SparseAutoencoderTransformer",
    "StackedSparseAutoencoder",
    "show_versions",
]

watch_forks()
