"""Executors for tests: one that counts commands instead of running them, and one that runs them in this process."""

import json
import os
import tempfile
import time
from pathlib import Path

from cjepa.cli import main
from cjepa.command_result import OUTCOME_FILE
from cjepa.errors import UserError
from cjepa.studies.executors import Executor, Outcome


def done(seconds: float = 1.5, peak_memory_mb: float = 120.0) -> Outcome:
    """A command that did its work."""
    return Outcome(0, "", "", seconds, peak_memory_mb)


def failure(error: BaseException) -> Outcome:
    """What the command line makes of an error."""
    if isinstance(error, UserError):
        return Outcome(2, str(error), "", 0.1, 100.0)
    return Outcome(1, f"{type(error).__name__}: {error}", f"Traceback of {error!r}", 0.1, 100.0)


class FakeExecutor(Executor):
    """Keeps the command lines, and leaves a file and a row of results in the folder of each stage.

    Args:
        home: of the study.
    """

    def __init__(self, home: Path):
        self.home = home
        self.ran: dict[str, list[str]] = {}
        self.failing: dict[str, BaseException] = {}

    def run(self, words: list[str]) -> Outcome:
        # the stage is the one that has just begun
        folders = [path.parent for path in self.home.glob("*/stage.json") if "." not in path.parent.name]
        (folder,) = (path for path in folders if "seconds" not in (path / "stage.json").read_text())
        self.ran[folder.name] = words
        (folder / "made.txt").write_text(" ".join(words))
        error = self.failing.get(folder.name)
        if isinstance(error, Exception):
            return failure(error)
        if error is not None:
            raise error
        row = {"metric": "success", "model": folder.name, "value": 0.5, "low": 0.1, "high": 0.9, "n": 4, "unit": "rate"}
        (folder / "results.json").write_text(json.dumps([row]))
        return done()


class InProcess(Executor):
    """Runs commands as a process of their own would, without starting one."""

    def run(self, words: list[str]) -> Outcome:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            os.environ[OUTCOME_FILE] = str(Path(folder) / "outcome.json")
            code = main(words)
            outcome = json.loads((Path(folder) / "outcome.json").read_text())
        return Outcome(code, **outcome, seconds=time.monotonic() - started, peak_memory_mb=200.0)
