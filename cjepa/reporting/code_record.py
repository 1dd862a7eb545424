"""Which code of the package a result was computed with, and what of it has changed since."""

import ast
import functools
import hashlib
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import cjepa

_PACKAGE = Path(cjepa.__file__).parent
_COMPUTES = ("envs", "data", "tokenizers", "world_models", "policies", "planning", "interventions", "evaluation")
_COMPUTES += ("questions", "optim", "types")
"""Parts of the package that decide numbers; the others read, show or write."""

_BEGUN_NS = time.time_ns()
"""When this process began, about."""
_EDITED = "edited while it ran"
_MODULE = re.compile(r"cjepa(\.\w+)+")


def loaded_code() -> dict[str, str]:
    """Module -> digest of its code, of all modules that this process has loaded and that decide numbers.

    The files are read now. Of a module whose file was written while the process ran, nobody knows what it was: it
    gets no digest but :data:`_EDITED`, and counts as changed.
    """
    names = sorted(name for name in sys.modules if name.startswith("cjepa.") and name.split(".")[1] in _COMPUTES)
    files = {name: file for name in names if (file := _file(name)) is not None}
    return {name: _digest_of(file) if file.stat().st_mtime_ns < _BEGUN_NS else _EDITED for name, file in files.items()}


def changed_code(recorded: Mapping[str, str]) -> list[str]:
    """The modules of an earlier :func:`loaded_code` whose code is another one now, or gone."""
    return [name for name, digest in recorded.items() if _MODULE.fullmatch(name) and _digest_now(name) != digest]


def _digest_now(module: str) -> str | None:
    """None if there is no such file."""
    file = _file(module)
    return None if file is None else _digest_of(file)


def _file(module: str) -> Path | None:
    stem = _PACKAGE.joinpath(*module.split(".")[1:])
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


def _digest_of(file: Path) -> str:
    return code_digest(file, file.stat().st_mtime_ns)


@functools.cache
def code_digest(file: Path, mtime_ns: int) -> str:
    """Of what a file of Python does: without comments, docstrings and layout.

    Args:
        file: of the code.
        mtime_ns: when it was written, so that a changed file is read again.
    """
    return read_code(file)[1]


def read_code(file: Path) -> tuple[ast.Module | None, str]:
    """The code of a file without docstrings, None where it is no Python code; and its :func:`code_digest`."""
    content = file.read_bytes()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # the latter of zero bytes
        return None, hashlib.sha256(content).hexdigest()[:12]
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [entry for entry in body if not _is_text(entry)]
    return tree, hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
