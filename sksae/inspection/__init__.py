"""Looking at what was learnt: which rows and which features a unit stands for.

All of it takes a fitted autoencoder, or an estimator with one in it. matplotlib and pandas are
imported when they are used.
"""

from sksae.inspection.contributions import error_contributions
from sksae.inspection.displays.activity import ActivityDisplay
from sksae.inspection.displays.atoms import AtomsDisplay
from sksae.inspection.displays.loss import LossCurveDisplay
from sksae.inspection.displays.reconstruction import ReconstructionDisplay
from sksae.inspection.displays.samples import TopSamplesDisplay
from sksae.inspection.displays.search import SearchDisplay
from sksae.inspection.feature_table import feature_table
from sksae.inspection.reporting import report
from sksae.inspection.samples import top_samples

__all__ = [
    "ActivityDisplay",
    "AtomsDisplay",
    "LossCurveDisplay",
    "ReconstructionDisplay",
    "SearchDisplay",
    "TopSamplesDisplay",
    "error_contributions",
    "feature_table",
    "report",
    "top_samples",
]
