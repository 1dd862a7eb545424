"""Run records and result rows: every number can be traced to code, data and command."""

import csv
import functools
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from io import StringIO
from pathlib import Path
from typing import Any

import torch

import cjepa
from cjepa.data.workers import all_cores
from cjepa.errors import UserError
from cjepa.evaluation.intervals import Interval, known
from cjepa.files import file_digest, read_text, write_json
from cjepa.reporting.code_record import loaded_code
from cjepa.shell import as_typed

PACKAGES = (
    "cjepa",
    "torch",
    "lightning",
    "torchmetrics",
    "numpy",
    "scipy",
    "h5py",
    "hdf5plugin",
    "gymnasium",
    "gym-pusht",
    "pymunk",
    "matplotlib",
    "imageio-ffmpeg",
)


@functools.lru_cache(maxsize=1)
def _git_state() -> tuple[str | None, bool | None]:
    # Asked once a process: the state that counts is the one the running code was loaded from.
    package = Path(cjepa.__file__)
    # A package installed into a virtual environment inside somebody's repository is not that repository's code.
    if _git(package.parent, "ls-files", "--error-unmatch", package.name) is None:
        return None, None
    commit, changes = _git(package.parent, "rev-parse", "HEAD"), _git(package.parent, "status", "--porcelain")
    return (commit, bool(changes)) if commit and changes is not None else (None, None)


def git_state() -> dict[str, Any]:
    """``commit`` (full hash) and ``dirty`` of the repository that tracks this package; None twice without one."""
    commit, dirty = _git_state()
    return {"commit": commit, "dirty": dirty}


def result_row(
    metric: str,
    value: float,
    *,
    model: str,
    n: int | None = None,
    episodes: int | None = None,
    low: float | None = None,
    high: float | None = None,
    unit: str = "",
    tokens: int | None = None,
    token_dim: int | None = None,
    seed: int | None = None,
    split: str = "test",
    run: str = "",
) -> dict[str, Any]:
    """One row of ``results.json``; ``git`` is the commit, with ``-dirty`` behind it when the tree had changes.

    Bounds that are NaN become None: there is no interval. ``n`` counts what the value is of. Where several of them may
    be from one episode the row ends with ``episodes``, the number of those.
    """
    state = git_state()
    row = {
        "metric": metric,
        "value": value,
        "n": n,
        "low": known(low),
        "high": known(high),
        "unit": unit,
        "model": model,
        "tokens": tokens,
        "token_dim": token_dim,
        "seed": seed,
        "split": split,
        "run": run,
        "git": f"{state['commit']}-dirty" if state["dirty"] else state["commit"],
    }
    return row if episodes is None else row | {"episodes": episodes}


def evaluated_model(name: str, checkpoint: Path) -> dict[str, str]:
    """What the record of an evaluation says of its model; the digest tells later whether the checkpoint has changed."""
    return {"name": name, "checkpoint": str(checkpoint), "checkpoint_digest": file_digest(checkpoint)}


def interval_row(metric: str, interval: Interval, **rest: Any) -> dict[str, Any]:
    """:func:`result_row` of a value with its 95 % interval."""
    return result_row(metric, interval.value, n=interval.n, low=interval.low, high=interval.high, **rest)


def read_metrics(path: str | Path) -> list[dict[str, str]]:
    """The rows of a ``metrics.csv``, one a step, in order; of a value that was logged twice for a step, the later one.

    A run that is continued from a checkpoint logs the steps after that checkpoint once more.

    Raises:
        UserError: the file is not a table of UTF-8 text.
    """
    if not Path(path).is_file():
        return []
    merged: dict[float, dict[str, str]] = {}
    try:
        for row in csv.DictReader(StringIO(read_text(path), newline="")):
            filled = {name: cell for name, cell in row.items() if name and cell}
            merged.setdefault(_step(filled), {}).update(filled)
    except csv.Error as error:
        raise UserError(f"{path}: not a table ({error})") from None
    return [merged[step] for step in sorted(merged)]


