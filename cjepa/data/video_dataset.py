"""Clips of pixels, read from disk in any order; memory does not grow with the file."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cjepa.data.clip_windows import clip_starts
from cjepa.data.splits import rows_of
from cjepa.data.store.episodes import Episodes
from cjepa.data.store.frames import FrameReader
from cjepa.data.store.shards import ShardedFrames, frame_reader
from cjepa.types import VideoBatch


class VideoDataset(Dataset):
    """Windows of blocks over the frames of an episode file.

    Frames stay on disk; proprio and actions, a few bytes a row, are held in memory.

    Args:
        file: episodes with ``pixels``; ``masks``, ``objects``, ``proprio`` and ``action`` are read if present.
        episodes: indices of the episodes to use.
        blocks: frames per clip; the actions of each frame's block come with it.
        frame_stride: env steps per block.
        labels: read the label images too.
        objects: read the simulator's attributes of the objects too.

    Raises:
        UserError: there are no pixels, or no episode is as long as a clip.
    """

    def __init__(
        self,
        file: Episodes,
        episodes: np.ndarray,
        blocks: int,
        frame_stride: int,
        labels: bool = True,
        objects: bool = True,
    ):
        self.pixels = frame_reader(file, "pixels")
        self.labels, self.objects = (
            frame_reader(file, name) if asked and name in file.columns else None
            for name, asked in (("masks", labels), ("objects", objects))
        )
        self.proprio, self.action = (
            rows_of(file, name, episodes) if name in file.columns else None for name in ("proprio", "action")
        )
        self.starts = clip_starts(file, episodes, blocks, frame_stride)
        self.blocks, self.frame_stride = blocks, frame_stride

    def __len__(self) -> int:
        return len(self.starts)

    def __getitems__(self, indices: list[int]) -> VideoBatch:
        """A whole batch at once."""
        row_BT = self._rows(np.asarray(indices))
        return VideoBatch(
            *(
                None if reader is None else _frames(reader, row_BT)
                for reader in (self.pixels, self.labels, self.objects)
            ),
            None if self.proprio is None else self.proprio[row_BT],
            self.actions(np.asarray(indices)),
        )

    def actions(self, index_B: np.ndarray) -> Tensor | None:
        """The actions of some clips ``(B, T, A)``, without reading their frames; None if nobody acts."""
        if self.action is None:
            return None
        return self.action[self._rows(index_B)[:, :, None] + np.arange(self.frame_stride)].flatten(2)

    def _rows(self, index_B: np.ndarray) -> np.ndarray:
        """Of the frames of some clips, ``(B, T)``."""
        return self.starts[index_B][:, None] + np.arange(self.blocks) * self.frame_stride


def _frames(reader: FrameReader | ShardedFrames, row_BT: np.ndarray) -> Tensor:
    values = reader.read(row_BT.reshape(-1))
    return torch.from_numpy(values.reshape(*row_BT.shape, *values.shape[1:]))
