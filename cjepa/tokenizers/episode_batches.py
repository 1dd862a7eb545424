"""Whole episodes in batches for a tokenizer: how many at once, read ahead by threads, padded on its device."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from cjepa.data.splits import rows_of
from cjepa.data.store.episodes import Episode, Episodes
from cjepa.data.store.shards import frame_reader
from cjepa.data.workers import default_workers, thread_map

_CPU_FRAMES = 512
_MOST_FRAMES = 32_768
_MOST_READERS = 8
_BATCHES_AHEAD = 2


def frames_at_once(device: torch.device, peak_bytes: int) -> int:
    """Frames in a batch: 512 on a CPU, where more is slower; on a GPU as many as its memory allows, to 32,768.

    A GPU works on some hundred small operations for every frame of a clip, whatever the number of clips, so only large
    batches keep it busy. Its memory is all that the card has, not what is free: the last bits of tokens depend on the
    size of a batch, and so on the kind of card, but not on what else runs on it.

    Args:
        device: that encodes.
        peak_bytes: of a frame, see :meth:`~cjepa.tokenizers.base.Tokenizer.peak_bytes`.
    """
    if device.type != "cuda":
        return _CPU_FRAMES
    total = torch.cuda.get_device_properties(device).total_memory
    return max(1, min(_MOST_FRAMES, total // peak_bytes))


def row_bytes(episodes: Episodes, columns: set[str]) -> int:
    """Bytes of one frame, over these columns."""
    kinds = [episodes.columns[name] for name in columns]
    return sum(int(np.prod(shape[1:])) * dtype.itemsize for shape, dtype in kinds)


def batches_of(lengths: np.ndarray, frames: int) -> list[list[int]]:
    """Indices of whole episodes, at most so many frames at a time as :func:`padded` makes them, or one episode."""
    batches: list[list[int]] = [[]]
    longest = 1
    for index, length in enumerate(lengths.tolist()):
        if (len(batches[-1]) + 1) * max(longest, length) > frames and batches[-1]:
            batches.append([])
            longest = 1
        batches[-1].append(index)
        longest = max(longest, length)
    return batches


def read_batches(
    episodes: Episodes, lengths: np.ndarray, columns: set[str], batches: Sequence[list[int]], device: torch.device
) -> Iterator[list[dict[str, Tensor]]]:
    """What a tokenizer reads of the episodes of each batch, read by threads two batches ahead.

    Args:
        episodes: the data set.
        lengths: of the episodes; one of length 0 is not read, whatever the data set has of it.
        columns: by name.
        batches: indices of episodes, see :func:`batches_of`.
        device: that the tensors will be sent to; for a GPU they are in memory from which it can copy by itself.
    """
    readers = {name: frame_reader(episodes, name) for name in columns}
    empty = {name: np.zeros((0, *episodes.columns[name][0][1:]), episodes.columns[name][1]) for name in columns}

    def read(index: int) -> dict[str, Tensor]:
        rows = {name: readers[name].episode(index) if lengths[index] else empty[name] for name in columns}
        tensors = {name: torch.from_numpy(values) for name, values in rows.items()}
        return {name: values.pin_memory() for name, values in tensors.items()} if device.type == "cuda" else tensors

    ahead = _BATCHES_AHEAD * max(map(len, batches), default=1)
    read_ahead = thread_map(read, [i for batch in batches for i in batch], min(_MOST_READERS, default_workers()), ahead)
    return (list(islice(read_ahead, len(batch))) for batch in batches)


def padded(rows: Sequence[Tensor], device: torch.device) -> Tensor:
    """A column of episodes as (B, T, ...) on the device, T that of the longest, with zeros behind the shorter ones."""
    longest = max(1, *map(len, rows))
    padded_BT = torch.zeros(len(rows), longest, *rows[0].shape[1:], dtype=rows[0].dtype, device=device)
    for clip, row in zip(padded_BT, rows, strict=True):
        clip[: len(row)].copy_(row, non_blocking=True)
    return padded_BT


class CarriedColumns:
    """Columns that token files take over from the episodes, all rows of them in memory.

    Args:
        episodes: the data set.
        lengths: of the episodes; what is of length 0 is not read.
        names: of columns; those that the data set lacks are left out.
    """

    def __init__(self, episodes: Episodes, lengths: np.ndarray, names: Sequence[str]):
        used = np.flatnonzero(lengths)
        # in one piece: HDF5 takes as long for the rows of one episode as for those of a hundred
        self._columns = {name: rows_of(episodes, name, used).numpy() for name in names if name in episodes.columns}
        self._starts, self._lengths = episodes.offsets, lengths

    def of(self, index: int) -> Episode:
        """Those of an episode."""
        start = int(self._starts[index])
        stop = start + int(self._lengths[index])
        return {name: values[start:stop] for name, values in self._columns.items()}
