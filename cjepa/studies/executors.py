"""Where the commands of a study run: on this machine, each in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cjepa.command_result import OPTIONS_FILE, OUTCOME_FILE
from cjepa.data.workers import CORES
from cjepa.studies.resources import Machine, Share, this_machine, visible_gpus

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
    lost: bool = False
    """Whether the machine or process that ran it has gone, for which the command is not to blame."""


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

    shows_progress = True
    """Whether a command without an output file shows its progress in this terminal."""
    holds_cpus = True
    """Whether commands that declare CPUs cannot take those of others: their times then stand beside others."""

    def machines(self) -> list[Machine]:
        """That commands can run on."""
        return [this_machine()]

    def option_faults(self, lines: Sequence[list[str]]) -> list[str]:
        """What commands say against their options, a text for each command line; empty where they take them.

        A process of its own reads the options of all, and imports the classes that they name; it runs no command.

        Args:
            lines: without the program's name.
        """
        with tempfile.TemporaryDirectory(prefix="cjepa-") as folder:
            file = Path(folder) / "options.json"
            file.write_text(json.dumps(lines), "utf-8")
            command, environment = [sys.executable, "-m", "cjepa.cli"], _with_our_imports() | {OPTIONS_FILE: str(file)}
            subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
            found = json.loads(file.read_text("utf-8"))
        return found if found != lines else [""] * len(lines)  # what stopped the process will stop its stage, too

    @abstractmethod
    def start(self, words: list[str], share: Share, output: Path | None = None) -> Job:
        """Start one command line and return at once.

        Args:
            words: of the command, without the program's name.
            share: what it gets of a machine.
            output: file for what the command shows; None: it shows it here.
        """


class LocalProcesses(Executor):
    """A process on this machine for every command, with the environment of this one.

    Nothing that a command sets (threads, seeds, environment variables) reaches another. The command ends with this
    process, however this process ends. A command that declares CPUs has cores of its own, and so with GPUs.
    """

    def __init__(self) -> None:
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
        self._free: dict[str, list[Any]] = {"cores": sorted(cores), "gpus": visible_gpus()}

    def start(self, words: list[str], share: Share, output: Path | None = None) -> Job:
        """Start one command line, see :class:`Executor`."""
        cpus, gpus, memory_gb = share.declared
        taken = {"cores": self._take("cores", cpus or 0), "gpus": self._take("gpus", gpus or 0)}
        limits = {"memory_gb": memory_gb, "cores": taken["cores"]}
        environment = {} if share.alone and cpus is None else thread_limits(share.cores)
        if gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(taken["gpus"])
        return CommandProcess(words, limits, environment, output, at_end=lambda: self._give_back(taken))

    def _take(self, kind: str, number: int) -> list[Any]:
        taken, self._free[kind] = self._free[kind][:number], self._free[kind][number:]
        return taken

    def _give_back(self, taken: dict[str, list[Any]]) -> None:
        for kind, names in taken.items():
            self._free[kind] += names


def thread_limits(cores: int) -> dict[str, str]:
    """Environment variables by which numeric libraries and our own workers keep to so many cores."""
    return {"OMP_NUM_THREADS": str(cores), CORES: str(cores)}


class CommandProcess(Job):
    """A command line of ``cjepa`` in a process of this machine.

    Args:
        words: of the command, without the program's name.
        limits: ``memory_gb`` and ``cores``, see launcher.py; what is empty is no limit.
        environment: variables beside those of this process.
        output: file for what the command shows; None: it shows it here.
        at_end: called once, when the end is noticed.
    """

    def __init__(
        self,
        words: list[str],
        limits: dict[str, Any],
        environment: dict[str, str],
        output: Path | None,
        at_end: Callable[[], None] = lambda: None,
    ):
        self._started, self._at_end = time.monotonic(), at_end
        self._harder = iter((signal.SIGINT, signal.SIGTERM, signal.SIGKILL))
        self._outcome: Outcome | None = None
        self._memory_gb = limits.get("memory_gb")
        self._folder = tempfile.TemporaryDirectory(prefix="cjepa-")
        self._told, self._measured = (Path(self._folder.name) / name for name in ("outcome.json", "measured.json"))
        command = [sys.executable, "-m", "cjepa.cli", *words]
        environment = _with_our_imports() | environment | {OUTCOME_FILE: str(self._told)}
        held = json.dumps({name: limit for name, limit in limits.items() if limit})
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(self._measured), held, *command]
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
            passed = found.pop("passed_memory", False)
            end = _too_much_memory(self._memory_gb) if passed else _silent_end(found["exit_code"])
            told = _read(self._told) or {"error": end, "traceback": ""}
            self._folder.cleanup()
            self._outcome = Outcome(**found, **told, seconds=time.monotonic() - self._started)
            self._at_end()
        return self._outcome

    def interrupt(self) -> None:
        """See :class:`Job`."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, next(self._harder, signal.SIGKILL))


def _with_our_imports() -> dict[str, str]:
    """This process's environment; what can be imported here can be imported there, and nothing else."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"}


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def _too_much_memory(limit_gb: float) -> str:
    return f"its processes took more than {limit_gb:g} GB of memory; raise memory_gb in its resources"


def _silent_end(exit_code: int) -> str:
    if exit_code == 130 or exit_code == -signal.SIGINT:
        return "it was interrupted"
    if exit_code < 0:
        reason = "; the system may have run out of memory" if exit_code == -signal.SIGKILL else ""
        return f"it was ended by {signal.Signals(-exit_code).name}{reason}"
    return f"it ended with exit code {exit_code} before its work was done"
