"""The objective in the docstring of the transformer, as plainly as it can be written.

This is what the engine is compared with, and shares no line with it. One text serves numpy, for
values, and torch, for autograd: ``xp`` is one of the two modules. At the end stands `Problem`, a
small network and its rows, which both sides can be asked about.
"""

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np
import pytest
import torch

from sksae.engine import chunk_plan, threads
from sksae.engine.batches import Rows
from sksae.engine.full_batch import FullObjective
from sksae.engine.losses import BinaryCrossEntropy, CrossEntropy, SquaredError
from sksae.engine.minibatch import MinibatchObjective
from sksae.engine.parameters import Parameters
from sksae.engine.threads import Crew
from sksae.model.architecture import Architecture
from sksae.model.codes import CODES, Selection
from sksae.model.settings import Penalties


@dataclass(frozen=True)
class Network:
    """Weights (n_in, n_out), biases, prelu slopes or None, activations and gains, by layer.

    The code is the output of half of the layers, or of as many as ``n_encoder_layers`` says. In
    the place of slopes jumprelu has thresholds, and gated units log gains and offsets.
    """

    coefs: list[Any]
    intercepts: list[Any]
    slopes: list[Any]
    activations: tuple[str, ...]
    input_scales: tuple[float, ...] | None = None
    n_encoder_layers: int | None = None
    # Of each layer which units it keeps; None is all.
    selections: tuple[Selection | None, ...] | None = None

    @property
    def code_layer(self):
        n_layers = self.n_encoder_layers
        return (len(self.coefs) // 2 if n_layers is None else n_layers) - 1


@dataclass(frozen=True)
class Terms:
    sparsity: str | None
    rho: float = 0.05
    beta: float = 0.0
    alpha: float = 0.0
    decays: str = "all"


def activate(xp, name, pre, slope):
    if name == "sigmoid":
        return 1.0 / (1.0 + xp.exp(-pre))
    if name == "tanh":
        return xp.tanh(pre)
    if name == "relu":
        return pre * (pre > 0)
    if name == "prelu":
        return pre * (pre > 0) + slope * pre * (pre <= 0)
    if name == "jumprelu":
        return pre * (pre > slope)
    if name == "gated":
        magnitude = xp.exp(slope[0]) * pre + slope[1]
        return magnitude * (magnitude > 0) * (pre > 0)
    return pre


def forward(xp, network, rows, masks=None):
    """Return the pre-activations and the activations of every layer.

    ``masks`` has for some layers what their activations are multiplied by on the way to the next.
    """
    pres, outs, passed = [], [], rows
    input_scales = network.input_scales or (1.0,) * len(network.coefs)
    layers = zip(
        network.coefs,
        network.intercepts,
        network.slopes,
        network.activations,
        input_scales,
        network.selections or (None,) * len(network.coefs),
        strict=True,
    )
    for coef, intercept, slope, name, input_scale, selection in layers:
        pres.append((input_scale * passed) @ coef + intercept)
        outs.append(activate(xp, name, pres[-1], slope))
        if selection is not None:
            outs[-1] = outs[-1] * KEPT[selection.code](outs[-1], selection)
        passed = outs[-1] * (masks or {}).get(len(outs) - 1, 1.0)
    return pres, outs


# What codes that keep some units only keep: 1 where a unit is kept and 0 elsewhere.
KEPT = {
    "topk": lambda out, kept: 1.0 * ((-out).argsort(1).argsort(1) < kept.n_active),
    "batchtopk": lambda out, kept: 1.0 * (out > kept.threshold),
}


def readings_of(network):
    """Return the network once for each number of active units by which J reads codes."""
    layer = network.code_layer
    selection = None if network.selections is None else network.selections[layer]
    if selection is None or not CODES[selection.code].is_exact:
        return [network]
    read = []
    for budget in selection.budgets:
        selections = list(network.selections)
        selections[layer] = selection._replace(budgets=(budget,))
        read.append(replace(network, selections=tuple(selections)))
    return read


def mean_activation(network, code, share):
    """Return rho_hat, where row i counts ``share[i]`` and the shares add up to 1."""
    mean = share @ code
    return (1 + mean) / 2 if network.activations[network.code_layer] == "tanh" else mean


def penalty(xp, network, terms, code, pre, share):
    """Return S of a code and its pre-activations."""
    if terms.sparsity == "kl":
        rho, rho_hat = terms.rho, mean_activation(network, code, share)
        on, off = rho / rho_hat, (1 - rho) / (1 - rho_hat)
        return (rho * xp.log(on) + (1 - rho) * xp.log(off)).sum()
    if terms.sparsity == "l1":
        return (share @ abs(code)).sum()
    if terms.sparsity == "l2":
        return (share @ code**2).sum() / 2
    if terms.sparsity == "jumprelu":
        return ((share @ (code > 0)).sum() / (terms.rho * code.shape[1]) - 1) ** 2
    if terms.sparsity == "gated":
        return (share @ (pre * (pre > 0))).sum()
    return 0.0


def squared_error(xp, output, target):
    """Return 1/2 ||output - target||^2 of each row."""
    return ((output - target) ** 2).sum(1) / 2


def cross_entropy(xp, output, labels):
    """Return -ln softmax(output)[label] of each row."""
    return xp.log(xp.exp(output).sum(1)) - output[np.arange(len(output)), labels]


def binary_cross_entropy(xp, output, target):
    """Return -sum_j x_j ln p_j + (1 - x_j) ln(1 - p_j) of each row, of outputs p."""
    return -(target * xp.log(output) + (1 - target) * xp.log(1 - output)).sum(1)


def objective(xp, network, terms, rows, target, share, loss=squared_error, masks=None):
    """Return J of a network that is shown ``rows`` and shall give ``target``."""
    return sum(parts(xp, network, terms, rows, target, share, loss, masks))


def parts(xp, network, terms, rows, target, share, loss=squared_error, masks=None):
    """Return the terms of J: the mean loss of rows, beta S, and the weight decay."""
    pres, outs = forward(xp, network, rows, masks)
    outputs = [forward(xp, each, rows, masks)[1][-1] for each in readings_of(network)]
    error = sum(share @ loss(xp, output, target) for output in outputs) / len(outputs)
    pre = pres[network.code_layer]
    if terms.sparsity == "gated":
        of_gates = (pre * (pre > 0)) @ network.coefs[-1] + network.intercepts[-1]
        of_gates = activate(xp, network.activations[-1], of_gates, None)
        error = error + share @ loss(xp, of_gates, target)
    decayed = {"all": network.coefs, "last": network.coefs[-1:], "encoder": network.coefs[:1]}
    decayed = decayed[terms.decays]
    decay = terms.alpha / 2 * sum((coef**2).sum() for coef in decayed)
    code = outs[network.code_layer]
    return error, terms.beta * penalty(xp, network, terms, code, pre, share), decay


def shares(n_rows, weight=None):
    """Return w_i / sum w."""
    return np.full(n_rows, 1 / n_rows) if weight is None else weight / np.sum(weight)


def network_of(model):
    """Return a fitted estimator's network in float64; activations as its parameters say."""
    depth = len(model.coefs_) // 2 - 1
    auto = CODES[model.sparsity].activation
    code = auto if model.activation == "auto" else model.activation
    hidden = (model.hidden_activation,) * depth

    def wide(arrays):
        return [None if array is None else np.asarray(array, np.float64) for array in arrays]

    rho = model.rho / model.n_components if isinstance(model.rho, int) else model.rho
    selection = None
    units = wide(model.slopes_)
    if model.sparsity == "jumprelu":
        units[depth] = np.asarray(model.thresholds_, np.float64)
    if model.sparsity == "gated":
        units[depth] = wide([model.log_gains_, model.magnitude_offsets_])
    if CODES[model.sparsity].is_exact:
        k = round(rho * model.n_components)
        reads_several = not depth and model.budgets is not None and model.threshold_ is None
        budgets = {ceil(k / 4), ceil(k / 2), k} if reads_several else {k}
        selection = Selection(model.sparsity, tuple(sorted(budgets)), model.threshold_)
    none = (None,) * depth
    return Network(
        wide(model.coefs_),
        wide(model.intercepts_),
        units,
        (*hidden, code, *hidden, output_activation_of(model)),
        selections=(*none, selection, *none, None),
    )


def output_activation_of(model):
    auto = "sigmoid" if model.loss == "cross_entropy" else "identity"
    return auto if model.output_activation == "auto" else model.output_activation


def terms_of(model):
    alpha = getattr(model, "alpha_", model.alpha)
    beta = getattr(model, "beta_", model.beta) or 0.0
    is_dictionary = CODES[model.sparsity].counts_units and len(model.coefs_) == 2
    decays = "encoder" if is_dictionary else "all"
    rho = model.rho / model.n_components if isinstance(model.rho, int) else model.rho
    return Terms(model.sparsity, rho, beta, alpha, decays=decays)


def scaled(model, X):
    """Return z, the rows as the network of a fitted estimator sees them."""
    is_bounded = model.output_activation == "sigmoid" and model.loss == "squared_error"
    shift = 0.5 if model.scale_data and is_bounded else 0.0
    return shift + (np.asarray(X, np.float64) - model.mean_) / model.scale_


def loss_of(model, X, weight=None):
    """Return what ``loss_`` of a fitted estimator must be."""
    return sum(parts_of(model, X, weight))


def parts_of(model, X, weight=None):
    """Return the terms of ``loss_`` of a fitted estimator."""
    z, share = scaled(model, X), shares(len(X), weight)
    target, loss = z, squared_error
    if model.loss == "cross_entropy":
        target, loss = np.asarray(X, np.float64), binary_cross_entropy
    return parts(np, network_of(model), terms_of(model), z, target, share, loss)


def mean_activation_of(model, X, weight=None):
    """Return what ``mean_activation_`` of a fitted estimator must be."""
    network, z = network_of(model), scaled(model, X)
    code = forward(np, network, z)[1][network.code_layer]
    return mean_activation(network, code, shares(len(z), weight))


def active_share_of(model, X, weight=None):
    """Return what ``active_share_`` of a fitted estimator must be."""
    network, z = network_of(model), scaled(model, X)
    code = forward(np, network, z)[1][network.code_layer]
    share = shares(len(z), weight)
    return share @ active(code, model.sparsity, network.activations[network.code_layer], share > 0)


def active(code, sparsity, activation, counts=slice(None)):
    """Return which units are active in which rows, where some rows say how large units become."""
    if activation in ("relu", "jumprelu", "gated"):
        return code != 0.0
    size = sizes(code, sparsity, activation)
    return size > size[counts].max(axis=0) / 2


def sizes(code, sparsity, activation):
    """Return how active each unit is in each row."""
    return (1 + code) / 2 if (sparsity, activation) == ("kl", "tanh") else abs(code)


@dataclass(frozen=True)
class Problem:
    """A network of given parameters, and the rows that it is judged on.

    The network is shown ``X - centre`` and shall give ``X - centre + offset``; or it is shown
    something else in the place of X, which is ``shown``, or shall give something else, which is
    ``target``: numbers, or labels; or it shall give X itself, as probabilities.
    """

    architecture: Architecture
    terms: Terms
    X: np.ndarray
    centre: np.ndarray
    offset: np.ndarray
    flat: np.ndarray
    weight: np.ndarray | None = None
    chosen: np.ndarray | None = field(default=None, kw_only=True)
    shown: np.ndarray | None = field(default=None, kw_only=True)
    target: np.ndarray | None = field(default=None, kw_only=True)
    gives_probabilities: bool = field(default=False, kw_only=True)

    @classmethod
    def draw(
        cls,
        sparsity="kl",
        activation="sigmoid",
        output_activation="sigmoid",
        hidden_layer_sizes=(),
        hidden_activation="relu",
        *,
        weighted=False,
        tied=False,
        input_scales=(),
        n_rows=8,
        seed=0,
    ):
        """Draw a problem in which no kink lies near: no pre-activation is within 1e-3 of 0."""
        rng = np.random.default_rng(seed)
        selection = Selection(sparsity, (1,)) if CODES[sparsity].is_exact else None
        architecture = Architecture.autoencoder(
            4,
            3,
            hidden_layer_sizes=hidden_layer_sizes,
            hidden_activation=hidden_activation,
            activation=activation,
            output_activation=output_activation,
            tied_weights=tied,
            selection=selection,
        )
        architecture = replace(architecture, input_scales=input_scales)
        n_slopes = sum(
            n_out
            for n_out, name in zip(architecture.sizes[1:], architecture.activations, strict=True)
            if name == "prelu"
        )
        n_parameters = architecture.n_parameters
        for _ in range(1000):
            problem = cls(
                architecture,
                Terms(sparsity, rho=0.2, beta=0.7, alpha=0.03),
                X=rng.random((n_rows, 4)),
                centre=rng.random(4),
                offset=rng.random(4),
                flat=np.concatenate(
                    [
                        rng.normal(scale=0.6, size=n_parameters - n_slopes),
                        rng.uniform(0.1, 0.5, n_slopes),
                    ]
                ),
                weight=rng.uniform(0.2, 2.0, n_rows) if weighted else None,
            )
            pres = forward(np, problem.network(problem.flat), problem.X - problem.centre)[0]
            gaps = [np.diff(np.sort(pre, axis=1), axis=1).min(initial=1.0) for pre in pres]
            near_kinks = min(abs(pre).min() for pre in pres)
            if near_kinks > 1e-3 and (selection is None or min(gaps) > 1e-3):
                return problem
        raise AssertionError("no problem without kinks found")

    @classmethod
    def supervised(
        cls,
        target,
        sparsity=None,
        hidden=(("sigmoid", 3),),
        *,
        weighted=False,
        decays="all",
        input_scales=(),
        output_layout="columns",
        seed=0,
    ):
        """Draw a problem of targets: layers named by activation and size, and a linear one."""
        rng = np.random.default_rng(seed)
        n_rows = len(target)
        n_outputs = target.max() + 1 if target.dtype.kind == "i" else target.shape[1]
        names, units = [name for name, _ in hidden], [size for _, size in hidden]
        architecture = Architecture(
            (4, *units, n_outputs),
            (*names, "identity"),
            len(hidden),
            input_scales=input_scales,
            output_layout=output_layout,
        )
        return cls(
            architecture,
            Terms(sparsity, rho=0.2, beta=0.7, alpha=0.03, decays=decays),
            X=rng.random((n_rows, 4)),
            centre=rng.random(4),
            offset=np.zeros(4),
            flat=rng.normal(scale=0.6, size=architecture.n_parameters),
            weight=rng.uniform(0.2, 2.0, n_rows) if weighted else None,
            target=target,
        )

    def but(self, **changes):
        return replace(self, **changes)

    # What the oracle says.

    def network(self, flat):
        """Cut a flat vector, numpy's or torch's, into all weights, all biases, all slopes.

        Weights are stored transposed, except of a last layer that works on rows.
        """
        sizes, names = self.architecture.sizes, self.architecture.activations
        taken = 0

        def take(*shape):
            nonlocal taken
            block = flat[taken : taken + int(np.prod(shape))]
            taken += len(block)
            return block.reshape(shape)

        *hidden, last = pairwise(sizes)
        if any(self.architecture.tied):
            coefs = [take(n_out, n_in).T for n_in, n_out in hidden[: len(sizes) // 2]]
            coefs += [coef.T for coef in reversed(coefs)]
        else:
            coefs = [take(n_out, n_in).T for n_in, n_out in hidden]
            on_rows = self.architecture.output_layout == "rows"
            coefs.append(take(*last) if on_rows else take(*last[::-1]).T)
        intercepts = [take(n_out) for n_out in sizes[1:]]
        slopes = [
            take(n_out) if name == "prelu" else None
            for n_out, name in zip(sizes[1:], names, strict=True)
        ]
        assert taken == len(flat)
        n_encoder_layers = self.architecture.n_encoder_layers
        input_scales = self.architecture.input_scales
        return Network(
            coefs,
            intercepts,
            slopes,
            names,
            input_scales,
            n_encoder_layers,
            self.architecture.selections,
        )

    @property
    def _data(self):
        """Rows as they are shown, what is wanted of them, and what each counts."""
        clean = self.X - self.centre
        rows = clean if self.shown is None else self.shown - self.centre
        target = clean + self.offset if self.target is None else self.target
        if self.gives_probabilities:
            target = self.X
        return rows, target, shares(len(clean), self.weight)

    @property
    def _loss(self):
        if self.gives_probabilities:
            return binary_cross_entropy
        return cross_entropy if self._has_labels else squared_error

    @property
    def _has_labels(self):
        return self.target is not None and self.target.dtype.kind == "i"

    def value(self, flat=None):
        """Return J by numpy."""
        network = self.network(self.flat if flat is None else flat)
        return objective(np, network, self.terms, *self._data, self._loss)

    def autograd(self, masks=None):
        """Return J and its gradient by torch.autograd."""
        flat = torch.tensor(self.flat, requires_grad=True)
        data = [torch.tensor(array) for array in self._data]
        value = objective(torch, self.network(flat), self.terms, *data, self._loss, masks)
        (gradient,) = torch.autograd.grad(value, flat)
        return value.item(), gradient.numpy()

    # What the engine is given.

    @property
    def penalties(self):
        terms = self.terms
        return Penalties(terms.sparsity, terms.rho, terms.beta, terms.alpha, terms.decays)

    @property
    def loss(self):
        if self.gives_probabilities:
            return BinaryCrossEntropy(self.centre, 1.0)
        if self._has_labels:
            return CrossEntropy()
        return SquaredError(self.offset if self.target is None else None)

    def parameters(self, dtype=torch.float64):
        architecture = self.architecture
        if self.gives_probabilities:
            architecture = architecture.with_linear_output
        return Parameters(architecture, torch.tensor(self.flat).to(dtype))

    def rows(self, dtype=torch.float64):
        return Rows(
            self.X,
            centre=self.centre,
            scale=1.0,
            dtype=dtype,
            device=torch.device("cpu"),
            index=self.chosen,
            sample_weight=self.weight,
            target=self.target[:, None] if self._has_labels else self.target,
        )

    def full_objective(self, dtype=torch.float64, corruption=None, crew=None):
        return FullObjective(
            self.penalties,
            self.parameters(dtype),
            self.rows(dtype),
            self.loss,
            corruption=corruption,
            crew=crew,
        )

    def full(self, dtype=torch.float64, corruption=None, n_members=1):
        """Return the engine's J and gradient over all rows, the sums in float64."""
        with Crew(n_members) as crew:
            full = self.full_objective(dtype, corruption, crew)
            value, gradient = full.gradient(torch.tensor(self.flat))
        return value.total.item(), gradient.numpy()

    def minibatch(self, dtype=torch.float64, corruption=None, drops=None, n_members=1, half=False):
        """Return the engine's J and gradient over one minibatch of all rows."""
        rows = self.rows(dtype)
        given = rows.batch(slice(0, rows.n_rows))
        with Crew(n_members) as crew:
            batch = MinibatchObjective(
                self.penalties,
                self.parameters(dtype),
                self.loss,
                window=1,
                drops=drops,
                crew=crew,
                half=half,
            )
            batch(given if corruption is None else corruption(given))
        return batch.epoch_loss().total.item(), batch.gradient.flat.double().numpy()


@contextmanager
def small_parts(most_rows=10**6):
    """Let crews divide the smallest work meanwhile, and chunks have no more rows than these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "LEAST_WORK", 1.0)
        patch.setattr(threads, "LEAST_ROWS", 1)
        patch.setattr(threads, "LEAST_ENTRIES", 1)
        patch.setattr(chunk_plan, "MOST_CHUNK_ROWS", most_rows)
        yield


def relative_error(got, expected):
    """Return ||got - expected|| / ||expected||."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    return np.linalg.norm(got - expected) / np.linalg.norm(expected)
