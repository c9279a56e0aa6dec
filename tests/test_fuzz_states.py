"""Whatever one call follows another, a model stays of one piece: its attributes belong together."""

import copy
import os
import pickle
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from fuzzing import KINDS_OF_ESTIMATOR, drawn
from fuzzing_checks import check_fitted, check_work, refusable_fit, state_of, unchanged, watchdog
from fuzzing_rows import rarely, rows
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from sksae import SparseAutoencoderTransformer

# More of them by choice, as in test_fuzz.py.
IS_CHOSEN = "SKSAE_FUZZ" in os.environ
N_EXAMPLES = max(20, int(os.environ.get("SKSAE_FUZZ", "0")) // 20)


def is_fitted(model):
    try:
        check_is_fitted(model)
    except NotFittedError:
        return False
    return True


def bits_of(model, X):
    """Return what a fitted model makes of rows, to compare bits; the error where it refuses."""
    try:
        codes = model.transform(X)
    except ValueError as error:
        return str(error)
    return codes.tobytes() if isinstance(codes, np.ndarray) else codes.toarray().tobytes()


def sizes_of(model):
    """Return the sizes of a fitted model's layers, which a training that goes on must keep."""
    return model.__sksae_network__().sizes


@contextmanager
def quiet():
    """No warning but such as users are to read, and no hang."""
    with watchdog(), warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)
        yield


# How a model may be had again, with all that it holds.
COPIES = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "pickle of protocol 2": lambda model: pickle.loads(pickle.dumps(model, 2)),
    "deep copy": copy.deepcopy,
}


class Calls(RuleBasedStateMachine):
    """Calls of one estimator in any order, with rows of a few numbers of features."""

    @initialize(data=st.data(), kind=st.sampled_from(["transformer", *KINDS_OF_ESTIMATOR]))
    def begin(self, data, kind):
        self.kind, self.refused = kind, []
        cls, self.table, self.targets = KINDS_OF_ESTIMATOR[kind]
        params = {"max_iter": 2, "random_state": 0}
        if kind == "transformer":
            params["n_components"] = 6
        else:
            params["autoencoders"] = [
                SparseAutoencoderTransformer(5, rho=0.2, max_iter=1),
                SparseAutoencoderTransformer(4, rho=0.3, max_iter=1),
            ]
        self.model = cls(**params)
        # Those that the last fit went well with.
        self.good = self.model.get_params(deep=False)
        if not data.draw(rarely(4), "begins unfitted"):
            self.fit(data)

    def draw_rows(self, data):
        """Return rows, mostly of as many features as are known, targets, weights, their number."""
        n_features = data.draw(st.sampled_from([1, 5, 9]), "features")
        if is_fitted(self.model) and not data.draw(rarely(6), "others"):
            n_features = self.model.n_features_in_
        given = data.draw(rows(n_features=n_features), "rows")
        n_rows, rng = given.shape[0], np.random.default_rng(0)
        targets = ["normal"] if self.kind == "regressor" else ["two", "pandas", "bool"]
        y = self.targets[data.draw(st.sampled_from(targets), "y")](rng, n_rows)
        weight = rng.random(n_rows) + 0.1 if data.draw(st.booleans(), "weighted") else None
        return given.make(), y, weight, n_rows

    def call(self, method, data):
        """Call a method that fits; return whether it went well."""
        X, y, weight, n_rows = self.draw_rows(data)
        n_refused = len(self.refused)
        with quiet(), refusable_fit(self.model, self.refused):
            getattr(self.model, method)(X, y, sample_weight=weight)
        if len(self.refused) > n_refused:
            # Else hardly anything would go well after one bad parameter.
            self.model.set_params(**self.good)
            return False
        self.good = self.model.get_params(deep=False)
        with quiet(), unchanged(self.model):
            check_work(self.model, X, y, weight, n_rows, self.refused)
        return True

    @rule(data=st.data())
    def fit(self, data):
        before = None
        if getattr(self.model, "warm_start", False) is True and is_fitted(self.model):
            before = self.model.n_iter_, sizes_of(self.model)
        if self.call("fit", data) and before is not None:
            assert self.model.n_iter_ > before[0]
            assert sizes_of(self.model) == before[1]

    @precondition(lambda self: hasattr(self.model, "partial_fit"))
    @rule(data=st.data())
    def partial_fit(self, data):
        before = None
        if is_fitted(self.model):
            before = self.model.n_iter_, self.model.n_features_in_, sizes_of(self.model)
        if self.call("partial_fit", data) and before is not None:
            # A stack begins anew where the rows before have told nothing.
            is_new = self.kind != "transformer" and self.model.n_iter_ == 1
            assert is_new or self.model.n_iter_ == before[0] + 1
            assert (self.model.n_features_in_, sizes_of(self.model)) == before[1:]

    @rule(data=st.data())
    def set_params(self, data):
        params = data.draw(drawn(self.table, max_size=3), "params")
        params.pop("n_components", None)
        before, held = self.model.get_params(deep=False), state_of(self.model)[0]
        self.model.set_params(**params)
        after = self.model.get_params(deep=False)
        assert all(after[name] is {**before, **params}[name] for name in after)
        now = state_of(self.model)[0]
        assert all(now[name] == held[name] for name in now if name not in after)
        with unchanged(self.model), pytest.raises(ValueError, match="n_component"):
            self.model.set_params(n_component=1)

    @rule(data=st.data(), how=st.sampled_from(sorted(COPIES)))
    def go_on_from_a_copy(self, data, how):
        with unchanged(self.model):
            other = COPIES[how](self.model)
            unfitted = clone(self.model)
        assert not is_fitted(unfitted)
        assert unfitted.get_params().keys() == self.model.get_params().keys()
        assert vars(other).keys() == vars(self.model).keys()
        if is_fitted(self.model):
            X = np.random.default_rng(0).normal(size=(7, self.model.n_features_in_))
            with quiet():
                assert bits_of(other, X) == bits_of(self.model, X)
        self.model = other

    @rule(data=st.data())
    def work(self, data):
        X, y, weight, n_rows = self.draw_rows(data)
        is_known = is_fitted(self.model) and np.shape(X)[1] == self.model.n_features_in_
        with quiet(), unchanged(self.model):
            if is_known:
                check_work(self.model, X, y, weight, n_rows, self.refused)
                return
            with pytest.raises(ValueError, match=r"not fitted|\bX\b"):
                self.model.transform(X)

    @invariant()
    def attributes_belong_together(self):
        if is_fitted(self.model):
            width = check_fitted(self.model, self.model.n_features_in_)
            network = self.model.__sksae_network__()
            assert network.n_components == width
            assert network.n_features == self.model.n_features_in_


TestCalls = Calls.TestCase
TestCalls.settings = settings(
    max_examples=N_EXAMPLES,
    stateful_step_count=15,
    derandomize=not IS_CHOSEN,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
