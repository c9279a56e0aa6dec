"""The codes that are registered, for tests that must hold for each of them."""

import pytest

from sksae.model.codes import CODES

ACTIVATIONS = ("sigmoid", "tanh", "relu", "prelu", "identity")

SPARSITIES = tuple(CODES)
WITH_BETA = tuple(name for name, facts in CODES.items() if facts.has_penalty)
# The activation of each by default.
AUTO = {name: facts.activation for name, facts in CODES.items()}
COUNTED = tuple(name for name, facts in CODES.items() if facts.counts_units)
EXACT = tuple(name for name in COUNTED if CODES[name].is_exact)
# Those that networks with hidden layers can have.
LAYERED = tuple(name for name, facts in CODES.items() if facts.may_be_deep)
SOLVERS = ("adam", "sgd", "lbfgs")
# Each with the solvers that can train it.
TRAININGS = [
    (name, solver)
    for name in CODES
    for solver in SOLVERS
    if name not in COUNTED or solver != "lbfgs"
]
# Each with every activation that it can have.
CODE_ACTIVATIONS = [
    (name, activation)
    for name, facts in CODES.items()
    for activation in (ACTIVATIONS if facts.activations is None else facts.activations or ("auto",))
]

SMOOTH = tuple(
    name
    for name, facts in CODES.items()
    if facts.activations is None or "sigmoid" in facts.activations
)

each_sparsity = pytest.mark.parametrize("sparsity", SPARSITIES)
each_layered_sparsity = pytest.mark.parametrize("sparsity", LAYERED)
# The fast run has each code, and each solver with a code of each kind.
each_training = pytest.mark.parametrize(
    ("sparsity", "solver"),
    [
        pytest.param(
            name,
            solver,
            marks=() if solver == "adam" or name in (LAYERED[0], COUNTED[0]) else pytest.mark.slow,
        )
        for name, solver in TRAININGS
    ],
)
# Those whose passes go by whole layers, and all that have a penalty.
each_with_beta = pytest.mark.parametrize(
    "sparsity", [name for name in WITH_BETA if name not in COUNTED]
)
each_penalised = pytest.mark.parametrize("sparsity", WITH_BETA)
each_smooth = pytest.mark.parametrize("sparsity", SMOOTH)


def with_depths(codes, layers, *, dictionaries=False):
    """Return codes and activations with each of some hidden layers, as far as they go together.

    Codes that count units are dictionaries without hidden layers, whose passes do not go by layers.
    """
    return [
        pytest.param(name, activation, of_layers, id=f"{name}-{activation}-{depth}")
        for name, activation in codes
        for depth, of_layers in layers.items()
        if (name in LAYERED or not of_layers[0])
        and (dictionaries or name not in COUNTED or of_layers[0])
    ]


def rho_of(sparsity, rho, units=1):
    """Return rho, or a number of units where it is one of a code of few units."""
    return units if sparsity in COUNTED and CODES[sparsity].uses_rho(None) else rho


def with_a_beta(sparsity):
    """Return a beta to give to a code that would look for one: the length of training decides."""
    return {"beta": 0.5} if CODES[sparsity].scaled_beta == "auto" else {}
