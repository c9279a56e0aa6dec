"""What a user is told at the end of a training: that it was not done, missed rho or was useless."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isnan
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sksae.model.codes import BOUNDED, CODES
from sksae.model.numbers import r_squared
from sksae.model.settings import TOLERANCE, TrainingConfig
from sksae.model.tasks import TrainingResult
from sksae.process.warning import warn_user
from sksae.training.diagnostics import FEWEST_ROWS
from sksae.training.plan import Plan

# A unit is dead if it varies by no more than this share of its largest activation.
DEAD_TOL = 0.05
# Up to this share of dead units nothing is said.
MAY_BE_DEAD = 0.01
# This share of the epochs, the last ones, tells whether the loss still falls at the end.
LAST_PART = 0.2
# R^2 up to NOTHING means that nothing was learnt. J has risen if it is above where it was by
# more than the share ABOVE of that.
NOTHING, ABOVE = 1e-3, 1e-3
# What a user has ended is not judged.
BY_USER = ("interrupt", "callback")


class Finding(NamedTuple):
    """Something to be said of a training, and what to do about it ("" if nothing is known)."""

    says: str
    advice: str


@dataclass(frozen=True)
class Unusual:
    """A parameter set higher than what its default stands for, or a learning rate far lower."""

    name: str
    value: float
    default: object
    usual: float

    def __str__(self) -> str:
        stands_for = "" if self.default == self.usual else f"{self.default!r} is "
        change = "lower" if self.value > self.usual else "raise"
        now = f"{self.name}={self.value:g}"
        return f"{change} {now} ({stands_for or 'by default '}{self.usual:.3g})"


def is_dead(
    lowest: np.ndarray, highest: np.ndarray, *, threshold: float = 0.0, tol: float = DEAD_TOL
) -> np.ndarray:
    """Return which units are dead.

    Parameters
    ----------
    lowest, highest : ndarray of shape (n_components,)
        Smallest and largest activation of each unit in several rows.
    threshold : float
        A unit is dead that is nowhere above it in magnitude.
    tol : float
        And one that varies by no more than this share of its largest magnitude.
    """
    largest = np.maximum(highest, -lowest)
    dead: np.ndarray = (largest <= threshold) | (highest - lowest <= tol * largest)
    return dead


def warn_of_end(
    trained: TrainingResult, plan: Plan, unusual: Sequence[Unusual], *, n_rows: int
) -> None:
    """Warn if the training of an autoencoder was interrupted, not done, missed rho or useless.

    A single pass over a piece of the rows never claims to be done.

    Parameters
    ----------
    trained : TrainingResult
        What it left behind.
    plan : Plan
        What was asked for.
    unusual : sequence of Unusual
        Parameters that may be to blame.
    n_rows : int
        Rows trained on.
    """
    warn_of_interrupt(trained)
    if plan.config.is_one_pass:
        return
    late, missed = unfinished(trained, plan.config), missed_rho(trained, plan)
    useless = dead = None
    columns = plan.scaling.columns
    if trained.deviation == 0.0 or (columns is not None and not columns.variance.any()):
        late = None
    elif trained.stopped_by not in BY_USER:
        unusual = [each for each in unusual if each.name != "tol" or trained.stopped_by == "tol"]
        advice = advice_on(trained, plan, unusual)
        if trained.stopped_by == "max_iter" and not unusual and plan.scaling.scaled:
            advice = "" if late else f"raise max_iter ({plan.config.max_iter} now)"
        useless = no_use(trained, advice, has_noise=plan.config.noise is not None)
        if n_rows >= FEWEST_ROWS:
            # What else is unusual makes no difference to that.
            dying = [each for each in unusual if each.name not in ("noise_level", "tol")]
            dead = dead_units(trained, advice_on(trained, plan, dying))
    if useless is not None:
        # One failure, whatever is seen of it.
        warn_of([late, missed, useless, dead], [useless, late or missed])
    else:
        warn_of([late], [late])
        # Units that died may be why rho is missed.
        warn_of([missed, dead], [missed or dead])


def warn_of_interrupt(trained: TrainingResult) -> None:
    """Warn if the user ended a training, and of what is not known if they did so twice."""
    if trained.stopped_by == "interrupt":
        rest = ", and so was the evaluation after it: loss_ is nan" if isnan(trained.loss) else ""
        warn_user(f"Training interrupted by user{rest}.")


def warn_of_finetuning(trained: TrainingResult, plan: Plan) -> None:
    """Warn if the training of layers together was interrupted, not done or, of rows, useless."""
    warn_of_interrupt(trained)
    if plan.config.is_one_pass:
        return
    has_target = plan.target is not None
    late = unfinished(trained, plan.config, has_target=has_target)
    useless = dead = None
    if not has_target and trained.deviation == 0.0:
        late = None
    elif has_target:
        useless = nothing_learnt(trained, plan) if trained.stopped_by not in BY_USER else None
    elif trained.stopped_by not in BY_USER:
        alpha, rate = alpha_of(plan), plan.config.learning_rate
        advice = [] if plan.config.solver == "lbfgs" else [("learning_rate", rate)]
        useless = no_use(trained, lower_any([*advice, ("alpha", alpha)]))
        dead = dead_units(trained, lower_any([("alpha", alpha), *advice]))
    warn_of([late, useless, dead], [useless or dead, late])


def warn_of(findings: Sequence[Finding | None], advising: Sequence[Finding | None]) -> None:
    """Give one warning of all findings, if there are any, with the advice of some."""
    says = ", and ".join(each.says for each in findings if each is not None)
    advice = "; or ".join(each.advice for each in advising if each is not None and each.advice)
    if says:
        warn_user(f"{says}: {advice}." if advice else f"{says}.", ConvergenceWarning)


def unfinished(
    trained: TrainingResult, config: TrainingConfig, *, has_target: bool = False
) -> Finding | None:
    """Find that the loss was still falling at the end.

    Parameters
    ----------
    trained : TrainingResult
        What the training left behind.
    config : TrainingConfig
        How long it was to be.
    has_target : bool, default=False
        Whether the loss is that of a target.
    """
    if trained.stopped_by != "max_iter":
        return None
    curve = trained.loss_curve
    if config.solver != "lbfgs" and config.learning_rate_schedule == "linear":
        # The rate has fallen to zero as planned: only a loss still on its way down is a reason.
        n_epochs = min(config.n_iter_no_change, ceil(LAST_PART * len(curve)), len(curve) - 1)
        earlier = curve[-1 - n_epochs]
        # That of a target falls toward 0, by which share of itself tells nothing.
        scale = max(curve) if has_target else abs(earlier)
        if earlier - curve[-1] <= n_epochs * config.tol * scale:
            return None
    return Finding(
        f"training reached max_iter={config.max_iter} and the loss has not converged yet",
        "raise max_iter, or tol",
    )


def missed_rho(trained: TrainingResult, plan: Plan) -> Finding | None:
    """Find that the beta that was to be found has not been."""
    activity, rho = trained.activity, plan.rho
    if activity is None or abs(activity - rho) <= TOLERANCE * rho:
        return None
    if trained.deviation == 0.0:
        return None  # of rows that are all alike nothing is to be learnt
    facts = CODES[plan.penalties.sparsity]
    counted = "share of active units" if facts.counts_units else "share of units not negligible"
    what = "mean activation" if facts.aims_at_mean else counted
    if activity > rho:
        advice = "raise max_iter, rho or n_components"
        makes_zeros = facts.is_sparse(plan.architecture.code_activation)
        if not facts.aims_at_mean and not makes_zeros:
            advice += ", or use activation='relu' and sparsity='l1', which makes exact zeros"
    elif facts.aims_at_mean or plan.config.solver == "lbfgs":
        advice = "raise max_iter, or lower rho"
    else:
        advice = "raise max_iter, or lower the learning rate, at which units may die, or rho"
    return Finding(
        f"beta='auto' ended at beta_={trained.beta:.3g} with a {what} of {activity:.4g}, more than "
        f"{TOLERANCE:.0%} off rho={rho:.4g}",
        advice,
    )


def no_use(trained: TrainingResult, advice: str, *, has_noise: bool = False) -> Finding | None:
    """Find that rows are not reconstructed at all, or that J is larger than it was.

    Parameters
    ----------
    trained : TrainingResult
        What the training left behind.
    advice : str
        What to do about it.
    has_noise : bool, default=False
        Whether rows were corrupted.
    """
    score = r_squared(trained.error, trained.deviation)
    start, of_mean = trained.loss_at_start, trained.loss_of_mean
    if score <= NOTHING:
        rows = "training rows without noise" if has_noise else "training rows"
        says = (
            f"rows are reconstructed no better than by their mean (R^2 of the {rows} is "
            f"{score:.3g})"
        )
    # One that goes on from a good state may end above it, as its first steps are long again, but
    # must not lose half of what had been gained.
    elif start is not None and is_above(trained.loss, max(start, (start + of_mean) / 2.0)):
        says = f"loss_={trained.loss:.4g} is above {start:.4g}, where training began"
    else:
        return None
    return Finding(says, advice)


def nothing_learnt(trained: TrainingResult, plan: Plan) -> Finding | None:
    """Find that training has not lowered the loss of a target, or that noise has hidden it."""
    start = trained.loss_at_start
    # Unknown of labels.
    if plan.config.noise is not None and trained.error > (1.0 - NOTHING) * trained.deviation:
        score = r_squared(trained.error, trained.deviation)
        says = (
            "targets are predicted no better than by their mean (R^2 of the training rows without "
            f"noise is {score:.3g})"
        )
        return Finding(says, "lower noise_level")
    if start is None or not is_above(trained.loss, start):
        return None
    solver, rate = plan.config.solver, plan.config.learning_rate
    advice = "" if solver == "lbfgs" else f"lower learning_rate ({rate:.3g} now)"
    return Finding(f"loss_={trained.loss:.4g} is above {start:.4g}, where training began", advice)


def dead_units(trained: TrainingResult, advice: str) -> Finding | None:
    """Find that many units tell nothing of the rows."""
    dead = is_dead(trained.lowest, trained.highest)
    if dead.sum() <= MAY_BE_DEAD * dead.size:
        return None
    is_silent = not trained.lowest[dead].any() and not trained.highest[dead].any()
    how = "0 in all training rows" if is_silent else "almost the same in all training rows"
    n_dead = int(dead.sum())
    are = "is" if n_dead == 1 else "are"
    return Finding(f"{n_dead} of {dead.size} units {are} dead ({how})", advice)


def advice_on(trained: TrainingResult, plan: Plan, unusual: Sequence[Unusual]) -> str:
    """Return which parameters to set back; if none is unusual, what else makes a difference.

    Parameters
    ----------
    trained : TrainingResult
        What the training left behind.
    plan : Plan
        What was asked for.
    unusual : sequence of Unusual
        Parameters that may be to blame.
    """
    if unusual:
        return ", or ".join(map(str, unusual))
    penalties, is_bounded = plan.penalties, plan.architecture.code_activation in BOUNDED
    facts = CODES[penalties.sparsity]
    advice = []
    if not plan.scaling.scaled and plan.architecture.activations[-1] != "relu":
        advice.append("use scale_data=True")
    if penalties.beta == "auto" or facts.is_exact:
        advice.append(f"raise rho ({plan.rho:.3g} now)")
    elif facts.aims_at_mean:
        advice.append(lower_any([("alpha", alpha_of(plan))]))
        advice.append(f"raise rho ({plan.rho:.3g} now)")
    elif is_bounded:
        advice.append(lower_any([("alpha", alpha_of(plan))]))
    elif not facts.has_penalty:
        advice.append("use activation='prelu', whose units do not die")
    else:
        if facts.revives_units:
            advice.append("use beta='auto'")
        advice.append(lower_any([("beta", trained.beta)]))
    # Long steps are what units die of that no penalty pulls to 0, and hidden ones.
    may_overshoot = not is_bounded and not facts.revives_units
    if plan.config.solver != "lbfgs" and (may_overshoot or plan.architecture.n_layers > 2):
        advice.append(lower_any([("learning_rate", plan.config.learning_rate)]))
    return ", or ".join(each for each in advice if each)


def alpha_of(plan: Plan) -> float:
    """Return the weight decay of the one network."""
    alpha = plan.penalties.alpha
    assert isinstance(alpha, float)
    return alpha


def lower_any(values: Sequence[tuple[str, float]]) -> str:
    """Return the advice to lower one of some parameters, of those that can be."""
    return ", or ".join(f"lower {name} ({value:.3g} now)" for name, value in values if value > 0.0)


def is_above(loss: float, other: float) -> bool:
    """Return whether a loss is above another one by more than chance."""
    return loss > other + ABOVE * abs(other)
