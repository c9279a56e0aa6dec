"""The house: who may import whom (docs/development/architecture.md)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import sksae

ROOT = Path(sksae.__file__).parent

# From the top down: a room imports of those below it only. Rooms in one line know nothing of each
# other.
STOREYS = [
    {"distributed", "export", "sequence"},
    {"", "model_selection", "inspection"},
    {"stacking", "metrics"},
    {"base"},
    {"training"},
    {"engine"},
    {"model", "process"},
]
LEVEL = {room: level for level, rooms in enumerate(STOREYS) for room in rooms}


def name_of(path: Path) -> str:
    parts = ("sksae", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def room_of(module: str) -> str:
    """Return the folder in sksae that a module lies in, or "" for the public estimators."""
    second = module.split(".")[1:2]
    return second[0] if second and (ROOT / second[0]).is_dir() else ""


def imports_of(module: str, *, at_top_only: bool = False) -> Iterator[str]:
    """Yield what a module imports, anywhere in it: in functions and for type checkers too."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    nodes = tree.body if at_top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module)


def own_imports_of(module: str) -> set[str]:
    return {each for each in imports_of(module) if each.split(".")[0] == "sksae"}


def test_every_room_has_its_storey():
    assert {room_of(module) for module in MODULES} == set(LEVEL)


@pytest.mark.parametrize("module", MODULES)
def test_arrows_lead_down(module):
    room = room_of(module)
    if module == "sksae":
        return  # the front door names what is public
    for other in own_imports_of(module):
        below = room_of(other)
        allowed = below == room or LEVEL[room] < LEVEL[below]
        assert allowed, f"{module} must not import {other}: {below or 'the root'} is not below it"


def test_no_circle():
    left = {module: own_imports_of(module) - {module, "sksae"} for module in MODULES}
    while left:
        free = [module for module, needs in left.items() if not needs & left.keys()]
        assert free, f"circles among {sorted(left)}"
        for module in free:
            del left[module]


@pytest.mark.parametrize(
    ("room", "foreign"), [("model", "torch"), ("model", "sklearn"), ("engine", "sklearn")]
)
def test_what_a_room_does_without(room, foreign):
    for module in MODULES:
        if room_of(module) == room:
            roots = {each.split(".")[0] for each in imports_of(module)}
            assert foreign not in roots, f"{module} imports {foreign}"


@pytest.mark.parametrize("module", [each for each in MODULES if room_of(each) != "engine"])
def test_torch_is_imported_in_the_engine_only(module):
    for each in imports_of(module, at_top_only=True):
        assert each.split(".")[0] != "torch"
        assert room_of(each) != "engine" or not each.startswith("sksae"), (
            f"{module} imports {each} when it is imported itself"
        )


# Where an estimator's own attributes are anybody else's business: one file maps them to values.
MAPPED_IN = "sksae.base.attributes"


@pytest.mark.parametrize(
    "module",
    [m for m in MODULES if room_of(m) not in ("", "engine", "process") and m != MAPPED_IN],
)
def test_nobody_reads_private_attributes_of_an_estimator(module):
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    public_in_spite = {"_replace", "_asdict", "_parameter_constraints", "_init_callback_context"}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_"):
            continue
        if node.attr.startswith("__") or node.attr in public_in_spite:
            continue
        owner = ast.unparse(node.value)
        # Of its own kind an object may know all.
        is_own = owner in ("self", "cls", "super()", "sys") or owner in ("one", "other")
        assert is_own, f"{module}, line {node.lineno}, reads {owner}.{node.attr}"


@pytest.mark.parametrize("module", [each for each in MODULES if LEVEL[room_of(each)] > LEVEL[""]])
def test_no_room_below_them_names_a_public_estimator(module):
    public = set(sksae.__all__) - {"ShardedRows", "show_versions"}  # these are no estimators
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & public
    assert not named, f"{module} names {named}"
