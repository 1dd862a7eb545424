"""Clips of pixels, read from disk in any order; memory does not grow with the file."""

from collections.abc import Sequence

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cjepa.data.splits import SPLIT_SEED, lineage_of, rows_of, used_episodes
from cjepa.data.store.episodes import Episodes
from cjepa.data.store.frames import FrameReader
from cjepa.data.store.shards import ShardedFrames, frame_reader, open_episodes
from cjepa.data.token_clips import as_is, clip_starts, training_loader
from cjepa.types import VideoBatch


class VideoDataset(Dataset):
    """Windows of blocks over the frames of an episode file.

    Frames stay on disk; proprio and actions, a few bytes a row, are held in memory.

    Args:
        file: episodes with ``pixels``; ``masks``, ``objects``, ``proprio`` and ``action`` come along if there are any.
        episodes: indices of the episodes to use.
        blocks: frames a clip; the actions of each frame's block come with it.
        frame_stride: env steps a block.
        labels: read the label images too.
        objects: and the simulator's account of the objects.

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
        row_BT = self.starts[np.asarray(indices)][:, None] + np.arange(self.blocks) * self.frame_stride
        step_BTF = row_BT[:, :, None] + np.arange(self.frame_stride)
        return VideoBatch(
            *(
                None if reader is None else _frames(reader, row_BT)
                for reader in (self.pixels, self.labels, self.objects)
            ),
            None if self.proprio is None else self.proprio[row_BT],
            None if self.action is None else self.action[step_BTF].flatten(2),
        )


class VideoClips(L.LightningDataModule):
    """Clips of pixels for training tokenizers of videos.

    Args:
        path: episode file, or folder or glob of several.
        frame_stride: env steps a block.
        train_blocks: frames a training clip.
        val_blocks: frames a validation or test clip.
        batch_size: clips.
        val_clips: how many held-out clips validation looks at, spread evenly.
        labels: training clips carry label images too, which only scores need; validation and test clips always do, and
            the simulator's account of the objects.
        num_workers: processes that read ahead; 0 reads in the training process.
        split_seed: of the split by episode; everything that uses the same episodes must use the same.
        shuffle_seed: of the order of training batches.
        exclude_episodes: indices of episodes to leave out; the others are split as if nothing were missing.
        exclude_corrupted: check all episodes first and leave out those that are damaged; which they are is logged.
    """

    def __init__(
        self,
        path: str,
        frame_stride: int = 5,
        train_blocks: int = 4,
        val_blocks: int = 8,
        batch_size: int = 64,
        val_clips: int = 256,
        labels: bool = True,
        num_workers: int = 0,
        split_seed: int = SPLIT_SEED,
        shuffle_seed: int = 0,
        exclude_episodes: Sequence[int] = (),
        exclude_corrupted: bool = False,
    ):
        super().__init__()
        self.path = path
        self.frame_stride = frame_stride
        self.train_blocks = train_blocks
        self.val_blocks = val_blocks
        self.batch_size = batch_size
        self.val_clips = val_clips
        self.labels = labels
        self.num_workers = num_workers
        self.split_seed = split_seed
        self.shuffle_seed = shuffle_seed
        self.exclude_episodes = exclude_episodes
        self.exclude_corrupted = exclude_corrupted

    def setup(self, stage: str) -> None:
        """Open the file and split it."""
        self.file = open_episodes(self.path)
        self.splits, self.excluded = used_episodes(
            self.file, self.split_seed, self.exclude_episodes, self.exclude_corrupted
        )
        self.lineage = lineage_of(self.file, self.split_seed, self.excluded)

    def sample_frames(self, count: int, seed: int = 0) -> Tensor:
        """Random frames of training episodes, uint8 (count, Y, X, 3)."""
        dataset = VideoDataset(self.file, self.splits["train"], 1, 1, labels=False, objects=False)
        picks = np.random.default_rng(seed).integers(0, len(dataset), count)
        return dataset.__getitems__(picks.tolist()).pixels_BTYXC[:, 0]

    def train_dataloader(self) -> DataLoader:
        """Shuffled training clips."""
        dataset = self._dataset("train", self.train_blocks, self.labels, objects=False)
        return training_loader(self, dataset, self.num_workers)

    def val_dataloader(self) -> DataLoader:
        """Held-out clips, the same ones every time."""
        return self._evaluation("val")

    def test_dataloader(self) -> DataLoader:
        """Clips of the test episodes, on which planning is evaluated too."""
        return self._evaluation("test")

    def predict_dataloader(self) -> DataLoader:
        """As for testing."""
        return self.test_dataloader()

    def _dataset(self, split: str, blocks: int, labels: bool = True, objects: bool = True) -> VideoDataset:
        return VideoDataset(self.file, self.splits[split], blocks, self.frame_stride, labels, objects)

    def _evaluation(self, split: str) -> DataLoader:
        dataset = self._dataset(split, self.val_blocks)
        dataset.starts = dataset.starts[:: max(1, len(dataset) // self.val_clips)]
        return DataLoader(dataset, batch_size=self.batch_size, collate_fn=as_is)


def _frames(reader: FrameReader | ShardedFrames, row_BT: np.ndarray) -> Tensor:
    values = reader.read(row_BT.reshape(-1))
    return torch.from_numpy(values.reshape(*row_BT.shape, *values.shape[1:]))
