"""Ways to read random clips of one file: ours, plain h5py, and stable-worldmodel's two.

All give the same clips in the same order: clip i starts at the i-th row at which one fits into its episode.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from cjepa.data.clip_windows import as_is, clip_starts
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.video_dataset import VideoDataset

COLUMNS = ("pixels", "proprio", "action")
"""What is read of each clip, where the file has it."""


class ReadJob(NamedTuple):
    """What every reader does."""

    path: Path
    scratch: Path
    """Folder for copies in other formats."""
    blocks: int
    frame_stride: int
    batch_size: int
    clips: int
    """A round."""
    cores: int


class Reader(NamedTuple):
    """A reader that may be compared with others."""

    dataset: Callable[[ReadJob], Dataset]
    needs: str
    """Package that must be installed."""
    collate: Callable | None = None
    """None for PyTorch's own."""


class H5pyClips(Dataset):
    """The span of a clip from every column, of which every ``frame_stride``-th row is kept.

    A slice with a step, or a row at a time, reads fewer frames and takes longer.
    """

    def __init__(self, job: ReadJob):
        file = EpisodeFile(job.path)
        self.job, self.columns = job, [name for name in COLUMNS if name in file.columns]
        self.starts = clip_starts(file, np.arange(len(file)), job.blocks, job.frame_stride)
        self._handle: h5py.File | None = None

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if self._handle is None:
            self._handle = h5py.File(self.job.path, "r")
        stride = self.job.frame_stride
        span = slice(self.starts[index], self.starts[index] + self.job.blocks * stride)
        clip = {name: self._handle[name][span] for name in self.columns}
        if "action" in clip:
            clip["action"] = clip["action"].reshape(self.job.blocks, -1)
        return {name: torch.from_numpy(rows if name == "action" else rows[::stride]) for name, rows in clip.items()}


def _cjepa(job: ReadJob) -> Dataset:
    file = EpisodeFile(job.path)
    return VideoDataset(file, np.arange(len(file)), job.blocks, job.frame_stride, labels=False, objects=False)


def _stable_worldmodel_hdf5(job: ReadJob) -> Dataset:
    from stable_worldmodel.data import load_dataset

    columns = [name for name in COLUMNS if name in EpisodeFile(job.path).columns]
    path = job.path.resolve()
    return load_dataset(path, num_steps=job.blocks, frameskip=job.frame_stride, keys_to_load=columns)


def _stable_worldmodel_lance(job: ReadJob) -> Dataset:
    from stable_worldmodel.data import load_dataset
    from stable_worldmodel.data.format import get_format

    copy = job.scratch.resolve() / "clips.lance"
    if not copy.exists():
        file = EpisodeFile(job.path)
        columns = [name for name in COLUMNS if name in file.columns]
        with get_format("lance").open_writer(copy) as writer:
            writer.write_episodes({k: list(v) for k, v in episode.items()} for episode in file.episodes(columns))
    return load_dataset(copy, num_steps=job.blocks, frameskip=job.frame_stride)


READERS = {
    "cjepa": Reader(_cjepa, "cjepa", as_is),
    "h5py": Reader(H5pyClips, "h5py"),
    "stable-worldmodel": Reader(_stable_worldmodel_hdf5, "stable_worldmodel"),
    "stable-worldmodel Lance": Reader(_stable_worldmodel_lance, "lance"),
}


def is_installed(name: str) -> bool:
    """Whether the packages are there that a reader needs."""
    return find_spec(READERS[name].needs) is not None


class _RandomClips(Sampler[int]):
    """Clips drawn with replacement, seeded by the number of the round."""

    def __init__(self, num_clips: int, count: int):
        self.num_clips, self.count, self.round = num_clips, count, 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        return iter(np.random.default_rng(self.round).integers(0, self.num_clips, self.count).tolist())


@cache
def loader_of(name: str, job: ReadJob, workers: int) -> DataLoader:
    """The PyTorch loader of a reader, made once a process, which then keeps to ``job.cores``."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.cores])
    reader = READERS[name]
    with warnings.catch_warnings(action="ignore"):  # what the other libraries say about themselves
        dataset = reader.dataset(job)
    return DataLoader(
        dataset,
        batch_size=job.batch_size,
        sampler=_RandomClips(len(dataset), job.clips),
        collate_fn=reader.collate,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def read_round(name: str, job: ReadJob, workers: int, number: int) -> float:
    """Seconds that the clips of a round take; every reader draws the same ones."""
    loader = loader_of(name, job, workers)
    loader.sampler.round = number
    started = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - started
