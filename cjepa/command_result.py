"""What every verb gives back to the command line."""

from typing import NamedTuple

OUTCOME_FILE = "CJEPA_OUTCOME_FILE"
"""Environment variable: the JSON file into which a command writes how it ended, instead of showing it."""
OPTIONS_FILE = "CJEPA_OPTIONS_FILE"
"""Environment variable: a JSON file of command lines; what is wrong with the options of each replaces them."""


class CommandResult(NamedTuple):
    """What a command made, and what to type next."""

    lines: list[str]
    table: list[list[str]] | None = None
    next_command: str | None = None
    failed: bool = False
    """A check found a fault: exit code 1."""
