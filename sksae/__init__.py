"""sksae: sparse autoencoders for scikit-learn."""

from sksae.classifier import SparseAutoencoderClassifier
from sksae.process.forks import watch_forks
from sksae.regressor import SparseAutoencoderRegressor
from sksae.stacked import StackedSparseAutoencoder
from sksae.transformer import SparseAutoencoderTransformer
from sksae.versions import show_versions

__all__ = [
    "SparseAutoencoderClassifier",
    "SparseAutoencoderRegressor",
    "SparseAutoencoderTransformer",
    "StackedSparseAutoencoder",
    "show_versions",
]
__version__ = "0.1.0"

watch_forks()
