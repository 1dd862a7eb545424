"""Executors for tests: one that counts commands instead of running them, and one that runs them in this process."""

import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cjepa.cli import main
from cjepa.command_result import OUTCOME_FILE
from cjepa.errors import UserError
from cjepa.studies.executors import Executor, Job, Outcome
from cjepa.studies.resources import Machine, Share


def done() -> Outcome:
    """A command that did its work."""
    return Outcome(0, "", "", 1.5, 120.0)


def failure(error: BaseException) -> Outcome:
    """What the command line makes of an error."""
    if isinstance(error, UserError):
        return Outcome(2, str(error), "", 0.1, 100.0)
    return Outcome(1, f"{type(error).__name__}: {error}", f"Traceback of {error!r}", 0.1, 100.0)


class Ended(Job):
    """A command that has ended before anybody looks.

    Args:
        outcome: how.
    """

    def __init__(self, outcome: Outcome):
        self._outcome = outcome

    def outcome(self) -> Outcome:
        return self._outcome

    def interrupt(self) -> None:
        raise AssertionError("it has ended")


class FakeExecutor(Executor):
    """Keeps the command lines, and leaves a file and a row of results in the folder of each stage.

    Args:
        home: of the study.

    ``meanwhile`` is called with the name of each stage while it runs.
    """

    def __init__(self, home: Path):
        self.home = home
        self.ran: dict[str, list[str]] = {}
        self.outputs: dict[str, Path | None] = {}
        self.failing: dict[str, BaseException] = {}
        self.faults: dict[str, str] = {}
        self.cpus = 1
        self.meanwhile = lambda name: None

    def machines(self) -> list[Machine]:
        return [Machine(self.cpus, 0, 16)]

    def option_faults(self, lines: Sequence[list[str]]) -> list[str]:
        return [self.faults.get(line[0], "") for line in lines]

    def start(self, words: list[str], share: Share, output: Path | None = None) -> Job:
        # the stage is the one that has just begun
        records = [path for path in self.home.glob("*/stage.json") if "." not in path.parent.name]
        begun = [path for path in records if "seconds" not in path.read_text() and path.parent.name not in self.ran]
        folder = max(begun, key=lambda path: path.stat().st_mtime_ns).parent
        self.ran[folder.name] = words
        self.outputs[folder.name] = output
        self.meanwhile(folder.name)
        (folder / "made.txt").write_text(" ".join(words))
        error = self.failing.get(folder.name)
        if isinstance(error, Exception):
            return Ended(failure(error))
        if error is not None:
            raise error
        row = {"metric": "success", "model": folder.name, "value": 0.5, "low": 0.1, "high": 0.9, "n": 4, "unit": "rate"}
        (folder / "results.json").write_text(json.dumps([row]))
        return Ended(done())


class InProcess(Executor):
    """Runs commands as a process of their own would, without starting one."""

    def option_faults(self, lines: Sequence[list[str]]) -> list[str]:
        return [""] * len(lines)

    def start(self, words: list[str], share: Share, output: Path | None = None) -> Job:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            os.environ[OUTCOME_FILE] = str(Path(folder) / "outcome.json")
            code = main(words)
            outcome = json.loads((Path(folder) / "outcome.json").read_text())
        return Ended(Outcome(code, **outcome, seconds=time.monotonic() - started, peak_memory_mb=200.0))
