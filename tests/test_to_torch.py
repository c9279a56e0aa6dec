"""A module of torch says what the model says, learns further, and becomes a model again."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from exported import MODELS, TARGETED, X, fitted, rows_of, sae, y
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from stand_in import DEVICE, on_stand_in
from torch import nn

from sksae import SparseAutoencoderClassifier, SparseAutoencoderRegressor
from sksae.engine.activations import ACTIVATIONS
from sksae.export import from_torch, to_torch

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*transform_n_active"),
    pytest.mark.filterwarnings("ignore:.*With scale_data=False"),
]

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE)
each_model = pytest.mark.parametrize("name", MODELS)
OF_ROWS = ("loss_", "mean_activation_", "active_share_", "largest_activation_", "row_sparsity_")


def expected_of(model, rows):
    """Return what a module of a model is to make of rows."""
    if hasattr(model, "inverse_transform"):
        return model.inverse_transform(model.transform(rows))
    return getattr(model, "decision_function", model.predict)(rows)


def made_by(function, rows):
    with torch.no_grad():
        return function(torch.from_numpy(rows)).numpy()


def assert_says_the_same(module, model, rows):
    """Assert that a module says of rows what a model does, in their precision."""
    tolerance = TOLERANCE[rows.dtype.name]
    for function, expected in (
        (module.encode, model.transform(rows)),
        (module, expected_of(model, rows)),
    ):
        found, size = made_by(function, rows), max(1.0, np.abs(expected).max())
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * size)


def trained(module, rows, target=None):
    """Return a module after some steps of a loss of one's own."""
    solver = torch.optim.SGD(module.parameters(), 1e-2)
    for _ in range(3):
        solver.zero_grad()
        (module(torch.from_numpy(rows)) ** 2).mean().backward()
        solver.step()
    return module


@pytest.mark.each_once
@each_dtype
@each_model
def test_it_says_what_the_model_says(name, dtype):
    model, rows = fitted(name), rows_of(name).astype(dtype)
    assert_says_the_same(to_torch(model, dtype=dtype), model, rows)


@pytest.mark.each_once
@each_dtype
@each_model
def test_what_was_not_trained_comes_back_to_the_bit(name, dtype):
    model, rows = fitted(name), rows_of(name)
    back = from_torch(to_torch(model, dtype=dtype))
    assert type(back) is type(model)
    assert repr(back) == repr(model)
    np.testing.assert_array_equal(back.transform(rows), model.transform(rows))
    np.testing.assert_array_equal(expected_of(back, rows), expected_of(model, rows))
    assert getattr(back, "loss_", 0.0) == getattr(model, "loss_", 0.0)


@pytest.mark.each_once
@each_dtype
@each_model
def test_what_was_trained_further_comes_back(name, dtype):
    model, rows = fitted(name), rows_of(name).astype(dtype)
    before = model.transform(rows)
    module = trained(to_torch(model, dtype=dtype), rows)
    back = from_torch(module)
    assert np.abs(back.transform(rows) - before).max() > 1e-5
    assert_says_the_same(module, back, rows)
    # Neither the estimator nor a copy of the file of the new one knows of the other.
    np.testing.assert_array_equal(model.transform(rows), before)
    again = pickle.loads(pickle.dumps(back))
    np.testing.assert_array_equal(again.transform(rows), back.transform(rows))
    for attribute in OF_ROWS:
        assert np.isnan(getattr(back, attribute, np.nan)).all()
    assert_says_the_same(to_torch(back, dtype=dtype), back, rows)


@each_model
def test_every_parameter_has_a_gradient(name):
    module = to_torch(fitted(name), dtype="float64")
    module(torch.from_numpy(rows_of(name))).square().sum().backward()
    for each, parameter in module.named_parameters():
        assert parameter.grad is not None, each
        assert parameter.grad.abs().max() > 0.0, each


