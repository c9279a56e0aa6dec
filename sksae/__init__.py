"""sksae: sparse autoencoders for scikit-learn."""

from sksae.stacked import StackedSparseAutoencoder
from sksae.transformer import SparseAutoencoderTransformer

__all__ = ["SparseAutoencoderTransformer", "StackedSparseAutoencoder"]
__version__ = "0.1.0"
