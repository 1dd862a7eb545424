"""`cjepa bench loader`: random clips per second, compared with other readers of the same file."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from jsonargparse.typing import PositiveInt

from cjepa.bench.readers import READERS, ReadJob, is_installed, read_round
from cjepa.bench.timing import Row, bench_table, rows_against, take_turns
from cjepa.command_result import CommandResult
from cjepa.data.collect import Collection, collect
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.workers import default_workers, end_with_parent
from cjepa.envs.pusht.policy import PushTBehaviour
from cjepa.files import json_text
from cjepa.progress import ProgressBar
from cjepa.reporting.records import installed

_EPISODES, _EPISODE_ENV_STEPS = 200, 60
_LIBRARIES = ("cjepa", "torch", "torchvision", "h5py", "lz4", "stable-worldmodel", "pylance")
_WARM_UP_ROUNDS = 2


def loader_command(
    against: Literal["h5py", "stable-worldmodel"] = "h5py",
    episodes: str | None = None,
    blocks: PositiveInt = 4,
    frame_stride: PositiveInt = 5,
    batch_size: PositiveInt = 64,
    clips: PositiveInt = 1024,
    rounds: PositiveInt = 10,
    cores: PositiveInt = 2,
    json: bool = False,
) -> CommandResult:
    """Random clips per second, compared with other readers of the same file.

    Each reader runs with or without worker processes (one per core), whichever is faster.

    Args:
        against: the reference; h5py if stable-worldmodel is not installed.
        episodes: episode file; default: 200 temporary Push-T episodes of 64 px.
        blocks: frames per clip.
        frame_stride: env steps per block.
        batch_size: clips per batch.
        clips: clips per round.
        rounds: rounds in which every reader runs once.
        cores: cores that a reader may use.
        json: print rows for programs.
    """
    names = ["cjepa", "h5py"]
    missing = against not in names and not is_installed(against)
    if missing:
        note, against = f"{against} is not installed (`make test-swm` sets it up): compared with h5py instead", "h5py"
    elif against not in names:
        names += [name for name in (against, f"{against} Lance") if is_installed(name)]
    with TemporaryDirectory() as scratch:
        path = Path(episodes) if episodes else _make_episodes(Path(scratch) / "episodes.h5").path
        job = ReadJob(path, Path(scratch), blocks, frame_stride, batch_size, clips, cores)
        READERS["cjepa"].dataset(job)  # a file that does not fit is refused before any process is started
        rows = compare_readers(names, against, job, rounds)
    if json:
        return CommandResult([json_text(rows)])
    return CommandResult([note] if missing else [], bench_table(rows))


def compare_readers(names: list[str], reference: str, job: ReadJob, rounds: int) -> list[Row]:
    """Rows of :func:`rows_against`, with the number of worker processes that was best and the libraries' versions."""
    with ExitStack() as stack, ProgressBar("readers", len(names) * (rounds + 1), "turns") as bar:
        contenders, workers = {}, {}
        for name in names:
            contenders[name], workers[name] = _at_its_best(stack, name, job)
            bar.advance(1)
        seconds = take_turns(contenders, rounds, bar)
    versions = installed(_LIBRARIES)
    rows = rows_against(reference, seconds, job.clips, "clips")
    return [{**row, "workers": workers[row["name"]], "cores": job.cores, "versions": versions} for row in rows]


def _at_its_best(stack: ExitStack, name: str, job: ReadJob) -> tuple[Callable[[int], float], int]:
    """A reader that runs rounds in a process of its own, and its number of workers: none or one a core."""
    pool = stack.enter_context(ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), end_with_parent))
    seconds = {}
    for workers in (job.cores, 0):  # workers are forked before this process reads anything itself
        for number in range(_WARM_UP_ROUNDS):  # the first one opens files and checks them
            seconds[workers] = _read(pool, name, job, workers, number)
    best = min(seconds, key=seconds.get)
    return lambda number: _read(pool, name, job, best, _WARM_UP_ROUNDS + number), best


def _read(pool: ProcessPoolExecutor, *arguments) -> float:
    return pool.submit(read_round, *arguments).result()


def _make_episodes(path: Path) -> EpisodeFile:
    job = Collection("cjepa/PushT-v0", PushTBehaviour(), _EPISODES, _EPISODE_ENV_STEPS, seed=0, with_masks=False)
    with ProgressBar("episodes", _EPISODES * _EPISODE_ENV_STEPS, "frames") as bar:
        return collect(job, path, {"env_id": job.env_id}, default_workers(), bar)
