"""Stacked networks are one network: of the same output, of the same J, and back to members."""

import copy

import numpy as np
import pytest
import torch
from oracle import Network, Terms, forward, relative_error, shares
from stacking import (
    JoinedProblem,
    arrays_of,
    assert_same,
    chain,
    decode,
    encode,
    make_rows,
    network_of_layers,
    output_loss,
    sae,
    scaled,
    smallest_pre,
    unrolled,
    weight_decay,
)

from sksae.engine.batches import Rows
from sksae.engine.full_batch import FullObjective
from sksae.engine.losses import CrossEntropy, SquaredError
from sksae.engine.minibatch import MinibatchObjective
from sksae.engine.parameters import Parameters
from sksae.model.settings import Penalties
from sksae.stacking.rolling import with_layers
from sksae.training.centred import architecture_of, from_centred, to_centred
from sksae.training.finetuning import scaling_of_codes, scaling_of_first

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:X holds values:UserWarning"),
]

X = make_rows()
UNSCALED = {"scale_data": False}
CHAINS = {
    "one": [sae(5)],
    "two": [sae(5), sae(4)],
    "three": [sae(7), sae(5), sae(3)],
    "wider": [sae(9), sae(12)],
    "tanh": [sae(5, activation="tanh"), sae(4, activation="tanh", output_activation="tanh")],
    "relu": [sae(5, sparsity="l1"), sae(4, sparsity="l2")],
    "prelu": [
        sae(5, sparsity="l1", activation="prelu"),
        sae(4, sparsity=None, activation="prelu", output_activation="prelu"),
    ],
    "identity": [sae(5, sparsity=None, activation="identity"), sae(4)],
    "sigmoid outputs": [sae(5, output_activation="sigmoid"), sae(4, output_activation="sigmoid")],
    "unscaled": [sae(5, **UNSCALED), sae(4, **UNSCALED)],
    "unscaled first": [sae(5, **UNSCALED), sae(4)],
    "unscaled last": [sae(5), sae(4, output_activation="sigmoid", **UNSCALED)],
    "deep": [
        sae(5, hidden_layer_sizes=(7,)),
        sae(4, hidden_layer_sizes=(6, 5), hidden_activation="prelu"),
    ],
    "deep first": [sae(5, hidden_layer_sizes=(7, 6), hidden_activation="tanh"), sae(4)],
    "deep last": [sae(5), sae(4, hidden_layer_sizes=(6,), hidden_activation="sigmoid")],
    "tied": [sae(5, tied_weights=True), sae(4, tied_weights=True)],
    "tied deep": [
        sae(5, tied_weights=True, hidden_layer_sizes=(7,)),
        sae(4, tied_weights=True, hidden_layer_sizes=(6,)),
    ],
    "tied first": [sae(5, tied_weights=True), sae(4, hidden_layer_sizes=(6,))],
    "tied last": [sae(5), sae(4, tied_weights=True, hidden_layer_sizes=(6,))],
}
each_chain = pytest.mark.parametrize("name", CHAINS)
DONE = {}


@pytest.fixture
def fitted():
    """Return the function that gives a chain of that name, fitted in float64."""

    def get(name):
        if name not in DONE:
            DONE[name] = chain([member.set_params(dtype="float64") for member in CHAINS[name]], X)
        return copy.deepcopy(DONE[name])

    return get


def n_encoder(members):
    return unrolled(members).n_encoder_layers


# Output.


@each_chain
def test_the_unrolled_network_gives_what_the_members_give_one_after_the_other(fitted, name):
    members = fitted(name)
    layers = unrolled(members).layers
    outs = forward(np, network_of_layers(layers), scaled(members[0], X))[1]
    code = outs[n_encoder(members) - 1]
    np.testing.assert_allclose(code, encode(members, X), rtol=1e-12, atol=1e-12)
    found = (outs[-1] - members[0]._shift) * members[0].scale_ + members[0].mean_
    np.testing.assert_allclose(found, decode(members, code), rtol=1e-12, atol=1e-12)


