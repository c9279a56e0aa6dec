"""Plans of estimators, for tests of what stands below them."""

from sksae.base.attributes import fitted_of
from sksae.base.parameters import specification_of
from sksae.training.plan import make_plan


def plan_of(estimator, X, weight=None, *, resume_from=None, one_pass=False):
    """Return the training that an estimator's parameters ask for, going on from a fitted one."""
    before = None if resume_from is None else fitted_of(resume_from)
    return make_plan(specification_of(estimator), X, weight, resume_from=before, one_pass=one_pass)
