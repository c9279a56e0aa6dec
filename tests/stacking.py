"""Stacks to be tested, and what plain numpy says of them."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from oracle import Network, Problem, Terms, forward, objective, shares
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator

from sksae import SparseAutoencoderTransformer
from sksae.model.unrolled import unroll


def make_rows(n_rows=60, n_features=6):
    """Return rows of three factors and a little noise, none of them centred."""
    rng = np.random.default_rng(0)
    factors = rng.random((n_rows, 3))
    return factors @ rng.random((3, n_features)) + 0.1 * rng.random((n_rows, n_features))


def sae(n_components=4, **params):
    """Return an autoencoder that trains in no time."""
    defaults = {"rho": 0.2, "max_iter": 3, "batch_size": 20}
    if params.get("sparsity", "kl") != "kl":
        del defaults["rho"]
    return SparseAutoencoderTransformer(n_components, **(defaults | params))


def pair(**params):
    """Return two autoencoders, the second to be trained on the first."""
    return [sae(5, **params), sae(4, **params)]


def chain(members, X):
    """Return clones fitted each to the codes of the one before."""
    fitted = []
    for seed, member in enumerate(members):
        fitted.append(clone(member).set_params(random_state=seed).fit(X))
        X = fitted[-1].transform(X)
    return fitted


def frozen(members, X):
    return [FrozenEstimator(member) for member in chain(members, X)]


def encode(members, X):
    for member in members:
        X = member.transform(X)
    return X


def decode(members, codes):
    for member in reversed(members):
        codes = member.inverse_transform(codes)
    return codes


def arrays_of(members):
    """Return all arrays that a list of autoencoders computes with."""
    return [
        array
        for member in members
        for array in (*member.coefs_, *member.intercepts_, *member.slopes_, member.mean_)
        if array is not None
    ]


def assert_same(members, others):
    """Assert that two lists of autoencoders hold the same bits."""
    for one, other in zip(arrays_of(members), arrays_of(others), strict=True):
        np.testing.assert_array_equal(one, other)


# Numpy's word.


def network_of_layers(layers):
    """Return the oracle's network of joined layers."""
    return Network(
        [np.asarray(layer.coef, np.float64) for layer in layers],
        [layer.intercept for layer in layers],
        [layer.units.get("slope") for layer in layers],
        tuple(layer.activation for layer in layers),
        tuple(layer.input_scale for layer in layers),
    )


def unrolled(members):
    """Return the whole network of fitted members."""
    return unroll([member.__sksae_network__() for member in members])


def scaled(member, X):
    """Return rows as a fitted member sees them."""
    return member._shift + (np.asarray(X, np.float64) - member.mean_) / member.scale_


def stack_loss(members, X, alpha, weight=None, beta=None):
    """Return J of a stack: of all its layers as one network, with the last member's sparsity."""
    last, z = members[-1], scaled(members[0], X)
    beta = (last.beta_ or 0.0) if beta is None else beta
    terms = Terms(last.sparsity, last.rho, beta, alpha)
    network = network_of_layers(unrolled(members).layers)
    return objective(np, network, terms, z, z, shares(len(z), weight))


def output_loss(xp, kind, output, target, share):
    """Return the weighted mean of the cross entropy, or of half the squared error."""
    if kind == "labels":
        chosen = output[np.arange(len(output)), target[:, 0]]
        return share @ (xp.log(xp.exp(output).sum(1)) - chosen)
    return share @ ((output - target) ** 2).sum(1) / 2


def weight_decay(coefs, alpha, decay):
    decayed = coefs[-1:] if decay == "top" else coefs
    return alpha / 2 * sum((coef**2).sum() for coef in decayed)


def encoder_coefs(members):
    return [coef for member in members for coef in member.coefs_[: len(member.coefs_) // 2]]


def supervised_loss(model, X, target, kind, weight=None):
    """Return J of a fitted classifier or regressor, ``target`` as it was trained on."""
    top = model._top()
    codes = encode(model.autoencoders_, np.asarray(X, np.float64))
    output = codes @ np.asarray(top.coef, np.float64) + top.intercept
    coefs = [np.asarray(c, np.float64) for c in (*encoder_coefs(model.autoencoders_), top.coef)]
    error = output_loss(np, kind, output, target, shares(len(output), weight))
    return error + weight_decay(coefs, model.alpha_, model.decay)


class JoinedProblem(Problem):
    """A problem some of whose layers may be tied and others not."""

    def network(self, flat):
        architecture, taken = self.architecture, 0
        n_layers, pairs = architecture.n_layers, list(pairwise(architecture.sizes))

        def take(*shape):
            nonlocal taken
            block = flat[taken : taken + int(np.prod(shape))]
            taken += len(block)
            return block.reshape(shape)

        coefs = []
        for layer, (n_in, n_out) in enumerate(pairs):
            mirror = n_layers - 1 - layer
            if mirror < layer and architecture.tied[mirror]:
                coefs.append(coefs[mirror].T)
            elif layer == n_layers - 1:
                coefs.append(take(n_in, n_out))
            else:
                coefs.append(take(n_out, n_in).T)
        intercepts = [take(n_out) for _, n_out in pairs]
        names = architecture.activations
        slopes = [
            take(n_out) if name == "prelu" else None
            for (_, n_out), name in zip(pairs, names, strict=True)
        ]
        assert taken == len(flat)
        return Network(coefs, intercepts, slopes, names, architecture.input_scales)


def smallest_pre(problem):
    """Return how near the problem is to a kink."""
    pres = forward(np, problem.network(problem.flat), problem.X - problem.centre)[0]
    return min(abs(pre).min() for pre in pres)


def no_training(monkeypatch):
    """Fail if any training begins from now on."""

    def reached(*args, **kwargs):
        raise AssertionError("training began")

    monkeypatch.setattr("sksae.engine.training.train", reached)


def assert_nothing_half_fitted(model, method="transform"):
    held = set(vars(model)) - set(model.get_params(deep=False))
    assert held <= {"_skl_callbacks"}
    with pytest.raises(NotFittedError):
        getattr(model, method)(make_rows(3))


class Recorder:
    """A callback that notes all tasks, and does as told at the end of one."""

    max_propagation_depth = None

    def __init__(self, at_end=None):
        self.begun, self.ended, self.models, self.at_end = [], [], [], at_end

    def setup(self, estimator, context): ...
    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context):
        self.begun.append(self._path(context))

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
    ):
        self.ended.append(self._path(context))
        self.seen = SimpleNamespace(X=X, y=y, metadata=metadata)
        if self.at_end is None:
            return False
        return bool(self.at_end(self._path(context), fitted_estimator))

    @staticmethod
    def _path(context):
        names = []
        while context is not None:
            names.append(context.source_task_name or context.task_name)
            context = context.parent
        return "/".join(reversed(names))
