"""What every public class and function promises: its signature and its docstring agree."""

import ast
import inspect
import re
import typing
from numbers import Integral, Real

import numpy as np
import pytest
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils._param_validation import Interval, StrOptions

import sksae
from sksae import (
    SparseAutoencoderTransformer,
    distributed,
    inspection,
    metrics,
    model_selection,
    sequence,
)

PUBLIC = {
    name: getattr(package, name)
    for package in (sksae, distributed, inspection, metrics, model_selection, sequence)
    for name in package.__all__
}


def own_methods(cls):
    """Return the public methods that sksae defines, by name, inherited ones too."""
    return {
        name: member
        for name, member in inspect.getmembers(cls, callable)
        if not name.startswith("_") and getattr(member, "__module__", "").startswith("sksae")
    }


METHODS = {
    f"{name}.{method}": member
    for name, cls in PUBLIC.items()
    if inspect.isclass(cls)
    for method, member in own_methods(cls).items()
}
CALLABLES = PUBLIC | METHODS
ESTIMATORS = {
    name: cls
    for name, cls in PUBLIC.items()
    if inspect.isclass(cls) and "device" in getattr(cls, "_parameter_constraints", {})
}
PARAMETERS = [(name, each) for name, cls in ESTIMATORS.items() for each in cls().get_params(False)]
each_public = pytest.mark.parametrize("name", PUBLIC)
each_callable = pytest.mark.parametrize("name", CALLABLES)
each_parameter = pytest.mark.parametrize(("name", "parameter"), PARAMETERS)


def parameters_of(function):
    """Return the parameters that a caller gives, by name."""
    parameters = inspect.signature(function).parameters
    return {name: each for name, each in parameters.items() if name not in ("self", "cls")}


