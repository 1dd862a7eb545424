"""Results that are no longer those of what they name: the data, the model or the code has changed since."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cjepa.data.store.shards import open_episodes
from cjepa.errors import UserError
from cjepa.files import file_digest
from cjepa.reporting.code_record import changed_code

_MOST_MODULES = 3


class Stale(NamedTuple):
    """A result that should be measured again."""

    name: str
    """Of the run or the stage."""
    reasons: list[str]
    command: str
    """That repeats it."""


def stale(name: str, record: Mapping[str, Any]) -> Stale | None:
    """What has changed since a result was measured; None if nothing is known to have.

    Files that are not where the record says are not compared: a report may be read on another machine.

    Args:
        name: of the run or the stage.
        record: its ``run.json``.
    """
    reasons = [*_data(record.get("data") or {}), *_model(record.get("model") or {}), *_code(record.get("code") or {})]
    return Stale(name, reasons, str(record.get("command") or "")) if reasons else None


def _data(data: Mapping[str, Any]) -> list[str]:
    path, recorded = data.get("path"), data.get("fingerprint")
    if not path or not recorded:
        return []
    try:
        now = open_episodes(Path(path)).fingerprint
    except (UserError, OSError):
        return []
    return [] if now == recorded else [f"data {path}"]


def _model(model: Mapping[str, Any]) -> list[str]:
    path, recorded = model.get("checkpoint"), model.get("checkpoint_digest")
    if not path or not recorded or not Path(path).is_file():
        return []
    return [] if file_digest(Path(path)) == recorded else [f"model {path} (with its tokenizer)"]


def _code(code: Mapping[str, Any]) -> list[str]:
    """Changed modules, by the part of the package that they are in."""
    parts: dict[str, list[str]] = {}
    for module in changed_code(code):
        parts.setdefault(module.split(".")[1], []).append(module)
    return [f"code of {part}: {_listed(modules)}" for part, modules in parts.items()]


def _listed(modules: list[str]) -> str:
    more = len(modules) - _MOST_MODULES
    return ", ".join(modules[:_MOST_MODULES]) + (f" and {more} more" if more > 0 else "")
