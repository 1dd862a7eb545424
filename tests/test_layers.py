"""The order of the house: data flows to the right and nothing imports from there."""

import ast
from pathlib import Path

import pytest

import cjepa

PACKAGE = Path(cjepa.__file__).parent
ORDER = [
    {"__init__", "types", "errors", "files", "locks", "yaml_files", "moved"}
    | {"command_result", "progress", "optim", "checkpoints"},
    {"envs"},
    {"data"},
    {"tokenizers"},
    {"world_models"},
    {"planning"},
    {"interventions"},
    {"evaluation"},
    {"reporting"},
    {"artifacts"},
    {"bench"},
    {"studies"},
    {"commands"},
]
PRINTING = {"cli.py"}
MAX_LINES = 400
FILES = sorted(PACKAGE.rglob("*.py"))
EVERY_FILE = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))


def rank(name: str) -> int:
    """Place of a folder or top-level module; what the list does not name (the command line) comes last."""
    return next((place for place, names in enumerate(ORDER) if name in names), len(ORDER))


def imported(tree: ast.AST, package: list[str]) -> set[tuple[str, int]]:
    """Top-level names of cjepa that a file imports anywhere, with the line; ``package`` is the file's own."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names += [(f"{module}.{alias.name}", node.lineno) for alias in node.names]
    parts = [(name.split("."), line) for name, line in names]
    return {
        (name[1], line) for name, line in parts if name[0] == "cjepa" and len(name) > 1 and name[1] != "__version__"
    }


def to_the_right(source: str, path: Path) -> list[str]:
    """Imports of a file that go against the order."""
    package = ["cjepa", *path.parent.parts]
    own = path.parts[0].removesuffix(".py")
    found = imported(ast.parse(source), package)
    return [f"{path}:{line} imports cjepa.{name}" for name, line in sorted(found) if rank(name) > rank(own)]


@EVERY_FILE
def test_nothing_imports_rightwards(path):
    assert to_the_right(path.read_text(), path.relative_to(PACKAGE)) == []


@EVERY_FILE
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


@EVERY_FILE
def test_only_the_command_line_prints(path):
    if str(path.relative_to(PACKAGE)) in PRINTING:
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"] == []


def test_every_folder_has_a_place():
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in FILES if path.parent != PACKAGE}
    assert {name for name in folders if rank(name) == len(ORDER)} == set()


@pytest.mark.parametrize(
    "source",
    [
        "import cjepa.planning.agents",
        "from cjepa.planning import agents",
        "from cjepa import planning",
        "from ..planning import agents",
        "from .. import planning",
        "def f():\n    from cjepa.cli import main",
    ],
)
def test_the_reader_sees_every_way_to_import(source):
    assert len(to_the_right(source, Path("envs/pusht.py"))) == 1
    assert to_the_right(source.replace("cli", "planning"), Path("reporting/figures.py")) == []