def test_gradients_are_those_of_finite_differences():
    for name in ("deep", "l2 prelu", "gated", "tied stack", "classifier"):
        module = to_torch(fitted(name), dtype="float64")
        rows = torch.from_numpy(rows_of(name)[:3]).requires_grad_()
        assert torch.autograd.gradcheck(module, rows, eps=1e-6, atol=1e-5)


def test_it_learns_to_rebuild_rows_better():
    model, rows = fitted("l1"), torch.from_numpy(X).float()
    module = to_torch(model)
    solver = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(30):
        solver.zero_grad()
        nn.functional.mse_loss(module(rows), rows).backward()
        solver.step()
    assert from_torch(module).score(X) > model.score(X) + 0.05


# Names and states.

SHAPES = {
    "topk": {
        "centre": (64,),
        "scale": (),
        "shift": (64,),
        "encoder.0.weight": (20, 64),
        "encoder.0.bias": (20,),
        "decoder.0.weight": (64, 20),
        "decoder.0.bias": (64,),
    },
    "tied": {
        "centre": (64,),
        "scale": (),
        "shift": (64,),
        "encoder.0.weight": (20, 64),
        "encoder.0.bias": (20,),
        "decoder.0.bias": (64,),
    },
    "classifier": {
        "centre": (64,),
        "scale": (),
        "shift": (64,),
        "encoder.0.weight": (20, 64),
        "encoder.0.bias": (20,),
        "encoder.1.input_scale": (),
        "encoder.1.weight": (12, 20),
        "encoder.1.bias": (12,),
        "top.weight": (10, 12),
        "top.bias": (10,),
    },
}


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_have_names(name):
    state = to_torch(fitted(name)).state_dict()
    assert {each: tuple(tensor.shape) for each, tensor in state.items()} == SHAPES[name]


def test_what_units_have_has_names_too():
    of_units = {
        "l2 prelu": ("slope", nn.Parameter),
        "gated": ("log_gain", nn.Parameter),
        "jumprelu": ("threshold", torch.Tensor),
        "batchtopk": ("least", torch.Tensor),
    }
    for name, (unit, kind) in of_units.items():
        assert type(getattr(to_torch(fitted(name)).encoder[0], unit)) is kind


@pytest.mark.parametrize("name", ["gated", "deep", "tied stack", "classifier"])
def test_a_state_is_saved_and_loaded_without_running_code(name):
    model, rows = fitted(name), rows_of(name).astype("float32")
    module, file = trained(to_torch(model, dtype="float32"), rows), io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other = to_torch(model, dtype="float32")
    other.load_state_dict(torch.load(file, weights_only=True))
    np.testing.assert_array_equal(
        from_torch(other).transform(rows), from_torch(module).transform(rows)
    )


def test_a_module_is_copied_and_saved_as_a_whole():
    module = trained(to_torch(fitted("classifier")), X.astype("float32"))
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    expected = from_torch(module).predict_proba(X)
    for other in (copy.deepcopy(module), torch.load(file, weights_only=False)):
        np.testing.assert_array_equal(from_torch(other).predict_proba(X), expected)


def test_thresholds_that_were_set_come_back():
    for name, buffer in (("batchtopk", "least"), ("jumprelu", "threshold")):
        module = to_torch(fitted(name), dtype="float64")
        getattr(module.encoder[0], buffer).add_(0.5)
        assert_says_the_same(module, from_torch(module), X)
        assert (from_torch(module).transform(X) > 0).sum() < (fitted(name).transform(X) > 0).sum()


def test_a_stack_that_was_read_at_fewer_units_keeps_what_it_was_trained_for():
    module = trained(to_torch(fitted("greedy")), X.astype("float32"))
    model = from_torch(module)
    assert_says_the_same(module, model, X.astype("float32"))
    model.autoencoders_[0].transform_n_active = None
    assert ((model.autoencoders_[0].transform(X) > 0).sum(axis=1) == 4).any()


