"""Which code of the package a result was computed with, and what of it has changed since."""

import ast
import functools
import hashlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import cjepa

_PACKAGE = Path(cjepa.__file__).parent
_COMPUTES = ("envs", "data", "tokenizers", "world_models", "policies", "planning", "interventions", "evaluation")
_COMPUTES += ("questions", "optim", "types")
"""Parts of the package that decide numbers; the others read, show or write."""

_MODULE = re.compile(r"cjepa(\.\w+)+")


def loaded_code() -> dict[str, str]:
    """Module -> digest of its code, of all modules that this process has loaded and that decide numbers.

    The files are read now: a module that was edited while the process ran has the digest of the edited file.
    """
    names = sorted(name for name in sys.modules if name.startswith("cjepa.") and name.split(".")[1] in _COMPUTES)
    return {name: digest for name in names if (digest := _digest_now(name)) is not None}


def changed_code(recorded: Mapping[str, str]) -> list[str]:
    """The modules of an earlier :func:`loaded_code` whose code is another one now, or gone."""
    return [name for name, digest in recorded.items() if _MODULE.fullmatch(name) and _digest_now(name) != digest]


def _digest_now(module: str) -> str | None:
    """None if there is no such file."""
    stem = _PACKAGE.joinpath(*module.split(".")[1:])
    file = next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)
    return None if file is None else code_digest(file, file.stat().st_mtime_ns)


@functools.cache
def code_digest(file: Path, mtime_ns: int) -> str:
    """Of what a file of Python does: without comments, docstrings and layout.

    Args:
        file: of the code.
        mtime_ns: when it was written, so that a changed file is read again.
    """
    content = file.read_bytes()
    try:
        tree = ast.parse(content)
    except SyntaxError:
        return hashlib.sha256(content).hexdigest()[:12]
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [entry for entry in body if not _is_text(entry)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