@each_chain
def test_weights_stay_the_members_own_and_scalings_become_gains(fitted, name):
    members = fitted(name)
    layers = unrolled(members).layers
    n_layers = [n_encoder([member]) for member in members]
    encoders = [coef for member in members for coef in member.coefs_[: len(member.coefs_) // 2]]
    decoders = [
        coef for member in reversed(members) for coef in member.coefs_[len(member.coefs_) // 2 :]
    ]
    for layer, coef in zip(layers, [*encoders, *decoders], strict=True):
        assert layer.coef is coef
    # Where a member begins, and, in the decoder, where the one before it does.
    input_scales = np.ones(len(layers))
    for index in range(1, len(members)):
        start = sum(n_layers[:index])
        input_scales[start] = 1.0 / members[index].scale_
        input_scales[len(layers) - start] = members[index].scale_
    np.testing.assert_array_equal([layer.input_scale for layer in layers], input_scales)


@each_chain
def test_the_engine_is_told_what_the_layers_are(fitted, name):
    members = fitted(name)
    layers = unrolled(members).layers
    architecture = architecture_of(layers, n_encoder(members), output_layout="rows")
    assert architecture.sizes == (6, *(layer.coef.shape[1] for layer in layers))
    assert architecture.sizes == architecture.sizes[::-1]
    assert architecture.activations == tuple(layer.activation for layer in layers)
    assert architecture.input_scales == tuple(layer.input_scale for layer in layers)
    ties = [member.tied_weights for member in members for _ in range(n_encoder([member]))]
    assert architecture.tied == tuple(ties)


# And back.


@each_chain
def test_what_is_rolled_up_again_is_what_it_was(fitted, name):
    members = fitted(name)
    again = with_layers(members, copy.deepcopy(unrolled(members).layers))
    for one, other in zip(arrays_of(again), arrays_of(members), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@each_chain
def test_members_take_up_other_weights(fitted, name):
    members = fitted(name)
    rng = np.random.default_rng(0)
    layers, n_layers = unrolled(members).layers, len(unrolled(members).layers)
    moved = []
    for index, layer in enumerate(layers):
        mirror = n_layers - 1 - index
        if mirror < index and layers[mirror].is_tied:
            coef = moved[mirror].coef.T
        else:
            coef = layer.coef + 0.1 * rng.normal(size=layer.coef.shape)
        intercept = layer.intercept + 0.1 * rng.normal(size=layer.intercept.shape)
        units = {unit: values + 0.1 for unit, values in layer.units.items()}
        moved.append(layer._replace(coef=coef, intercept=intercept, units=units))
    members = with_layers(members, moved)
    outs = forward(np, network_of_layers(moved), scaled(members[0], X))[1]
    code = outs[n_encoder(members) - 1]
    np.testing.assert_allclose(encode(members, X), code, rtol=1e-11, atol=1e-11)
    found = (outs[-1] - members[0]._shift) * members[0].scale_ + members[0].mean_
    np.testing.assert_allclose(decode(members, code), found, rtol=1e-11, atol=1e-11)


@each_chain
def test_neither_changes_the_members(fitted, name):
    members = fitted(name)
    before = copy.deepcopy(members)
    with_layers(
        members, [layer._replace(coef=layer.coef + 1.0) for layer in unrolled(members).layers]
    )
    assert_same(members, before)
    assert [vars(member).keys() for member in members] == [vars(m).keys() for m in before]


@each_chain
def test_of_encoders_alone_decoders_stay_unless_they_are_tied(fitted, name):
    members = fitted(name)
    layers = [layer._replace(coef=layer.coef + 0.1) for layer in unrolled(members).layers]
    again = with_layers(members, layers[: n_encoder(members)])
    for member, before in zip(again, members, strict=True):
        half = n_encoder([member])
        for coef, old in zip(member.coefs_[:half], before.coefs_[:half], strict=True):
            np.testing.assert_array_equal(coef, old + 0.1)
        decoder = [coef.T for coef in member.coefs_[:half][::-1]]
        if not member.tied_weights:
            decoder = before.coefs_[half:]
        for coef, wanted in zip(member.coefs_[half:], decoder, strict=True):
            np.testing.assert_array_equal(coef, wanted)
        for intercept, wanted in zip(
            member.intercepts_[half:], before.intercepts_[half:], strict=True
        ):
            np.testing.assert_array_equal(intercept, wanted)


@each_chain
def test_layers_that_were_not_trained_keep_every_bit(fitted, name):
    members = fitted(name)
    layers = unrolled(members).layers
    last = layers[n_encoder(members) - 1]
    moved = last._replace(coef=last.coef + 1.0, intercept=last.intercept + 1.0)
    again = with_layers(members, [*layers[: n_encoder(members) - 1], moved])
    assert_same(again[:-1], members[:-1])
    half = n_encoder([members[-1]])
    for at in range(half - 1):
        np.testing.assert_array_equal(again[-1].coefs_[at], members[-1].coefs_[at])
        np.testing.assert_array_equal(again[-1].intercepts_[at], members[-1].intercepts_[at])


def test_a_member_rolled_up_starts_its_solver_anew(fitted):
    members = fitted("two")
    assert all(member._state for member in members)
    again = with_layers(members, copy.deepcopy(unrolled(members).layers))
    assert not any(member._state for member in again)
    # The old moments would be those of other weights.
    again[0].partial_fit(X)


# Centred rows.


@pytest.mark.parametrize("other", [False, True], ids=["the same rows", "other rows"])
@each_chain
def test_centring_is_undone(fitted, name, other):
    members = fitted(name)
    layers = unrolled(members).layers
    architecture = architecture_of(layers, n_encoder(members), output_layout="rows")
    scaling = scaling_of_first(unrolled(members), 3.0 * X[:20] + 1.0 if other else X, None, None)
    flat = to_centred(architecture, layers, scaling)
    assert flat.shape == (architecture.n_parameters,)
    for before, after in zip(layers, from_centred(architecture, flat, scaling), strict=True):
        np.testing.assert_array_equal(after.coef, before.coef)
        np.testing.assert_allclose(after.intercept, before.intercept, rtol=1e-12, atol=1e-12)
        assert after.units.keys() == before.units.keys()
        for unit, values in after.units.items():
            np.testing.assert_array_equal(values, before.units[unit])
        assert after[3:] == before[3:]


@pytest.mark.parametrize("name", ["two", "tied first", "deep", "unscaled", "sigmoid outputs"])
def test_the_network_of_centred_rows_is_the_same_function(fitted, name):
    members = fitted(name)
    problem = stack_problem(members, 2.0 * X + 1.0, Terms("l1"))
    centred = forward(np, problem.network(problem.flat), problem.X - problem.centre)[1]
    z = scaled(members[0], 2.0 * X + 1.0)
    outs = forward(np, network_of_layers(unrolled(members).layers), z)[1]
    for one, other in zip(centred, outs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


def test_weights_are_heard_by_the_centre(fitted):
    members, weight = fitted("two"), np.arange(60.0)
    scaling = scaling_of_first(unrolled(members), X, None, weight)
    np.testing.assert_allclose(scaling.centre, np.average(X, axis=0, weights=weight))
    assert scaling.mean is members[0].mean_
    codes = scaling_of_codes(X, np.arange(30, 60), weight)
    np.testing.assert_allclose(codes.centre, np.average(X[30:], axis=0, weights=weight[30:]))
    np.testing.assert_allclose(codes.offset, codes.centre)


# Gradients.


def stack_problem(members, X, terms, weight=None):
    """Return the whole stack's problem: z centred in, z out."""
    layers = unrolled(members).layers
    architecture = architecture_of(layers, n_encoder(members), output_layout="rows")
    scaling = scaling_of_first(unrolled(members), X, None, weight)
    return JoinedProblem(
        architecture,
        terms,
        X=(X - scaling.centre) / scaling.scale,
        centre=np.zeros(6),
        offset=scaling.offset,
        flat=to_centred(architecture, layers, scaling),
        weight=weight,
    )


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@each_chain
def test_the_gradient_of_a_whole_stack_is_autograds(fitted, name, weighted):
    members = fitted(name)
    weight = np.random.default_rng(0).uniform(0.2, 2.0, len(X)) if weighted else None
    terms = Terms(members[-1].sparsity, 0.2, 0.7, 0.03)
    problem = stack_problem(members, X, terms, weight)
    assert smallest_pre(problem) > 1e-7
    value, gradient = problem.autograd()
    for objective in (problem.full, problem.minibatch):
        found, by_hand = objective()
        assert found == pytest.approx(value, rel=1e-12)
        assert relative_error(by_hand, gradient) < 1e-12


TARGETS = {
    "labels": np.random.default_rng(1).integers(0, 3, (60, 1)),
    "numbers": np.random.default_rng(1).normal(size=(60, 3)),
}


@pytest.mark.each_once
@pytest.mark.parametrize("n_frozen", [0, 1])
@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("decay", ["top", "all"])
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("name", ["one", "two", "prelu", "deep", "unscaled last", "tied deep"])
def test_the_gradient_of_a_supervised_network_is_autograds(
    fitted, name, kind, decay, weighted, n_frozen
):
    members, target, rng = fitted(name), TARGETS[kind], np.random.default_rng(2)
    top = (
        unrolled(members)
        .layers[0]
        ._replace(
            coef=rng.normal(size=(members[-1].n_components, 3)),
            intercept=rng.normal(size=3),
            units={},
            activation="identity",
            input_scale=1.0,
        )
    )
    encoder = [
        layer._replace(is_tied=False) for layer in unrolled(members).layers[: n_encoder(members)]
    ]
    layers = [*encoder[n_frozen:], top]
    weight = rng.uniform(0.2, 2.0, len(X)) if weighted else None
    chosen = np.arange(3, 50)
    if n_frozen:
        given = forward(np, network_of_layers(encoder), scaled(members[0], X))[1][n_frozen - 1]
        scaling = scaling_of_codes(given, chosen, weight)
    else:
        given, scaling = X, scaling_of_first(unrolled(members), X, chosen, weight)
    architecture = architecture_of(layers, len(layers) - 1, output_layout="columns")
    flat = to_centred(architecture, layers, scaling)

    # By autograd, from the layers as they are, on rows that are not centred.
    leaves = [torch.tensor(layer.coef, requires_grad=True) for layer in layers]
    biases = [torch.tensor(layer.intercept, requires_grad=True) for layer in layers]
    slopes = [
        torch.tensor(layer.units["slope"], requires_grad=True) if layer.units else None
        for layer in layers
    ]
    network = Network(
        leaves,
        biases,
        slopes,
        architecture.activations,
        tuple(layer.input_scale for layer in layers),
    )
    z = scaling.shift + (given[chosen] - scaling.mean) / scaling.scale
    output = forward(torch, network, torch.tensor(z))[1][-1]
    share = torch.tensor(shares(len(chosen), None if weight is None else weight[chosen]))
    wanted = torch.tensor(target[chosen])
    value = output_loss(torch, kind, output, wanted, share) + weight_decay(leaves, 0.03, decay)
    learnt = [leaf for leaf in (*leaves, *biases, *slopes) if leaf is not None]
    gradients = torch.autograd.grad(value, learnt)

    def rows():
        return Rows(
            given,
            centre=scaling.centre,
            scale=scaling.scale,
            dtype=torch.float64,
            device=torch.device("cpu"),
            index=chosen,
            sample_weight=weight,
            target=target,
        )

    penalties = Penalties(None, 0.5, 0.0, 0.03, "last" if decay == "top" else "all")
    loss = CrossEntropy() if kind == "labels" else SquaredError()
    parameters = Parameters(architecture, torch.tensor(flat))
    full = FullObjective(penalties, parameters, rows(), loss)
    batch = MinibatchObjective(penalties, parameters, loss, window=1)
    batch(rows().batch(slice(0, len(chosen))))
    (found_value, *_), found = full.gradient(torch.tensor(flat))
    for got, by_hand in (
        (found_value, parameters.with_flat(found)),
        (batch.epoch_loss().total, batch.gradient),
    ):
        assert got.item() == pytest.approx(value.item(), rel=1e-12)
        # In the coordinates of centred rows the first weights' gradient is another one:
        # W enters the bias too, dJ/dW = dJ/dW' + gain * offset (dJ/db)'.
        coefs = [
            weights[0] if architecture.layout(at) == "rows" else weights[0].T
            for at, weights in enumerate(by_hand.weights)
        ]
        shift = torch.tensor(layers[0].input_scale * scaling.offset)
        coefs[0] = coefs[0] + torch.outer(shift, by_hand.biases[0].ravel())
        parts = [
            *coefs,
            *by_hand.biases,
            *(each for own in by_hand.units for each in own.values()),
        ]
        for part, expected in zip(parts, gradients, strict=True):
            np.testing.assert_allclose(
                part.numpy().reshape(expected.shape), expected.numpy(), rtol=1e-9, atol=1e-13
            )