def _step(row: dict[str, str]) -> float:
    try:
        return float(row.get("step", ""))
    except ValueError:  # what is logged without a step comes first
        return -1.0


def describe(part: object) -> dict[str, Any]:
    """Class and public attributes of a small configurable object and of those that it consists of, for ``run.json``."""
    public = {name: _described(value) for name, value in vars(part).items() if not name.startswith("_")}
    return {"class": type(part).__name__} | public


def _described(value: object) -> Any:
    if isinstance(value, list | tuple):
        return [_described(entry) for entry in value]
    if isinstance(value, int | float | str):  # also those of jsonargparse, which are classes of their own
        return value
    return describe(value) if hasattr(value, "__dict__") else value


def versions() -> dict[str, str]:
    """Python, platform, and the installed packages that a result depends on."""
    return {"python": platform.python_version(), "platform": platform.platform()} | installed(PACKAGES)


def installed(packages: Sequence[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            # of an editable installation of ours, the installed version is the one that it was at the time
            found[name] = cjepa.__version__ if name == "cjepa" else metadata.version(name)
    return found


def machine() -> str:
    """Cores, memory and GPU of this machine in words."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = all_cores()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{cores} CPU core{'s' if cores > 1 else ''} ({platform.machine()}), {memory_gb:.0f} GB of memory, {gpu}"


def peak_memory_mb() -> float:
    """Largest resident memory so far, in MiB, of this process or of one of its finished children."""
    # Not their sum: on Linux a child starts with its parent's peak, so `git` alone would double the number.
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def command_line() -> str:
    """What was typed, for records, without the machine's folders: of a path outside of this one, the last name."""
    return as_typed(*(_from_here(word, lambda path: path.name) for word in _words()))


def command_here() -> str:
    """What was typed, for pages that do not travel, see :func:`repeatable`."""
    return repeatable(*_words())


def repeatable(*words: object) -> str:
    """The words as one line that does the same if it is typed again; paths in this folder are relative to it."""
    return as_typed(*(_from_here(str(word)) for word in words))


def write_run_record(
    folder: str | Path,
    *,
    model: dict,
    objective: dict,
    data: dict,
    evaluation: dict,
    actions: dict,
    uncertainty: list[str],
    failures: Sequence[str] = (),
    seconds: float,
) -> Path:
    """Write ``folder/run.json``, the system record of a run.

    Args:
        folder: of the run.
        model: identity: class, parameters, checkpoint hash.
        objective: loss terms, masks, how collapse is prevented.
        data: lineage: files, fingerprints, split by episode.
        evaluation: environment, horizon, budget, seeds, what was held out.
        actions: planner, cost, constraints, fallback.
        uncertainty: names of the signals there are.
        failures: what did not succeed, in words.
        seconds: wall time of the run.
    """
    record = {
        "model": model,
        "objective": objective,
        "data": data,
        "evaluation": evaluation,
        "actions": actions,
        "uncertainty": uncertainty,
        "failures": list(failures),
        "versions": versions(),
        "git": git_state(),
        "code": loaded_code(),
        "command": command_line(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "seconds": seconds,
        "peak_memory_mb": peak_memory_mb(),
    }
    return write_json(Path(folder) / "run.json", record)


def _git(folder: Path, *words: str) -> str | None:
    try:
        answer = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _words() -> list[str]:
    program = Path(sys.argv[0]).name
    # `python -m cjepa.cli` is the same command
    return ["cjepa" if program == "cli.py" else program, *sys.argv[1:]]


def _from_here(word: str, outside: Callable[[Path], object] = str) -> str:
    head, equals, value = word.rpartition("=")
    path = Path(value)
    if not path.is_absolute():
        return word
    short = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else outside(path)
    return f"{head}{equals}{short}"
