"""What every verb gives back to the command line."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class CommandResult(NamedTuple):
    """What a command made, and what to type next."""

    lines: list[str]
    table: list[list[str]] | None = None
    next_command: str | None = None
    failed: bool = False
    """A check found a fault: exit code 1."""


def experiments_of(attributes: Mapping[str, Any]) -> str:
    """The folder of YAMLs for episodes: ``experiments/collide`` for ``cjepa/Collide-v0``, else Push-T's."""
    namespace, _, name = str(attributes.get("env_id", "")).partition("/")
    return f"experiments/{name.partition('-')[0].lower() if namespace == 'cjepa' else 'pusht'}"
