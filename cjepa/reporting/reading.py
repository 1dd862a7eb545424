"""Records that are read back: their shape is checked here, once, for whoever shows them."""

import re
from pathlib import Path
from typing import Any

from cjepa.configuration.plain_values import NUMBER, check_mapping
from cjepa.errors import UserError
from cjepa.files import read_json
from cjepa.reporting.tables import ERROR_PREFIX, Row

TEST_RESULTS = "results_test.json"
"""Rows like those of ``results.json``, of the test split, beside it: training's results are never replaced."""

_LARGEST = 1e15
"""Of a number in a record; figures cannot be drawn far beyond."""
_RUN = dict.fromkeys(("git", "versions", "model", "data", "evaluation", "objective", "actions", "code"), (dict,))
_RUN |= {"failures": (list,), "command": (str,), "finished": (str,), "machine": (str,)}
_RUN |= {"seconds": NUMBER, "peak_memory_mb": NUMBER}
_GIT = {"commit": (str,), "dirty": (bool,)}
_TRAINED = {"class": (str,), "parameters": NUMBER, "optimizer_steps": NUMBER}
_MODEL = _TRAINED | {"checkpoint": (str,), "checkpoint_digest": (str,)}
_DATA = {"fingerprint": (str,), "path": (str,), "episodes": (dict,)}
_STUDY = {"name": (str,), "description": (str,), "typed": (str,), "stages": (list,), "missing": (list,)}
_STAGE = dict.fromkeys(("name", "folder", "command", "typed", "series"), (str,)) | {"depends_on": (list,)}
_STAGE |= {"seconds": NUMBER, "peak_memory_mb": NUMBER, "cached": (bool,)}
_STAGE |= {"started": NUMBER, "cores": (int,), "jobs": (int,), "beside": (list,)}
_COUNTS = ("n", "episodes", "tokens", "token_dim", "goal_env_steps")
_ROW = {name: (str,) for name in ("metric", "model", "unit", "split", "run", "git")}
_ROW |= {name: NUMBER for name in ("value", "low", "high", *_COUNTS)} | {"seed": (int,)}


def read_run(path: Path) -> dict[str, Any]:
    """``run.json``.

    Raises:
        UserError: missing, not JSON, or of another shape than a record of a run.
    """
    record = check_mapping(f"{path}: the record", read_json(path), _RUN)
    for part, types in (("git", _GIT), ("model", _MODEL), ("data", _DATA)):
        check_mapping(f"{path}: {part}", record.get(part) or {}, types)
    _check_numbers(f"{path}: the record", record, ("seconds", "peak_memory_mb"))
    return record


def read_training(path: Path) -> dict[str, Any]:
    """``run.json`` of a training, with all that identifies its model.

    Raises:
        UserError: as :func:`read_run`, or a value is missing.
    """
    record = read_run(path)
    check_mapping(f"{path}: the record", record, _RUN, ("model", "data", "command", "seconds"))
    check_mapping(f"{path}: model", record["model"], _MODEL, tuple(_TRAINED))
    check_mapping(f"{path}: data", record["data"], _DATA, tuple(_DATA))
    return record


def read_study(path: Path) -> dict[str, Any]:
    """``study.json``; the folders of its stages are inside of the study.

    Raises:
        UserError: missing, not JSON, or of another shape than a study.
    """
    study = check_mapping(f"{path}: the study", read_json(path), _STUDY, ("stages",))
    for number, stage in enumerate([*study["stages"], *study.get("missing", [])]):
        where = f"{path}: stage {number}"
        check_mapping(where, stage, _STAGE, ("name",))
        _check_numbers(where, stage, ("seconds", "peak_memory_mb", "started", "cores"))
        folder = stage.get("folder") or stage["name"]
        if Path(folder).name != folder or folder == "..":
            raise UserError(f"{where}: {folder!r} is not the name of a folder of the study")
        for key in ("depends_on", "beside"):
            if not all(isinstance(name, str) for name in stage.get(key) or []):
                raise UserError(f"{where}: {key} is not a list of names")
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
        _check_row(f"{path}: row {number}", row)
    return rows


def read_results(folder: Path) -> list[Row]:
    """The rows of a run folder: of its own split, then of the test split; empty if it has neither file.

    Raises:
        UserError: as :func:`read_rows`.
    """
    paths = [folder / name for name in ("results.json", TEST_RESULTS)]
    return [row for path in paths if path.is_file() for row in read_rows(path)]


def record_of(folder: Path) -> dict[str, Any]:
    """``run.json`` of a folder; empty if there is none.

    Raises:
        UserError: as :func:`read_run`.
    """
    path = folder / "run.json"
    return read_run(path) if path.is_file() else {}


def _check_row(where: str, row: Any) -> None:
    check_mapping(where, row, _ROW, ("metric", "model"))
    _check_numbers(where, row, _COUNTS)
    for key in ("value", "low", "high"):
        if abs(row.get(key) or 0) > _LARGEST or (row.get("unit") == "rate" and not 0 <= (row.get(key) or 0) <= 1):
            expected = "0 to 1" if row.get("unit") == "rate" else f"at most {_LARGEST:g}"
            raise UserError(f"{where}: {key} is {row[key]}, expected {expected}")
    if (row.get("low") is None) != (row.get("high") is None):
        raise UserError(f"{where}: an interval has low and high; one of them is missing")
    if row["metric"].startswith(ERROR_PREFIX) and not re.fullmatch(r"[1-9]\d{0,5}", row["metric"][len(ERROR_PREFIX) :]):
        raise UserError(f"{where}: metric is {row['metric'][:60]!r}, expected {ERROR_PREFIX}BLOCKS")


def _check_numbers(where: str, entry: dict[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        if not 0 <= (entry.get(key) or 0) <= _LARGEST:
            raise UserError(f"{where}: {key} is {entry[key]}, expected 0 to {_LARGEST:g}")
