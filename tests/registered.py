"""The codes that are registered, for tests that must hold for each of them."""

import pytest

from sksae.model.codes import CODES

ACTIVATIONS = ("sigmoid", "tanh", "relu", "prelu", "identity")

SPARSITIES = tuple(CODES)
WITH_BETA = tuple(name for name, facts in CODES.items() if facts.has_penalty)
# The activation of each by default.
AUTO = {name: facts.activation for name, facts in CODES.items()}
# Each with every activation that it can have.
CODE_ACTIVATIONS = [
    (name, activation)
    for name, facts in CODES.items()
    for activation in facts.activations or ACTIVATIONS
]

SMOOTH = tuple(
    name
    for name, facts in CODES.items()
    if facts.activations is None or "sigmoid" in facts.activations
)

each_sparsity = pytest.mark.parametrize("sparsity", SPARSITIES)
each_with_beta = pytest.mark.parametrize("sparsity", WITH_BETA)
each_smooth = pytest.mark.parametrize("sparsity", SMOOTH)
