"""Where modules and classes are looked for that are named by their import path, not imported at the top of a file."""

import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Collection, Iterable
from types import ModuleType
from typing import Any, get_args

from cjepa.errors import UserError

HOW_TO_FIND = "install the package, or type the command in the folder that holds it"
"""What to do about a class that cannot be imported."""

_WITH_CHOICES = ("envs", "tokenizers", "world_models", "policies", "language", "planning", "evaluation", "questions")


def asks_for_help(words: Collection[str]) -> bool:
    """Whether a command line asks for the help of its command, or of a class that one of its options takes."""
    return any(word in ("-h", "--help") or word.partition("=")[0].endswith(".help") for word in words)


def import_choices(folders: Iterable[str] = _WITH_CHOICES) -> None:
    """Import the classes of the package that an option may name: the parser's help lists only what is imported.

    Args:
        folders: of the package, whose modules are imported.
    """
    for folder in folders:
        package = importlib.import_module(f"cjepa.{folder}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def folders_of(annotation: Any) -> set[str]:
    """The folders of the package that the classes in a type are from."""
    folders = set().union(*map(folders_of, get_args(annotation)))
    if inspect.isclass(annotation) and annotation.__module__.startswith("cjepa."):
        folders.add(annotation.__module__.split(".")[1])
    return folders


def look_in_current_folder() -> None:
    """Let modules in the current folder be imported, behind everything that is installed.

    `python` does so by itself for its scripts, the installed program `cjepa` does not.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def optional(module: str, extra: str) -> ModuleType:
    """A library that is not among the core dependencies.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(f"{module} is not installed; type: pip install 'cjepa[{extra}]'") from None
