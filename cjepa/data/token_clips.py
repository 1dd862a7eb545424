"""Clips of tokens, held in memory; splits are by episode, always."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cjepa.data.clip_module import EpisodeClips, clip_starts
from cjepa.data.splits import rows_of
from cjepa.data.store.episodes import Episodes
from cjepa.data.store.origins import tokenizer_of
from cjepa.errors import UserError
from cjepa.types import Clip


class ClipDataset(Dataset):
    """Windows of blocks over rows that are held in memory.

    Args:
        file: where the rows come from, for its episode lengths.
        rows: all of them, as one long clip: tokens ``(rows, S, D)``, proprio ``(rows, P)``, actions of one env step.
        episodes: indices of the episodes to use.
        blocks: frames per clip; the actions of each frame's block come with it.
        frame_stride: env steps per block.
    """

    def __init__(self, file: Episodes, rows: Clip, episodes: np.ndarray, blocks: int, frame_stride: int):
        self.rows, self.blocks, self.frame_stride = rows, blocks, frame_stride
        self.starts = torch.from_numpy(clip_starts(file, episodes, blocks, frame_stride))

    def __len__(self) -> int:
        return len(self.starts)

    def __getitems__(self, indices: list[int]) -> Clip:
        """A whole batch at once."""
        start_B = self.starts[torch.as_tensor(indices)]
        frame_BT = start_B[:, None] + torch.arange(self.blocks) * self.frame_stride
        step_BTF = frame_BT[:, :, None] + torch.arange(self.frame_stride)
        tokens, proprio, actions = self.rows
        return Clip(tokens[frame_BT].float(), proprio[frame_BT], actions[step_BTF].flatten(2))


class TokenClips(EpisodeClips):
    """Clips of cached tokens for world-model training; the options are those of :class:`EpisodeClips`."""

    def setup(self, stage: str) -> None:
        """Open the file, split it, and read all of it."""
        super().setup(stage)
        if "tokens" not in self.file.columns:
            raise UserError(f"{self.path}: contains episodes, not tokens; make tokens with `cjepa tokenize`")
        if not self.file.attributes.get("tokenizer_fingerprint"):
            raise UserError(f"{self.path}: its attribute tokenizer_fingerprint is missing; make the tokens again")
        self.tokenizer_fingerprint: str = self.file.attributes["tokenizer_fingerprint"]
        self.tokenizer = tokenizer_of(self.file)
        self.rows = Clip(*(self._column(name) for name in ("tokens", "proprio", "action")))

    def training_clips(self) -> ClipDataset:
        """See :meth:`EpisodeClips.training_clips`."""
        return self._clips("train", self.train_blocks)

    def held_out_clips(self, split: str, blocks: int | None = None) -> ClipDataset:
        """See :meth:`EpisodeClips.held_out_clips`."""
        return self._clips(split, blocks or self.val_blocks)

    def normalisation_sample(self) -> Clip:
        """Clips of training episodes, thinned to about 4,000."""
        dataset = self.training_clips()
        step = max(1, len(dataset) // 4_000)
        return dataset.__getitems__(list(range(0, len(dataset), step)))

    def _column(self, name: str) -> Tensor:
        """All rows; of width 0 where the file has no such column: nobody acts, or proprioception is unknown."""
        if name not in self.file.columns:
            return torch.zeros(self.file.env_steps, 0)
        return rows_of(self.file, name, np.concatenate(list(self.splits.values())))

    def _clips(self, split: str, blocks: int) -> ClipDataset:
        return ClipDataset(self.file, self.rows, self.splits[split], blocks, self.frame_stride)
