"""Where classes are looked for that a command line, a YAML or a checkpoint names by their import path."""

import os
import sys

HOW_TO_FIND = "install the package, or type the command in the folder that holds it"
"""What to do about a class that cannot be imported."""


def look_in_current_folder() -> None:
    """Let modules in the current folder be imported, behind everything that is installed.

    `python` does so by itself for its scripts, the installed program `cjepa` does not.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