# Precision.


def test_precision_is_that_of_training_by_default():
    assert to_torch(fitted("kl")).centre.dtype == torch.float32
    assert to_torch(fitted("unscaled")).centre.dtype == torch.float64


@pytest.mark.parametrize("scale_data", [True, False])
@pytest.mark.parametrize("sparsity", ["kl", "topk"])
def test_rows_far_from_0_lose_no_digits(sparsity, scale_data):
    rows = (np.random.default_rng(0).normal(size=(200, 20)) + 12345.6).astype("float32")
    count = {"rho": 3} if sparsity == "topk" else {}
    model = sae(15, sparsity=sparsity, scale_data=scale_data, **count).fit(rows)
    module = to_torch(model)
    np.testing.assert_allclose(made_by(module.encode, rows), model.transform(rows), atol=1e-5)
    with torch.no_grad():
        module.encoder[0].weight.mul_(1.1)
    codes = from_torch(module).transform(rows)
    np.testing.assert_allclose(made_by(module.encode, rows), codes, rtol=1e-5, atol=1e-5)


def test_a_module_may_change_its_precision():
    model = fitted("kl")
    assert_says_the_same(from_precision(to_torch(model).double()), model, X.astype("float32"))
    back = from_torch(trained(to_torch(model).double(), X))
    assert back.transform(X).dtype == np.float64
    with pytest.raises(ValueError, match=r"must be in float32 or float64, got float16: use float"):
        from_torch(to_torch(model).half())


def from_precision(module):
    return to_torch(from_torch(module), dtype="float32")


def test_numbers_beyond_float32_are_refused_there():
    model = sae().fit(X * 1e-60)
    with pytest.raises(ValueError, match=r"too small for torch.float32: use dtype='float64'"):
        to_torch(model)
    assert_says_the_same(to_torch(model, dtype="float64"), model, X * 1e-60)
    with pytest.raises(ValueError, match=r"centre is beyond the range of torch.float32"):
        to_torch(sae().fit(X * 1e60))


@pytest.mark.parametrize("targets", [y, np.c_[y, 3.0 - y]], ids=["1d", "2d"])
def test_targets_have_the_shape_of_predict(targets):
    model = SparseAutoencoderRegressor([sae()], max_iter=2, random_state=0).fit(X, targets)
    module = trained(to_torch(model), X.astype("float32"))
    assert made_by(module, X.astype("float32")).shape == targets.shape
    back = from_torch(module)
    assert back.coef_.shape == model.coef_.shape
    assert np.shape(back.intercept_) == np.shape(model.intercept_)
    assert_says_the_same(module, back, X.astype("float32"))


def test_logits_are_one_for_each_class():
    model = SparseAutoencoderClassifier([sae()], max_iter=2, random_state=0).fit(X, y > 4)
    logits = made_by(to_torch(model, dtype="float64"), X)
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], model.decision_function(X), rtol=1e-9)


# Tools of torch.


@pytest.mark.parametrize("name", ["topk", "tied stack"])
def test_it_can_be_exported_by_torch(name):
    module = to_torch(fitted(name))
    rows = torch.from_numpy(X.astype("float32"))
    batch = {0: torch.export.Dim("batch", min=2)}
    exported = torch.export.export(module, (rows[:8],), dynamic_shapes=(batch,)).module()
    torch.testing.assert_close(exported(rows), module(rows))


@each_model
def test_all_of_it_is_on_the_device_where_its_state_is(name):
    model = fitted(name)
    with on_stand_in():
        module = to_torch(model, dtype="float32")
        learnt = dict(module.named_parameters())
        state = {
            each: tensor.detach().to(DEVICE).requires_grad_(each in learnt)
            for each, tensor in module.state_dict().items()
        }
        rows = torch.from_numpy(rows_of(name).astype("float32")).to(DEVICE)
        out = torch.func.functional_call(module, state, (rows,))
        assert out.device == DEVICE
        out.square().mean().backward()
        assert {state[each].grad.device for each in learnt} == {DEVICE}


