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


class Executor(ABC):
    """Runs command lines of ``cjepa``; all executors see the same files."""

    @abstractmethod
    def run(self, words: list[str]) -> Outcome:
        """Run one command line to its end.

        Args:
            words: of the command, without the program's name.

        Raises:
            KeyboardInterrupt: the user has interrupted it; the command has ended.
        """


class LocalProcesses(Executor):
    """A process on this machine for every command, with the environment and the terminal of this one.

    Nothing that a command sets (threads, seeds, environment variables) reaches another. The command ends with this
    process, however this process ends.
    """

    def run(self, words: list[str]) -> Outcome:
        """Run one command line, see :class:`Executor`."""
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="cjepa-") as folder:
            told, measured = Path(folder) / "outcome.json", Path(folder) / "measured.json"
            command = [sys.executable, "-m", "cjepa.cli", *words]
            # what can be imported here can be imported there, and nothing else
            path = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"}
            environment = os.environ | path | {OUTCOME_FILE: str(told)}
            launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(measured), *command]
            # A group of its own: an interrupt reaches the command once, from here, whoever sent it. The launcher ends
            # the group when its input closes, which it does when this process ends.
            process = subprocess.Popen(launcher, stdin=subprocess.PIPE, env=environment, process_group=0)
            _wait(process)
            found = _read(measured) or {"exit_code": process.returncode, "peak_memory_mb": 0.0}
            outcome = _read(told) or {"error": _silent_end(found["exit_code"]), "traceback": ""}
        return Outcome(**found, **outcome, seconds=time.monotonic() - started)


def _wait(process: subprocess.Popen) -> None:
    """Wait for a process; an interrupt goes to it first, and is raised when it has ended. The third one kills it."""
    interrupt: KeyboardInterrupt | None = None
    for harder in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            process.wait()
            break
        except KeyboardInterrupt as error:
            interrupt = error
            os.killpg(process.pid, harder)
    process.wait()
    process.stdin.close()
    if interrupt is not None:
        raise interrupt


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def _silent_end(exit_code: int) -> str:
    if exit_code == 130 or exit_code == -signal.SIGINT:
        return "it was interrupted"
    if exit_code < 0:
        reason = "; the system may have run out of memory" if exit_code == -signal.SIGKILL else ""
        return f"it was ended by {signal.Signals(-exit_code).name}{reason}"
    return f"it ended with exit code {exit_code} before its work was done"
