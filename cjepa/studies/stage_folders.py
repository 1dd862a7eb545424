"""Folders of stages: what counts as done, and room for a stage without deleting what anybody made.

A study deletes only the three files that it writes into a stage's folder itself. Everything else is renamed.
"""

import itertools
import os
from pathlib import Path
from typing import Any, NamedTuple

from cjepa.data.store.parts import PARTS
from cjepa.errors import UserError
from cjepa.files import read_json, write_json
from cjepa.studies.keys import MadeFrom

TRACEBACK = "traceback.txt"
OUTPUT = "output.txt"
"""What a stage that ran beside others has shown."""
NEW, UNFINISHED = "new", "not finished"
"""Why a stage runs that has not run before, or has not come to its end."""
_RECORD = "stage.json"
_OWN_FILES = {_RECORD, TRACEBACK, OUTPUT}


class StageFolder(NamedTuple):
    """The folder of a stage.

    Args:
        path: of the folder.
        study: name of the study.
        made_from: all that decides what the stage makes.
    """

    path: Path
    study: str
    made_from: MadeFrom

    @property
    def key(self) -> str:
        """Of all that decides what the stage makes."""
        return self.made_from.key

    def finished(self) -> dict[str, Any] | None:
        """The record of this very stage if it is done, here or where it was set aside; None if it is not.

        The record is written by the study after the command has reported that its work is done; nothing else counts.
        """
        places = (self.path, self._aside())
        return next((found for place in places if (found := _finished(place, self.study, self.key))), None)

    def bring_back(self) -> None:
        """Put this very stage into its place, if it is finished and was set aside."""
        if not _finished(self.path, self.study, self.key) and _finished(self._aside(), self.study, self.key):
            _set_aside(self.path, self.study)
            self._aside().rename(self.path)

    def replace(self) -> None:
        """Rename this very stage, if it is finished, so that it counts as done no longer."""
        for place in (self.path, self._aside()):
            if _finished(place, self.study, self.key):
                set_aside(place, "replaced")

    def why_to_run(self) -> str:
        """Why a stage that is not finished has to run: what has changed since, or that it is new."""
        record = _record(self.path, self.study)
        if not record:
            return NEW
        if record["key"] == self.key:
            return UNFINISHED
        return self.made_from.changes(record.get("made_from"))

    def earlier(self) -> dict[str, Any] | None:
        """The record of any stage of this name that is finished here; None if there is none."""
        record = _record(self.path, self.study)
        return record if "seconds" in record else None

    def begin(self) -> Path | None:
        """Make an empty folder, but for finished parts of a collection that this very stage has begun.

        Returns:
            Where the folder is now that was in the way; None if there was nothing.
        """
        record = _record(self.path, self.study)
        aside = None
        if os.path.lexists(self.path):
            resumed = self._parts() if record.get("key") == self.key else []
            own = _OWN_FILES if record else set()
            if not self.path.is_dir() or {path.name for path in self.path.iterdir()} - own - {p.name for p in resumed}:
                aside = _set_aside(self.path, self.study)
                self.path.mkdir()
                for part in resumed:
                    (aside / part.name).rename(part)
        self.path.mkdir(parents=True, exist_ok=True)
        for name in (TRACEBACK, OUTPUT):
            (self.path / name).unlink(missing_ok=True)
        write_json(self.path / _RECORD, self._mark())
        return aside

    def finish(self, record: dict[str, Any]) -> None:
        """Write that the stage is done, with its record."""
        write_json(self.path / _RECORD, self._mark() | record)

    def _mark(self) -> dict[str, Any]:
        made_from = self.made_from._asdict()
        return {"format": "cjepa-stage", "study": self.study, "key": self.key, "made_from": made_from}

    def _parts(self) -> list[Path]:
        return [path for path in self.path.iterdir() if path.suffix == PARTS and path.is_dir()]

    def _aside(self) -> Path:
        return self.path.with_name(f"{self.path.name}.{self.key[:8]}")


def set_aside(path: Path, ending: str) -> Path:
    """Rename a file or folder to ``NAME.ENDING``, with a number behind it if that exists."""
    for number in itertools.count(1):
        aside = path.with_name(f"{path.name}.{ending}{'' if number == 1 else f'-{number}'}")
        if not os.path.lexists(aside):
            path.rename(aside)
            return aside
    raise AssertionError


def _set_aside(path: Path, study: str) -> Path | None:
    """Named after the configuration if it is finished; None if nothing is there."""
    if not os.path.lexists(path):
        return None
    record = _record(path, study)
    if "seconds" in record:
        return set_aside(path, record["key"][:8])
    return set_aside(path, "unfinished" if record else "set-aside")


def _finished(path: Path, study: str, key: str) -> dict[str, Any] | None:
    record = _record(path, study)
    return record if record.get("key") == key and "seconds" in record else None


def _record(path: Path, study: str) -> dict[str, Any]:
    """What the study has written into the folder; empty if the folder does not have its mark."""
    try:
        record = read_json(path / _RECORD)
    except UserError:
        return {}
    if not isinstance(record, dict) or (record.get("format"), record.get("study")) != ("cjepa-stage", study):
        return {}
    numbers = [record.get(name, 0) for name in ("seconds", "peak_memory_mb", "started", "cores", "jobs")]
    names = record.get("beside", [])
    sound = isinstance(record.get("key"), str) and all(isinstance(number, int | float) for number in numbers)
    sound = sound and isinstance(names, list) and all(isinstance(name, str) for name in names)
    return record if sound else {}
