"""Where modules and classes are looked for that are named by their import path, not imported at the top of a file."""

import importlib
import os
import sys
from types import ModuleType

from cjepa.errors import UserError

HOW_TO_FIND = "install the package, or type the command in the folder that holds it"
"""What to do about a class that cannot be imported."""


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
