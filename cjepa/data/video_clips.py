"""The data module of clips of pixels, for training tokenizers."""

import numpy as np
from torch import Tensor

from cjepa.data.clip_module import EpisodeClips, check_options
from cjepa.data.video_dataset import VideoDataset


class VideoClips(EpisodeClips):
    """Clips of pixels for training tokenizers of videos; the other options are those of :class:`EpisodeClips`.

    Args:
        path: episode file, or folder or glob of several.
        batch_size: clips per batch.
        val_clips: number of held-out clips in validation, spread evenly.
        labels: training clips contain label images too (only scores and hints need them); validation and test clips
            always contain label images and the simulator's attributes of the objects.
        num_workers: processes that read ahead; 0 reads in the training process.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        path: str,
        *,
        batch_size: int = 64,
        val_clips: int = 256,
        labels: bool = True,
        num_workers: int = 0,
        **shared,
    ):
        super().__init__(path, batch_size=batch_size, val_clips=val_clips, **shared)
        check_options(0, {"num_workers": num_workers})
        self.labels = labels
        self.num_workers = num_workers

    def training_clips(self) -> VideoDataset:
        """See :meth:`EpisodeClips.training_clips`."""
        return self._clips("train", self.train_blocks, self.labels, objects=False)

    def held_out_clips(self, split: str, blocks: int | None = None) -> VideoDataset:
        """See :meth:`EpisodeClips.held_out_clips`."""
        return self._clips(split, blocks or self.val_blocks)

    def sample_frames(self, count: int, seed: int = 0) -> Tensor:
        """Random frames of training episodes, uint8 (count, Y, X, 3)."""
        dataset = VideoDataset(self.file, self.splits["train"], 1, 1, labels=False, objects=False)
        picks = np.random.default_rng(seed).integers(0, len(dataset), count)
        return dataset.__getitems__(picks.tolist()).pixels_BTYXC[:, 0]

    def _clips(self, split: str, blocks: int, labels: bool = True, objects: bool = True) -> VideoDataset:
        return VideoDataset(self.file, self.splits[split], blocks, self.frame_stride, labels, objects)
