"""sksae: sparse autoencoders for scikit-learn."""

from sksae.classifier import SparseAutoencoderClassifier
from sksae.forks import watch_forks
from sksae.regressor import SparseAutoencoderRegressor
from sksae.stacked import StackedSparseAutoencoder
from sksae.transformer import SparseAutoencoderTransformer

__all__ = [
    "SparseAutoencoderClassifier",
    "SparseAutoencoderRegressor",
    "SparseAutoencoderTransformer",
    "StackedSparseAutoencoder",
]
__version__ = "0.1.0"

watch_forks()
