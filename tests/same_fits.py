"""Whether two fits are the same to the bit."""

import pickle

import numpy as np
from record_outputs import flattened


def outputs(model):
    """Return all public fitted attributes as arrays by name."""
    return dict(flattened(model, ""))


def assert_same(model, other):
    """Assert that all public fitted attributes are the same to the bit."""
    expected, found = outputs(model), outputs(other)
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        assert array.dtype == found[name].dtype, name
        np.testing.assert_array_equal(array, found[name], err_msg=name)
    assert pickle.dumps(model.__getstate__().get("_state")) == pickle.dumps(
        other.__getstate__().get("_state")
    )
