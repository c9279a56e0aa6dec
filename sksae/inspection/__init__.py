"""Looking at what was learnt: which rows and which features a unit stands for.

All of it takes a fitted autoencoder, or an estimator with one in it. matplotlib and pandas are
imported when they are used.
"""

from sksae.inspection.contributions import error_contributions
from sksae.inspection.samples import top_samples

__all__ = ["error_contributions", "top_samples"]
