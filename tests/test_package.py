"""The package: what it needs, what is typed, what is registered where."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from sklearn.utils._param_validation import StrOptions

import sksae
from sksae import SparseAutoencoderTransformer
from sksae.model.codes import CODES
from sksae.training import defaults

PACKAGE = Path(sksae.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
CONSTRAINTS = SparseAutoencoderTransformer._parameter_constraints


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def imported_modules(path):
    """Return what importing a file imports."""
    found, todo = set(), [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)
    return found


def packages(modules):
    return {module.partition(".")[0] for module in modules}


# Imports.


def beside_the_package(name):
    """Return the text of a file of the repository, or skip the test."""
    path = PACKAGE.parent / name
    if not path.is_file():
        pytest.skip(f"needs {name}: sksae is tested as installed")
    return path.read_text(encoding="utf-8")


def project_table():
    return tomllib.loads(beside_the_package("pyproject.toml"))["project"]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_what_is_installed_with_sksae_is_imported(path):
    wanted = project_table()["dependencies"]
    names = {re.match(r"[\w-]+", line)[0] for line in wanted}
    allowed = {name.replace("scikit-learn", "sklearn") for name in names} | {"sksae"}
    third_party = packages(imported_modules(path)) - sys.stdlib_module_names
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


# Types.


def test_the_package_is_marked_as_typed():
    assert resources.files("sksae").joinpath("py.typed").is_file()


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


# Registries.


def test_activations_are_those_of_the_engine():
    from sksae.engine.activations import ACTIVATIONS

    of_one_code = {facts.activation for facts in CODES.values() if facts.activations == ()}
    for name, extra in (
        ("activation", {"auto"}),
        ("output_activation", {"auto"}),
        ("hidden_activation", set()),
    ):
        (options,) = (option.options for option in CONSTRAINTS[name])
        assert options == set(ACTIVATIONS) - of_one_code | extra


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


# Files beside the package.


def test_the_citation_names_the_version():
    versions = re.findall(r"^version: (.+)$", beside_the_package("CITATION.cff"), re.M)
    assert versions == [sksae.__version__]


def requirements(project, extra=None):
    """Return what sksae asks for, or an extra and the extras in it."""
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    found = []
    for each in map(Requirement, lines):
        if each.name == project["name"]:
            found += [one for name in each.extras for one in requirements(project, name)]
        else:
            found.append(each)
    return found


def pins(name):
    """Return the versions in a file of constraints."""
    lines = beside_the_package(name).splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert len({package for package, _ in found}) == len(found), "a package has two lines"
    return {package: Version(version) for package, version in found}


def lowest(requirement):
    return next(Version(each.version) for each in requirement.specifier if each.operator == ">=")


def test_the_lowest_versions_are_those_that_the_project_allows():
    project = project_table()
    wanted = {
        each.name: lowest(each) for each in requirements(project) + requirements(project, "test")
    }
    pinned = pins("constraints-lowest.txt")
    assert {name: pinned.get(name) for name in wanted} == wanted


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-lowest.txt"])
def test_what_is_pinned_is_allowed(name):
    project = project_table()
    pinned = pins(name)
    extras = [None, *project["optional-dependencies"]]
    asked = [each for extra in extras for each in requirements(project, extra)]
    for each in asked:
        if name == "constraints.txt":
            assert each.name in pinned
        if each.name in pinned:
            assert each.specifier.contains(pinned[each.name]), each


def test_the_classifiers_name_the_lowest_python():
    project = project_table()
    named = [each.rpartition(" ")[2] for each in project["classifiers"] if ":: 3." in each]
    assert project["requires-python"] == f">={min(named, key=Version)}"
