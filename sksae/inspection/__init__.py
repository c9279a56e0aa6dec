"""Looking at what was learnt: which rows and which features a unit stands for.

All of it takes a fitted autoencoder, or an estimator with one in it. matplotlib and pandas are
imported when they are used.
"""

from sksae.inspection.feature_table import feature_table
from sksae.inspection.samples import top_samples

__all__ = ["feature_table", "top_samples"]
