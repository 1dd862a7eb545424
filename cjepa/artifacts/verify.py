"""Check every file of a data set, a checkpoint, a run or a study: complete and undamaged?"""

import csv
import zipfile
from collections.abc import Callable
from pathlib import Path

from cjepa.artifacts.inspect import kind_of
from cjepa.checkpoints import WEIGHTS, check_finite, find_checkpoint, read_checkpoint
from cjepa.configuration.run_config import read_config
from cjepa.data.store.parts import PARTS
from cjepa.data.store.verify import verify_data
from cjepa.errors import UserError
from cjepa.files import read_json
from cjepa.pictures import open_picture
from cjepa.progress import NoProgress, Progress
from cjepa.reporting.reading import TEST_RESULTS, read_rows, read_run, read_study
from cjepa.reporting.records import result_row
from cjepa.tensor_files import load_tensors

_RUN_KEYS = ("model", "objective", "data", "evaluation", "actions", "uncertainty", "versions", "git", "command")
_CONFIG_KEYS = ("seed_everything", "trainer", "model", "data")
_CHECKPOINT_KEYS = ("global_step", "pytorch-lightning_version")
_ROW_KEYS = tuple(result_row("", 0.0, model=""))
_FIT_FILES = ("config.yaml", "metrics.csv", "checkpoints/last.ckpt")


def verify_path(path: Path, progress: Progress) -> str | None:
    """Look at everything there is.

    Args:
        path: data set, checkpoint, or folder of a run or a study.
        progress: advanced by the share just checked.

    Returns:
        The first fault, with the file and, in a data file, episode and column; None if there is none.

    Raises:
        UserError: there is nothing, or nothing that this project knows.
    """
    kind = kind_of(path)
    if kind == "data":
        return verify_data(path, progress)
    if kind == "checkpoint":
        try:
            fault = _checkpoint_fault(find_checkpoint(str(path)))
        except UserError as error:
            if not path.exists():
                raise
            fault = str(error)
        progress.advance(1.0)
        return fault
    files = sorted(file for file in path.rglob("*") if file.is_file() and not _unfinished(file.relative_to(path)))
    for file in files:
        fault = _file_fault(file)
        if fault is not None:
            return fault if fault.startswith(str(file)) else f"{file}: {fault}"
        progress.advance(1 / len(files))
    return None


def _unfinished(path: Path) -> bool:
    return ".partial" in path.suffixes or any(part.endswith(PARTS) for part in path.parts)


def _file_fault(path: Path) -> str | None:
    check = _BY_NAME.get(path.name) or _BY_SUFFIX.get(path.suffix)
    try:
        return check(path) if check else None
    except UserError as error:
        return str(error)


def _checkpoint_fault(path: Path) -> str | None:
    content = read_checkpoint(path)
    if missing := [key for key in _CHECKPOINT_KEYS if key not in content]:
        return f"{path}: the key {missing[0]!r} is missing"
    if path.suffix == ".ckpt" and (damaged := zipfile.ZipFile(path).testzip()):
        return f"{path}: its entry {damaged} is damaged"
    check_finite(content, path)
    return None


def _run_fault(path: Path) -> str | None:
    record = read_run(path)
    if missing := _missing(record, _RUN_KEYS):
        return missing
    exported = (path.parent / WEIGHTS).is_file()
    tested = (record["evaluation"] or {}).get("split") == "test" and (path.parent / TEST_RESULTS).is_file()
    expected = [] if tested else ["results.json"]
    expected += _FIT_FILES if "optimizer_steps" in (record["model"] or {}) and not exported else []
    absent = [name for name in expected if not (path.parent / name).is_file()]
    return f"{path.parent / absent[0]}: missing from the run" if absent else None


def _results_fault(path: Path) -> str | None:
    faults = (f"row {n}: {fault}" for n, row in enumerate(read_rows(path)) if (fault := _missing(row, _ROW_KEYS)))
    return next(faults, None)


def _config_fault(path: Path) -> str | None:
    return _missing(read_config(path), _CONFIG_KEYS)


def _missing(content: dict, keys: tuple[str, ...]) -> str | None:
    return next((f"the key {key!r} is missing" for key in keys if key not in content), None)


def _json_fault(path: Path) -> str | None:
    read_json(path)
    return None


def _table_fault(path: Path) -> str | None:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file, strict=True)
    except (ValueError, csv.Error) as error:
        return f"not a table ({error})"
    return next((f"line {n}: {len(row)} cells, expected {len(header)}" for n, row in enumerate(rows, 2)
                 if len(row) != len(header)), None)  # fmt: skip


def _study_fault(path: Path) -> str | None:
    read_study(path)
    return None


def _tensors_fault(path: Path) -> str | None:
    load_tensors(path)
    return None


def _picture_fault(path: Path) -> str | None:
    with open_picture(str(path), path) as picture:
        picture.load()
    return None


def _video_fault(path: Path) -> str | None:
    """MP4 is a row of boxes, each with its size in front; the last one ends where the file does."""
    content = path.read_bytes()
    place, names = 0, []
    while place + 8 <= len(content):
        size = int.from_bytes(content[place : place + 4])
        names.append(content[place + 4 : place + 8])
        place += max(size, 8)
    whole = place == len(content) and {b"ftyp", b"moov", b"mdat"} <= set(names)
    return None if whole else "MP4 file is incomplete"


_BY_NAME: dict[str, Callable[[Path], str | None]] = {
    "run.json": _run_fault,
    "results.json": _results_fault,
    TEST_RESULTS: _results_fault,
    "study.json": _study_fault,
    "config.yaml": _config_fault,
}
_BY_SUFFIX: dict[str, Callable[[Path], str | None]] = {
    ".ckpt": _checkpoint_fault,
    ".safetensors": _checkpoint_fault,
    ".csv": _table_fault,
    ".h5": lambda path: verify_data(path, NoProgress()),
    ".json": _json_fault,
    ".mp4": _video_fault,
    ".png": _picture_fault,
    ".pt": _tensors_fault,
}
