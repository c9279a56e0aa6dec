"""sksae: sparse autoencoders for scikit-learn."""

from sksae.transformer import SparseAutoencoderTransformer

__all__ = ["SparseAutoencoderTransformer"]
__version__ = "0.1.0"
