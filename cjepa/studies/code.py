"""The code that a stage uses: the files of its command and of the classes that it names, and all that these import.

The files are read, nothing in them is run: what is imported only through a computed name is not seen.
"""

import ast
import functools
import importlib
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from cjepa.configuration.run_config import TESTING_VERBS
from cjepa.reporting.code_record import read_code

_LIGHTNING_VERBS = ("fit", *TESTING_VERBS)
_LEFT_OUT = {"cjepa", "cjepa.cli", "cjepa.errors", "cjepa.command_result", "cjepa.progress", "cjepa.quiet"}
_LEFT_OUT |= {"cjepa.configuration.moved", "cjepa.configuration.parser_messages"}
"""Modules that send calls on, or decide what is shown: no stage makes anything else because of them."""
_RESOLVER = "cjepa.evaluation.measurements"
"""Finds the evaluation that a class names; a stage without it does not use any."""
_INSTALLED = {"site-packages", "dist-packages"}
_NAME = r"[A-Za-z_]\w*"
_IMPORT_PATH = re.compile(rf"{_NAME}(?:\.{_NAME})*[.:]{_NAME}")


class Source(NamedTuple):
    """What a file of Python code says."""

    digest: str
    """Of its code, without comments, docstrings and layout."""
    imports: frozenset[str]
    """Modules that it may import, and names in them; names of classes of cjepa that it holds as texts."""
    evaluations: frozenset[str]
    """What its classes name as their ``evaluation``."""
    whole_package: bool
    """Whether it imports every module of its package."""


def command_module(command: str, positional: Iterable[Any]) -> str:
    """The module that does the work of a command."""
    if command in _LIGHTNING_VERBS:
        return "cjepa.lightning_cli"
    group, name = ("bench", next(iter(positional), "")) if command == "bench" else ("commands", command)
    return f"cjepa.{group}.{str(name).replace('-', '_')}"


class CodeReader:
    """Finds the code behind the names of modules and classes."""

    def __init__(self):
        importlib.invalidate_caches()
        self._specs: dict[str, Any] = {}

    def code_of(self, modules: Iterable[str], texts: Iterable[str] = ()) -> dict[str, str]:
        """Digests of all files that are used, by the names of their modules.

        Installed packages other than cjepa are left out, but for the modules of the classes that ``texts`` name.

        Args:
            modules: to begin with; those that do not exist are left out.
            texts: may hold import paths of classes, as in ``class_path``.
        """
        used: dict[str, str] = {}
        named = {path.replace(":", ".").rpartition(".")[0] for text in texts for path in _IMPORT_PATH.findall(text)}
        waiting, seen, evaluations = [*modules, *named], set(_LEFT_OUT), set()
        while waiting or (evaluations and _RESOLVER in used):
            if not waiting:
                waiting, evaluations = [part for name in evaluations for part in _prefixes(name)], set()
            module = waiting.pop()
            file = None if module in seen else self._file(module)
            seen.add(module)
            if file is None or (module not in named and _is_installed(module, file)):
                continue
            source = _read(file, file.stat().st_mtime_ns, module)
            # reporting writes and draws what others have computed: it is followed, but does not count
            if module != "cjepa.reporting" and not module.startswith("cjepa.reporting."):
                used[module] = source.digest
            evaluations.update(source.evaluations)
            for name in (module, *source.imports):  # its packages run before it does
                waiting += _prefixes(name)
            if source.whole_package:
                waiting += (f"{module.rpartition('.')[0]}.{other.stem}" for other in file.parent.glob("*.py"))
        return dict(sorted(used.items()))

    def _file(self, module: str) -> Path | None:
        """Where the source of a module is; neither the module nor its packages are imported."""
        origin = getattr(self._spec(module), "origin", None) or ""
        return Path(origin) if origin.endswith(".py") else None

    def _spec(self, module: str) -> Any:
        if module not in self._specs:
            package, _, _ = module.rpartition(".")
            if package:
                places = getattr(self._spec(package), "submodule_search_locations", None)
                self._specs[module] = None if places is None else PathFinder.find_spec(module, places)
            else:
                self._specs[module] = _top_level_spec(module)
        return self._specs[module]


def _top_level_spec(module: str) -> Any:
    if module in sys.stdlib_module_names:
        return None
    try:
        return find_spec(module)
    except (ImportError, ValueError):  # of a module without a specification, such as __main__
        return None


def _is_installed(module: str, file: Path) -> bool:
    return not module.startswith("cjepa.") and not _INSTALLED.isdisjoint(file.parts)


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


@functools.cache
def _read(file: Path, mtime_ns: int, module: str) -> Source:
    """``mtime_ns`` is there so that a changed file is read again."""
    tree, digest = read_code(file)
    if tree is None:  # its stage will say so
        return Source(digest, frozenset(), frozenset(), False)
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    nodes = list(_walk(tree))
    evaluations = frozenset(name for node in nodes for name in _evaluations(node))
    names = frozenset(name for node in nodes for name in _names(node, package.split("."))) - evaluations
    whole = any(isinstance(node, ast.Attribute) and node.attr == "iter_modules" for node in nodes)
    return Source(digest, names, evaluations, whole)


def _walk(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING``, which imports nothing when the code runs."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        waiting += ast.iter_child_nodes(node)


def _names(node: ast.AST, package: list[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else []
        module = ".".join([*base, *([node.module] if node.module else [])])
        yield from (f"{module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("cjepa."):
        if _IMPORT_PATH.fullmatch(node.value):
            yield node.value.replace(":", ".")


def _evaluations(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        if any(isinstance(target, ast.Name) and target.id == "evaluation" for target in node.targets):
            yield node.value.value.replace(":", ".")
