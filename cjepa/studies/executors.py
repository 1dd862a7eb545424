"""Where the commands of a study run: on this machine, each in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

from cjepa.command_result import OUTCOME_FILE
from cjepa.data.workers import CORES

_LAUNCHER = Path(__file__).with_name("launcher.py")


class Outcome(NamedTuple):
    """How a command ended."""

    exit_code: int
    """0 done; negative: the signal that ended it."""
    error: str
    """One line; empty if it is done."""
    traceback: str
    """Of an error that is not the user's; else empty."""
    seconds: float
    """Wall time."""
    peak_memory_mb: float
    """Largest resident memory, in MiB, of its process or of one of the processes that it started."""


class Job(ABC):
    """A command that an executor has started."""

    @abstractmethod
    def outcome(self) -> Outcome | None:
        """How the command ended; None while it runs."""

    @abstractmethod
    def interrupt(self) -> None:
        """Ask the command to end, as Ctrl-C does. The second call asks more firmly, the third one kills it."""


class Executor(ABC):
    """Starts command lines of ``cjepa``; all executors see the same files."""

    @abstractmethod
    def start(self, words: list[str], cores: int | None = None, output: Path | None = None) -> Job:
        """Start one command line and return at once.

        Args:
            words: of the command, without the program's name.
            cores: that the command may use; None: all.
            output: file for what the command shows; None: it shows it here.
        """


class LocalProcesses(Executor):
    """A process on this machine for every command, with the environment of this one.

    Nothing that a command sets (threads, seeds, environment variables) reaches another. The command ends with this
    process, however this process ends.
    """

    def start(self, words: list[str], cores: int | None = None, output: Path | None = None) -> Job:
        """Start one command line, see :class:`Executor`."""
        return _Process(words, cores, output)


class _Process(Job):
    def __init__(self, words: list[str], cores: int | None, output: Path | None):
        self._started = time.monotonic()
        self._harder = iter((signal.SIGINT, signal.SIGTERM, signal.SIGKILL))
        self._outcome: Outcome | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="cjepa-")
        self._told, self._measured = (Path(self._folder.name) / name for name in ("outcome.json", "measured.json"))
        command = [sys.executable, "-m", "cjepa.cli", *words]
        # what can be imported here can be imported there, and nothing else
        path = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"}
        share = {} if cores is None else {"OMP_NUM_THREADS": str(cores), CORES: str(cores)}
        environment = os.environ | path | share | {OUTCOME_FILE: str(self._told)}
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(self._measured), *command]
        # A group of its own: an interrupt reaches the command once, from here, whoever sent it. The launcher ends
        # the group when its input closes, which it does when this process ends.
        options: dict[str, Any] = {"stdin": subprocess.PIPE, "env": environment, "process_group": 0}
        if output is None:
            self._process = subprocess.Popen(launcher, **options)
        else:
            with output.open("wb") as file:
                self._process = subprocess.Popen(launcher, stdout=file, stderr=subprocess.STDOUT, **options)

    def outcome(self) -> Outcome | None:
        """See :class:`Job`."""
        if self._outcome is None and self._process.poll() is not None:
            self._process.stdin.close()
            found = _read(self._measured) or {"exit_code": self._process.returncode, "peak_memory_mb": 0.0}
            told = _read(self._told) or {"error": _silent_end(found["exit_code"]), "traceback": ""}
            self._folder.cleanup()
            self._outcome = Outcome(**found, **told, seconds=time.monotonic() - self._started)
        return self._outcome

    def interrupt(self) -> None:
        """See :class:`Job`."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, next(self._harder, signal.SIGKILL))


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def _silent_end(exit_code: int) -> str:
    if exit_code == 130 or exit_code == -signal.SIGINT:
        return "it was interrupted"
    if exit_code < 0:
        reason = "; the system may have run out of memory" if exit_code == -signal.SIGKILL else ""
        return f"it was ended by {signal.Signals(-exit_code).name}{reason}"
    return f"it ended with exit code {exit_code} before its work was done"
