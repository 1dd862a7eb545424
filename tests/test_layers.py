"""The order of the house: data flows to the right and nothing imports from there."""

import ast
import functools
from pathlib import Path

import pytest

import cjepa

PACKAGE = Path(cjepa.__file__).parent
ORDER = [
    {"__init__", "types", "errors", "arguments", "configuration", "files", "locks", "opencv", "devices", "tensor_files"}
    | {
        "pictures",
        "command_result",
        "counts",
        "shapes",
        "shell",
        "progress",
        "quiet",
        "optim",
        "moving_average",
        "draws",
    }
    | {"checkpoints"},
    {"envs"},
    {"data"},
    {"tokenizers"},
    {"world_models"},
    {"policies"},
    {"language"},
    {"planning"},
    {"api"},
    {"integrations"},
    {"interventions"},
    {"evaluation"},
    {"questions"},
    {"reporting"},
    {"artifacts"},
    {"explorer"},
    {"bench"},
    {"studies"},
    {"commands"},
    {"running"},
]
PRINTING = {"cli.py"}
MAX_LINES = 320
SOURCES = {path.relative_to(PACKAGE): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
"""What each file of the package says; one test looks at all of them and reports every fault at once."""


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


def prints(source: str) -> list[int]:
    """The lines that call ``print``."""
    nodes = ast.walk(ast.parse(source)) if "print" in source else ()  # to look at every node takes a second
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    return [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]


def test_nothing_imports_rightwards():
    assert [line for path, source in SOURCES.items() for line in to_the_right(source, path)] == []


def test_files_are_short():
    assert [str(path) for path, source in SOURCES.items() if len(source.splitlines()) > MAX_LINES] == []


def test_only_the_command_line_prints():
    quiet = {path: source for path, source in SOURCES.items() if str(path) not in PRINTING}
    assert [f"{path}:{line}" for path, source in quiet.items() for line in prints(source)] == []
    assert prints("x = 1\nif x:\n    print(x)\n") == [3]


@functools.cache
def imported_first(path: Path) -> set[str]:
    """All modules, ours and others', that a file imports at its top, and names in them."""
    found = set()
    for node in ast.parse(SOURCES[path]).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        found |= {node.module, *(f"{node.module}.{name}" for name in names)} if hasattr(node, "module") else {*names}
    return found


def loaded_with(path: Path) -> set[str]:
    """All modules that importing a file imports; imports inside functions wait."""
    found, waiting = set(), [path]
    while waiting:
        new = imported_first(waiting.pop()) - found
        found |= new
        files = [Path(*name.split(".")[1:]).with_suffix(".py") for name in new if name.startswith("cjepa.")]
        waiting += [file for file in files if file in SOURCES]
    return found


@pytest.mark.parametrize("verb", ["collect", "convert", "plan_baselines", "report", "study", "tokenize", "verify"])
def test_commands_that_train_nothing_do_not_wait_for_lightning(verb):
    """Its import takes four seconds; processes that a command starts import what the command imports."""
    found = {name.split(".")[0] for name in loaded_with(Path("commands", f"{verb}.py"))}
    assert "cjepa" in found and not found & {"lightning", "torchmetrics"}
    assert "lightning" in {name.split(".")[0] for name in loaded_with(Path("data", "video_clips.py"))}


def test_every_folder_has_a_place():
    folders = {path.parts[0] for path in SOURCES if len(path.parts) > 1}
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
