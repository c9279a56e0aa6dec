"""The values that None and "auto" stand for; docs/guide/defaults.md has the measurements.

Below ``is_scaled`` says whether rows have the norm that makes codes sparse (`has_scaled_norm`).
"""

from math import ceil, sqrt

from sksae.model.codes import CODES, listed
from sksae.model.scaling import SCALED_NORM

# Where rows are as they come, the decay of the UFLDL notes.
UNSCALED_ALPHA = 1e-4
# A step of adam is the rate in every weight and moves a pre-activation by up to the rate times the
# sum of a row's magnitudes. Where the norm of a row is fixed that grows with the root of their
# number: the rate is for REFERENCE_WIDTH of them and less. A step of sgd is as long as the
# gradient, which has the norm of the rows in it, and activations where they have no bound.
SCALED_ADAM_RATE = 2e-2
UNSCALED_RATES = {"adam": 1e-2, "sgd": 0.1, "lbfgs": 0.0}
REFERENCE_WIDTH = 64
# By logits the cross entropy is a quarter as curved as the squared error is, or less.
LOGIT_SGD_GAIN = 4.0
# With tied weights what a unit detects and what it writes have one length, so that selective units
# need biases as far from 0 as the norm of the rows: at the rate of wide rows they would not get
# there, and theirs does not fall.
# Beyond TIED_WIDTH the weights, which each step moves in both layers, have at least half the rate.
TIED_WIDTH, TIED_SHARE = 784, 0.5
# So many batches are an epoch of few rows, of which it would else be a step or two.
BATCHES_PER_EPOCH, SMALLEST_BATCH, LARGEST_BATCH = 8, 16, 256

# Epochs without a new best after which the loss has settled, and steps that they are at least: the
# first steps overshoot, and few of them tell nothing. So with all epochs, of few large batches.
PATIENCE, PATIENT_STEPS = 10, 300
# Iterations of lbfgs are each their own step, and on its way down some are short.
LBFGS_PATIENCE = 30
EPOCHS, LEAST_STEPS = 200, 800
# A first training's rates would undo what the layers have learnt; measured on MNIST, which has so
# many features. Beyond them the rate of adam falls as a first training's does, and is half of it.
FINETUNING_RATES = {"adam": 3e-3, "sgd": 3e-3, "lbfgs": 0.0}
FINETUNING_WIDTH = 784


def resolve_alpha(
    alpha: float | None,
    sparsity: str | None,
    n_hidden_layers: int,
    n_features: int,
    is_scaled: bool,
    *,
    of_probabilities: bool = False,
) -> float:
    """Return the weight decay; None is what suits the code, the rows and the loss.

    Parameters
    ----------
    alpha : float or None
        As it was given.
    sparsity : str or None
        Name of the code.
    n_hidden_layers : int
        Layers between input and code.
    n_features : int
        Of the rows.
    is_scaled : bool
        Whether rows have the norm that makes codes sparse.
    of_probabilities : bool, default=False
        Whether the loss is the cross entropy of rows in [0, 1].
    """
    facts = CODES[sparsity]
    if alpha is not None:
        return float(alpha)
    if facts.counts_units and n_hidden_layers == 0:
        return 0.0
    if not is_scaled and not of_probabilities:
        return UNSCALED_ALPHA
    if n_hidden_layers > 0:
        return facts.deep_alpha
    if of_probabilities:
        return facts.logit_alpha
    return facts.scaled_alpha * (falling_with_width(n_features) if facts.alpha_falls else 1.0)


def resolve_beta(
    beta: float | str | None, sparsity: str | None, is_scaled: bool, loss_ratio: float = 1.0
) -> float | str:
    """Return beta as a float or "auto"; None is what suits the sparsity and the size of the loss.

    Parameters
    ----------
    beta : float, str or None
        As it was given.
    sparsity : str or None
        Name of the code.
    is_scaled : bool
        Whether rows have the norm that makes codes sparse.
    loss_ratio : float, default=1.0
        See `loss_ratio`.

    Raises
    ------
    ValueError
        If there is nothing for it to weigh.
    """
    facts = CODES[sparsity]
    if beta is None:
        usual = facts.scaled_beta if is_scaled else facts.unscaled_beta
        return usual if isinstance(usual, str) else usual * loss_ratio
    if facts.is_exact:
        raise ValueError(
            f"beta={beta!r} has nothing to weigh: with sparsity={sparsity!r} rho alone says how "
            "many units are active. Use beta=None."
        )
    if not isinstance(beta, str):
        return float(beta)
    if not facts.has_penalty:
        with_penalty = listed(name for name, each in CODES.items() if each.has_penalty)
        raise ValueError(
            "beta='auto' looks for the weight of a sparsity term that meets rho, but "
            f"sparsity={sparsity!r} has no such term: use sparsity={with_penalty}, or a number for "
            "beta."
        )
    return beta


def resolve_learning_rate(
    learning_rate: float | str,
    solver: str,
    sparsity: str | None,
    n_features: int,
    is_scaled: bool,
    *,
    is_tied: bool = False,
    of_probabilities: bool = False,
) -> float:
    """Return the learning rate; "auto" is what suits the width and the norm of the rows.

    Parameters
    ----------
    learning_rate : float or "auto"
        As it was given.
    solver : str
        Who moves the parameters.
    sparsity : str or None
        Name of the code.
    n_features : int
        Of the rows.
    is_scaled : bool
        Whether rows have the norm that makes codes sparse.
    is_tied : bool, default=False
        Whether the decoder has the encoder's weights.
    of_probabilities : bool, default=False
        Whether the loss is the cross entropy of rows in [0, 1].
    """
    if not isinstance(learning_rate, str):
        return float(learning_rate)
    if solver == "sgd" and of_probabilities:
        return LOGIT_SGD_GAIN * CODES[sparsity].sgd_rate
    if not is_scaled:
        return UNSCALED_RATES[solver]
    if solver == "adam":
        return SCALED_ADAM_RATE * share_of_rate(n_features, is_tied)
    return CODES[sparsity].sgd_rate if solver == "sgd" else 0.0