def section(documented, title):
    """Return the text of a section of a docstring, empty if there is none."""
    text = inspect.getdoc(documented)
    found = re.search(rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", text, re.S | re.M)
    return found[1] if found else ""


def entries(documented, title):
    """Return what a section says of each name: its type and default, in one line."""
    heads = re.findall(r"^(\*{0,2}\w+(?:, \w+)*) : (.+)$", section(documented, title), re.M)
    return {name.strip("*"): kind for names, kind in heads for name in names.split(", ")}


# Signatures.


def test_public_names():
    assert sksae.__all__ == [
        "Checkpoint",
        "ShardedRows",
        "SparseAutoencoderClassifier",
        "SparseAutoencoderRegressor",
        "SparseAutoencoderTransformer",
        "StackedSparseAutoencoder",
        "show_versions",
    ]
    assert re.fullmatch(r"\d+\.\d+\.\d+([abrc.]+\w+)?", sksae.__version__)
    for package in (sksae, distributed, inspection, metrics, model_selection, sequence):
        assert package.__all__ == sorted(package.__all__)


def test_public_methods_of_the_transformer_are_the_promised_ones():
    assert set(own_methods(SparseAutoencoderTransformer)) == {
        "fit",
        "partial_fit",
        "fit_transform",
        "transform",
        "inverse_transform",
        "score",
        "score_samples",
    }
    for name in ("get_feature_names_out", "set_output", "set_callbacks"):
        assert callable(getattr(SparseAutoencoderTransformer, name))


@each_callable
def test_signatures_are_annotated(name):
    function = CALLABLES[name]
    for parameter in parameters_of(function).values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter
    called = function.__init__ if inspect.isclass(function) else function
    assert inspect.signature(called).return_annotation is not inspect.Signature.empty


def options_of(annotation):
    """Return all literals in an annotation, however nested."""
    if typing.get_origin(annotation) is typing.Literal:
        return set(typing.get_args(annotation))
    return set().union(*(options_of(part) for part in typing.get_args(annotation)))


def constrained_options(name, parameter):
    constraints = ESTIMATORS[name]._parameter_constraints[parameter]
    return set().union(*(each.options for each in constraints if isinstance(each, StrOptions)))


@each_parameter
def test_annotations_and_constraints_name_the_same_options(name, parameter):
    hints = typing.get_type_hints(ESTIMATORS[name].__init__)
    literals = {each for each in options_of(hints[parameter]) if isinstance(each, str)}
    assert literals == constrained_options(name, parameter)


# Docstrings.


@each_callable
def test_a_docstring_begins_with_one_sentence(name):
    first, _, rest = inspect.getdoc(CALLABLES[name]).partition("\n")
    assert first.endswith(".")
    assert not rest or rest.startswith("\n")


@each_callable
def test_every_argument_is_documented_in_its_order(name):
    function = CALLABLES[name]
    assert list(entries(function, "Parameters")) == list(parameters_of(function))


@each_callable
def test_documented_defaults_are_the_real_ones(name):
    function = CALLABLES[name]
    documented = entries(function, "Parameters")
    for each in parameters_of(function).values():
        kind = documented[each.name]
        found = re.search(r", default=(.*)$", kind)
        # A name that is there for scikit-learn's sake is None and nothing else.
        if each.default is inspect.Parameter.empty or kind == "None":
            assert not found, each.name
            continue
        default = np.nan if found[1] == "nan" else ast.literal_eval(found[1])
        np.testing.assert_equal(default, each.default)
        assert type(default) is type(each.default), each.name


@each_parameter
def test_documented_types_are_those_that_are_accepted(name, parameter):
    kind = entries(ESTIMATORS[name], "Parameters")[parameter]
    for option in constrained_options(name, parameter):
        assert f'"{option}"' in kind
    constraints = ESTIMATORS[name]._parameter_constraints[parameter]
    numbers = {each.type for each in constraints if isinstance(each, Interval)}
    if numbers & {Integral}:
        assert "int" in kind
    if numbers - {Integral} or Real in numbers:
        assert "float" in kind or "number" in kind


@pytest.mark.parametrize("name", [*METHODS, *(n for n in PUBLIC if not inspect.isclass(PUBLIC[n]))])
def test_what_is_returned_is_documented(name):
    returned = inspect.signature(CALLABLES[name]).return_annotation
    assert bool(section(CALLABLES[name], "Returns")) == (returned is not None)


@each_public
def test_there_is_an_example(name):
    assert ">>> " in section(PUBLIC[name], "Examples")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_fitted_attribute_is_documented_and_every_documented_one_exists(name):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(np.random.default_rng(0).random((30, 3)), columns=["a", "b", "c"])
    y = np.arange(30) % 2
    model = ESTIMATORS[name]().set_params(max_iter=2, early_stopping=True, validation_fraction=0.2)
    model.fit(X, y)
    fitted = {each for each in vars(model) if each.endswith("_") and not each.startswith("_")}
    documented = set(entries(type(model), "Attributes"))
    assert fitted <= documented
    for each in documented:
        assert hasattr(model, each)


SEARCHES = [name for name in model_selection.__all__ if "Search" in name]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", SEARCHES)
def test_every_fitted_attribute_of_a_search_is_documented_and_every_documented_one_exists(name):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(np.random.default_rng(0).random((30, 3)), columns=["a", "b", "c"])
    sae = SparseAutoencoderTransformer(2, max_iter=2, random_state=0)
    pipe = Pipeline([("sae", sae), ("classify", DecisionTreeClassifier())])
    cls = PUBLIC[name]
    drawn = {"n_iter": 2} if "n_iter" in parameters_of(cls) else {}
    search = cls(pipe, {"sae__rho": [0.1, 0.2]}, cv=2, **drawn).fit(X, np.arange(30) % 2)
    fitted = {each for each in vars(search) if each.endswith("_") and not each.startswith("_")}
    documented = set(entries(cls, "Attributes"))
    assert fitted <= documented
    assert {"classes_", "n_features_in_"} <= documented  # properties, of the best estimator
    for each in documented:
        assert hasattr(search, each)
