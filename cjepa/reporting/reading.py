"""Records that are read back: their shape is checked here, once, for whoever shows them."""

from pathlib import Path
from types import NoneType
from typing import Any

from cjepa.errors import UserError
from cjepa.files import read_json
from cjepa.reporting.tables import Row

_NUMBER = (int, float)
_RUN = {"git": (dict,), "versions": (dict,), "command": (str,)}
_STUDY = {"name": (str,), "description": (str,), "stages": (list,)}
_STAGE = {"name": (str,), "folder": (str,), "command": (str,), "depends_on": (list,)}
_STAGE |= {"seconds": _NUMBER, "peak_memory_mb": _NUMBER, "cached": (bool,)}
_ROW = {name: (str,) for name in ("metric", "model", "unit", "split", "run", "git")}
_ROW |= {name: _NUMBER for name in ("value", "low", "high", "n", "tokens", "token_dim")}


def read_run(path: Path) -> dict[str, Any]:
    """``run.json``.

    Raises:
        UserError: missing, not JSON, or of another shape than a record of a run.
    """
    record = read_json(path)
    _check(path, "the record", record, _RUN, ())
    return record


def read_study(path: Path) -> dict[str, Any]:
    """``study.json``; the folders of its stages are inside of the study.

    Raises:
        UserError: missing, not JSON, or of another shape than a study.
    """
    study = read_json(path)
    _check(path, "the study", study, _STUDY, ("stages",))
    for number, stage in enumerate(study["stages"]):
        where = f"stage {number}"
        _check(path, where, stage, _STAGE, ("name",))
        folder = stage.get("folder") or stage["name"]
        if Path(folder).name != folder or folder == "..":
            raise UserError(f"{path}: {where}: {folder!r} is not the name of a folder of the study")
        if not all(isinstance(name, str) for name in stage.get("depends_on") or []):
            raise UserError(f"{path}: {where}: depends_on is not a list of names")
    return study


def read_rows(path: Path) -> list[Row]:
    """``results.json`` or another file of result rows.

    Raises:
        UserError: missing, not JSON, or not a list of rows with metric and model.
    """
    rows = read_json(path)
    if not isinstance(rows, list):
        raise UserError(f"{path}: not a list of result rows")
    for number, row in enumerate(rows):
        _check(path, f"row {number}", row, _ROW, ("metric", "model"))
    return rows


def _check(path: Path, where: str, entry: Any, types: dict[str, tuple[type, ...]], required: tuple[str, ...]) -> None:
    if not isinstance(entry, dict):
        raise UserError(f"{path}: {where} is not a mapping")
    for key, kinds in types.items():
        value = entry.get(key)
        allowed = kinds if key in required else (*kinds, NoneType)
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in kinds):
            names = " or ".join(kind.__name__ for kind in kinds)
            raise UserError(f"{path}: {where}: {key} is {repr(value)[:60]}, expected {names}")