def loss_ratio(divergence: float | None) -> float:
    """Return how many times as large a loss is as the squared error of scaled rows.

    Between an output that is the mean row and one that is the row itself: half of the squared norm
    there, and for the cross entropy the divergence of the rows. beta by default is that many times
    as large too. alpha is not: logits and thereby weights need be as large for each feature, so
    that the norm of the weights grows with their number as the loss does.

    Parameters
    ----------
    divergence : float or None
        Of the rows (see `Scaling`); None where the loss is the squared error.
    """
    return 1.0 if divergence is None else 2.0 * divergence / SCALED_NORM


def code_bias_gain(
    solver: str, n_hidden_layers: int, n_features: int, is_tied: bool, is_scaled: bool
) -> float:
    """Return how many times the learning rate that of the code's biases is.

    Parameters
    ----------
    solver : str
        Who moves the parameters.
    n_hidden_layers : int
        Layers between input and code.
    n_features : int
        Of the rows.
    is_tied : bool
        Whether the decoder has the encoder's weights.
    is_scaled : bool
        Whether rows have the norm that makes codes sparse.
    """
    is_slow = solver == "adam" and n_hidden_layers == 0 and is_tied and is_scaled
    return 1.0 / share_of_rate(n_features, is_tied) if is_slow else 1.0


def threshold_gain(solver: str, n_features: int, is_scaled: bool) -> float:
    """Return how many times the learning rate that of thresholds is.

    It does not fall with the width of rows: a threshold has to go as far as pre-activations do,
    which many weights move together.

    Parameters
    ----------
    solver : str
        Who moves the parameters.
    n_features : int
        Of the rows.
    is_scaled : bool
        Whether rows have the norm that makes codes sparse.
    """
    return 1.0 / falling_with_width(n_features) if solver == "adam" and is_scaled else 1.0


def share_of_rate(n_features: int, is_tied: bool) -> float:
    """Return how much of the rate for narrow rows is that of weights for rows of a width."""
    share = falling_with_width(n_features)
    return share * max(TIED_SHARE, falling_with_width(n_features, TIED_WIDTH)) if is_tied else share


def falling_with_width(n_features: int, reference: int = REFERENCE_WIDTH) -> float:
    """Return 1 up to a width of reference, and less as the root of wider rows' width."""
    return min(1.0, sqrt(reference / n_features))


def resolve_batch_size(batch_size: int | str, n_rows: int) -> int:
    """Return the most rows of a minibatch; "auto" is an eighth of few rows."""
    if not isinstance(batch_size, str):
        return batch_size
    return min(max(n_rows // BATCHES_PER_EPOCH, SMALLEST_BATCH), LARGEST_BATCH)


def resolve_patience(n_iter_no_change: int | str, solver: str, n_rows: int, batch_size: int) -> int:
    """Return after how many epochs without a new best the loss has settled.

    Parameters
    ----------
    n_iter_no_change : int or "auto"
        As it was given.
    solver : str
        Who moves the parameters.
    n_rows : int
        Training rows.
    batch_size : int
        Most rows in a minibatch.
    """
    if not isinstance(n_iter_no_change, str):
        return n_iter_no_change
    if solver == "lbfgs":
        return LBFGS_PATIENCE
    return max(PATIENCE, epochs_of(PATIENT_STEPS, n_rows, batch_size))


def resolve_max_iter(max_iter: int | str, solver: str, n_rows: int, batch_size: int) -> int:
    """Return the most epochs.

    Parameters
    ----------
    max_iter : int or "auto"
        As it was given.
    solver : str
        Who moves the parameters.
    n_rows : int
        Training rows.
    batch_size : int
        Most rows in a minibatch.
    """
    if not isinstance(max_iter, str):
        return max_iter
    return EPOCHS if solver == "lbfgs" else max(EPOCHS, epochs_of(LEAST_STEPS, n_rows, batch_size))


def epochs_of(n_steps: int, n_rows: int, batch_size: int) -> int:
    """Return how many epochs have so many steps.

    Parameters
    ----------
    n_steps : int
        Steps.
    n_rows : int
        Training rows.
    batch_size : int
        Most rows in a minibatch.
    """
    return ceil(n_steps / ceil(n_rows / batch_size))


def resolve_finetuning_rate(learning_rate: float | str, solver: str, n_features: int) -> float:
    """Return the learning rate of all layers together, the first of which has that many inputs.

    Parameters
    ----------
    learning_rate : float or "auto"
        As it was given.
    solver : str
        Who moves the parameters.
    n_features : int
        Inputs of the first of these layers.
    """
    if not isinstance(learning_rate, str):
        return float(learning_rate)
    falls = solver == "adam"
    return FINETUNING_RATES[solver] * (
        falling_with_width(n_features, FINETUNING_WIDTH) if falls else 1.0
    )


def resolve_finetuning_batch_size(batch_size: int | str) -> int:
    """Return the most rows of a minibatch of all layers together."""
    return LARGEST_BATCH if isinstance(batch_size, str) else batch_size
