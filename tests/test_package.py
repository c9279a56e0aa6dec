"""The house: who imports whom, what is typed, what is documented, what a docstring promises."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
import typing
from importlib import resources
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import pytest
from sklearn.utils._param_validation import Interval, StrOptions

import sksae
from sksae import SparseAutoencoderTransformer
from sksae.training import defaults

PACKAGE = Path(sksae.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
ENGINE = [path for path in MODULES if path.is_relative_to(PACKAGE / "engine")]
ABOVE = [path for path in MODULES if path not in ENGINE]
PARAMETERS = inspect.signature(SparseAutoencoderTransformer).parameters
CONSTRAINTS = SparseAutoencoderTransformer._parameter_constraints


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def imported_modules(path, at_top_only):
    """Return what a file imports; at its top means wherever importing the file reaches."""
    found, todo = set(), [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
        if at_top_only:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                todo += node.orelse
                continue
        todo += ast.iter_child_nodes(node)
    return found


def packages(modules):
    return {module.partition(".")[0] for module in modules}


# Imports.


@pytest.mark.parametrize("path", ABOVE, ids=name_of)
def test_torch_is_imported_by_the_engine_only(path):
    assert "torch" not in packages(imported_modules(path, at_top_only=False))
    at_top = imported_modules(path, at_top_only=True)
    assert not [module for module in at_top if module.startswith("sksae.engine")]


@pytest.mark.parametrize("path", ENGINE, ids=name_of)
def test_the_engine_knows_nothing_of_what_is_above(path):
    modules = imported_modules(path, at_top_only=False)
    assert not packages(modules) & {"sklearn", "joblib", "pandas", "polars"}
    common = {"callers", "forks", "interrupts", "numbers", "shortage", "warning", "__init__"}
    above = {f"sksae.{path.stem}" for path in ABOVE if path.stem not in common}
    assert not modules & (above | {"sksae"})


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_what_is_installed_with_sksae_is_imported(path):
    project = PACKAGE.parent / "pyproject.toml"
    if not project.is_file():
        pytest.skip("needs pyproject.toml: sksae is tested as installed")
    wanted = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    names = {re.match(r"[\w-]+", line)[0] for line in wanted}
    allowed = {name.replace("scikit-learn", "sklearn") for name in names} | {"sksae"}
    third_party = packages(imported_modules(path, at_top_only=True)) - sys.stdlib_module_names
    assert third_party <= allowed


IMPORTS = """
import sys
import sksae
heavy = {"torch", "polars", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
sksae.SparseAutoencoderTransformer(3, device="cuda").get_params()
repr(sksae.SparseAutoencoderTransformer())
assert "torch" not in sys.modules
"""


def test_importing_sksae_does_not_import_torch():
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], cwd=PACKAGE.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_public_names():
    assert sksae.__all__ == [
        "SparseAutoencoderClassifier",
        "SparseAutoencoderRegressor",
        "SparseAutoencoderTransformer",
        "StackedSparseAutoencoder",
        "show_versions",
    ]
    assert re.fullmatch(r"\d+\.\d+\.\d+([abrc.]+\w+)?", sksae.__version__)
    assert all(hasattr(sksae, name) for name in sksae.__all__)


# Types.


def test_the_package_is_marked_as_typed():
    assert resources.files("sksae").joinpath("py.typed").is_file()


def own_methods():
    """Return what the class itself defines for users, by name."""
    return {
        name: getattr(SparseAutoencoderTransformer, name)
        for name, member in vars(SparseAutoencoderTransformer).items()
        if not name.startswith(("_", "set_")) and not isinstance(member, property)
    }


def test_public_methods_are_the_promised_ones():
    assert set(own_methods()) == {
        "fit",
        "partial_fit",
        "transform",
        "inverse_transform",
        "score",
        "score_samples",
    }
    for name in ("fit_transform", "get_feature_names_out", "set_output", "set_callbacks"):
        assert callable(getattr(SparseAutoencoderTransformer, name))


@pytest.mark.parametrize("name", ["__init__", *own_methods()])
def test_public_signatures_are_annotated(name):
    signature = inspect.signature(getattr(SparseAutoencoderTransformer, name))
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in list(signature.parameters.values())[1:]:
        assert parameter.annotation is not inspect.Parameter.empty, parameter


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_public_function_is_annotated_and_documented(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            bare = {argument.arg for argument in arguments if argument.annotation is None}
            assert bare <= {"self", "cls"}, node.name
            assert node.returns is not None, node.name


def options_of(annotation):
    """Return all literals in an annotation, however nested."""
    if typing.get_origin(annotation) is typing.Literal:
        return set(typing.get_args(annotation))
    return set().union(*(options_of(part) for part in typing.get_args(annotation)))


@pytest.mark.parametrize("name", PARAMETERS)
def test_annotations_and_constraints_name_the_same_options(name):
    hints = typing.get_type_hints(SparseAutoencoderTransformer.__init__)
    allowed = set().union(
        *(option.options for option in CONSTRAINTS[name] if isinstance(option, StrOptions))
    )
    assert options_of(hints[name]) == allowed


# Registries.


def test_activations_are_those_of_the_engine():
    from sksae.engine.activations import ACTIVATIONS

    for name, extra in (
        ("activation", {"auto"}),
        ("output_activation", set()),
        ("hidden_activation", set()),
    ):
        (options,) = (option.options for option in CONSTRAINTS[name])
        assert options == set(ACTIVATIONS) | extra


def options(name):
    return next(each.options for each in CONSTRAINTS[name] if isinstance(each, StrOptions))


def test_sparsities_are_those_of_the_engine():
    from sksae.engine.codes import make_code

    assert None in CONSTRAINTS["sparsity"]
    made = [type(make_code(name, "sigmoid")) for name in (*options("sparsity"), None)]
    assert len(set(made)) == len(made)
    with pytest.raises(ModuleNotFoundError):
        make_code("unknown", "sigmoid")


def test_every_solver_has_a_learning_rate_of_its_own():
    for rates in (defaults.UNSCALED_RATES, defaults.FINETUNING_RATES):
        assert set(rates) == options("solver")


def test_dtypes_are_those_of_the_engine():
    from sksae.engine.training import torch_dtype

    for name in options("dtype"):
        # Half precision is that of products alone.
        kept = "float32" if name == "bfloat16" else name
        assert str(torch_dtype(name)) == f"torch.{kept}"


# Documentation.


def section(title):
    """Return the entries of a section of the class docstring: name -> (type, text)."""
    text = inspect.getdoc(SparseAutoencoderTransformer)
    body = re.search(rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", text, re.S | re.M)[1]
    entries = re.findall(r"^(\w+) : ([^\n]+)\n((?:[ ]+[^\n]*\n|\n)+)", body + "\n", re.M)
    return {name: (kind, description) for name, kind, description in entries}


def test_every_parameter_is_documented_in_its_order():
    assert list(section("Parameters")) == list(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_documented_defaults_and_options_are_the_real_ones(name):
    kind, _ = section("Parameters")[name]
    default = ast.literal_eval(re.search(r"default=(.*)$", kind)[1])
    assert default == PARAMETERS[name].default
    assert type(default) is type(PARAMETERS[name].default)
    for constraint in CONSTRAINTS[name]:
        if isinstance(constraint, StrOptions):
            for option in constraint.options:
                assert f'"{option}"' in kind
    numbers = {each.type for each in CONSTRAINTS[name] if isinstance(each, Interval)}
    if numbers & {Integral}:
        assert "int" in kind
    if numbers - {Integral} or Real in numbers:
        assert "float" in kind


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_fitted_attribute_is_documented_and_every_documented_one_exists():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(np.random.default_rng(0).random((30, 3)), columns=["a", "b", "c"])
    model = SparseAutoencoderTransformer(2, max_iter=2, early_stopping=True).fit(X)
    fitted = {name for name in vars(model) if name.endswith("_") and not name.startswith("_")}
    documented = section("Attributes")
    assert fitted | {"components_"} == set(documented)
    for name in documented:
        assert hasattr(model, name)


@pytest.mark.parametrize("name", own_methods())
def test_every_argument_of_a_method_is_documented(name):
    method = getattr(SparseAutoencoderTransformer, name)
    text = inspect.getdoc(method)
    for argument in list(inspect.signature(method).parameters)[1:]:
        assert re.search(rf"^{argument} : ", text, re.M), argument
    assert "Returns\n-------\n" in text
