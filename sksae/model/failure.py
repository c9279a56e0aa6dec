"""The error of a training that cannot go on."""


class NonFiniteLossError(ValueError):
    """The loss stopped being finite, so that training cannot go on."""