def test_it_says_what_it_is():
    text = repr(to_torch(fitted("topk")))
    assert "(0): LayerModule(64 -> 20, relu, n_active=4)" in text
    assert "(0): LayerModule(20 -> 64, identity)" in text


# Refusals.


def test_what_a_module_cannot_be_made_of_is_named():
    for other in (PCA().fit(X), make_pipeline(sae()).fit(X)):
        with pytest.raises(TypeError, match="of a pipeline or search give the model in it"):
            to_torch(other)
    with pytest.raises(NotFittedError):
        to_torch(sae())
    model = sae(sparsity="topk", rho=4, transform_algorithm="omp").fit(X)
    with pytest.raises(ValueError, match="transform_algorithm='omp' looks for the codes"):
        to_torch(model)
    with pytest.raises(ValueError, match="dtype must be 'float32', 'float64' or None"):
        to_torch(fitted("kl"), dtype="bfloat16")


def test_a_module_with_a_layer_on_top_has_no_decoder():
    for name in TARGETED:
        with pytest.raises(RuntimeError, match="has no decoder: use encode, or forward"):
            to_torch(fitted(name)).decode(torch.zeros(1, 12))


def test_other_modules_are_refused():
    for other in (nn.Linear(3, 2), nn.Sequential(to_torch(fitted("kl"))), object()):
        with pytest.raises(TypeError, match="takes a module that to_torch has made"):
            from_torch(other)


def test_changes_of_more_than_parameters_are_refused():
    module = to_torch(fitted("kl"))
    module.encoder[0] = nn.Linear(64, 21)
    with pytest.raises(ValueError, match="has other parameters than to_torch gave it"):
        from_torch(module)
    for part, layer in (("encoder", nn.Linear(64, 20)), ("decoder", nn.Linear(20, 64))):
        module = to_torch(fitted("kl"))
        getattr(module, part)[0] = layer
        with pytest.raises(ValueError, match=f"{part}.0 is not the layer that to_torch gave it"):
            from_torch(module)
    module = to_torch(fitted("classifier"))
    module.top = nn.Linear(12, 10)
    with pytest.raises(ValueError, match="top is not the layer that to_torch gave it"):
        from_torch(module)
    module = to_torch(fitted("kl"))
    module.encoder[0].activation = "relu"
    with pytest.raises(ValueError, match=r"encoder\.0 is not the layer that to_torch gave it"):
        from_torch(module)
    module = to_torch(fitted("kl"))
    with torch.no_grad():
        module.decoder[0].weight[3, 3] = torch.nan
    with pytest.raises(ValueError, match=r"decoder.0.weight holds numbers that are not finite"):
        from_torch(module)


@pytest.mark.parametrize("name", ["kl", "stack"])
def test_a_state_of_another_fit_is_refused(name):
    other = copy.deepcopy(MODELS[name]).fit(X[:150] + 0.1)
    module = to_torch(fitted(name))
    module.load_state_dict(to_torch(other).state_dict())
    with pytest.raises(ValueError, match="is not that of the estimator that to_torch was given"):
        from_torch(module)


def test_there_is_a_formula_for_each_activation():
    from sksae.engine.module import LayerModule
    from sksae.model.network import Layer

    rng = np.random.default_rng(0)
    pre = rng.normal(size=(9, 5))
    names = ("slope", "threshold", "log_gain", "offset")
    units = {unit: np.abs(rng.normal(size=5)) for unit in names}
    for name, activation in ACTIVATIONS.items():
        layer = LayerModule(Layer(np.eye(5), np.zeros(5), units, name), torch.float64)
        expected = activation.evaluate(pre, units)
        np.testing.assert_allclose(made_by(layer, pre), expected, rtol=1e-14)
