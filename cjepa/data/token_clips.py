"""Clips of tokens, held in memory as float16 where they fit; splits are by episode, always."""

import os

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cjepa.data.clip_module import EpisodeClips
from cjepa.data.clip_windows import clip_starts
from cjepa.data.splits import rows_of
from cjepa.data.store.episodes import Episodes
from cjepa.data.store.origins import tokenizer_of
from cjepa.data.store.shards import frame_reader
from cjepa.errors import UserError
from cjepa.types import Clip

_CONSTANT, _VISIBLE = 1e-6, 0.01


class StoredTokens:
    """The tokens of a file, read when they are asked for; indexed like a tensor ``(rows, S, D)`` by a tensor of rows.

    Args:
        file: token file, or several.
    """

    def __init__(self, file: Episodes):
        self._reader = frame_reader(file, "tokens")

    def __getitem__(self, rows: Tensor) -> Tensor:
        values = self._reader.read(rows.flatten().numpy())
        return torch.from_numpy(values.reshape(*rows.shape, *values.shape[1:]))


class ClipDataset(Dataset):
    """Windows of blocks over rows that are held in memory, but for tokens that do not fit.

    Args:
        file: where the rows come from, for its episode lengths.
        rows: all of them, as one long clip: tokens ``(rows, S, D)``, proprio ``(rows, P)``, actions of one env step.
            Tokens may be :class:`StoredTokens`.
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
        device = self.rows.actions_BTA.device
        start_B = self.starts[torch.as_tensor(indices)].to(device, non_blocking=True)  # else it waits for the last step
        frame_BT = start_B[:, None] + torch.arange(self.blocks, device=device) * self.frame_stride
        step_BTF = frame_BT[:, :, None] + torch.arange(self.frame_stride, device=device)
        tokens, proprio, actions = self.rows
        return Clip(tokens[frame_BT].float(), proprio[frame_BT], actions[step_BTF].flatten(2))

    def move_rows_to(self, device: torch.device) -> None:
        """Hold the rows on a GPU if they take at most half of what is free there; then clips are made there too.

        Rows that are not all in memory stay where they are, and so do those for any other device.
        """
        if device.type != "cuda" or isinstance(self.rows.tokens_BTSD, StoredTokens):
            return
        free, _ = torch.cuda.mem_get_info(device)
        if 2 * sum(values.nbytes for values in self.rows) <= free:
            self.rows = self.rows.on(device)


class TokenClips(EpisodeClips):
    """Clips of cached tokens for world-model training; the options are those of :class:`EpisodeClips`."""

    def setup(self, stage: str) -> None:
        """Open the file, split it, and read all of it, but for tokens of more than half of the machine's memory.

        Raises:
            UserError: the file has no tokens, or does not say which tokenizer made them.
        """
        super().setup(stage)
        if "tokens" not in self.file.columns:
            raise UserError(f"{self.path}: contains episodes, not tokens; make tokens with `cjepa tokenize`")
        if not self.file.attributes.get("tokenizer_fingerprint"):
            raise UserError(f"{self.path}: its attribute tokenizer_fingerprint is missing; make the tokens again")
        self.tokenizer_fingerprint: str = self.file.attributes["tokenizer_fingerprint"]
        self.tokenizer = tokenizer_of(self.file)
        self.rows = Clip(self._tokens(), *(self._column(name) for name in ("proprio", "action")))

    def training_clips(self) -> ClipDataset:
        """See :meth:`EpisodeClips.training_clips`."""
        return self._clips("train", self.train_blocks)

    def train_dataloader(self) -> DataLoader:
        """See :meth:`EpisodeClips.train_dataloader`; rows are on the trainer's GPU, if it has one and they fit."""
        loader = super().train_dataloader()
        if self.trainer is not None and isinstance(loader.dataset, ClipDataset):  # subclasses may train on other rows
            loader.dataset.move_rows_to(self.trainer.strategy.root_device)
        return loader

    def held_out_clips(self, split: str, blocks: int | None = None) -> ClipDataset:
        """See :meth:`EpisodeClips.held_out_clips`."""
        return self._clips(split, blocks or self.val_blocks)

    def normalisation_sample(self) -> Clip:
        """Clips of training episodes, thinned to about 4,000."""
        dataset = self.training_clips()
        step = max(1, len(dataset) // 4_000)
        return dataset.__getitems__(list(range(0, len(dataset), step)))

    def _tokens(self) -> Tensor | StoredTokens:
        shape, dtype = self.file.columns["tokens"]
        if np.prod(shape) * dtype.itemsize > tokens_budget():
            return StoredTokens(self.file)
        return halved(self._column("tokens"))

    def _column(self, name: str) -> Tensor:
        """All rows; of width 0 where the file has no such column: nobody acts, or proprioception is unknown."""
        if name not in self.file.columns:
            return torch.zeros(self.file.env_steps, 0)
        if len(shape := self.file.columns[name][0]) < 2:
            raise UserError(f"{self.path}: column {name!r} has shape {shape}, expected a list a row; convert it again")
        return rows_of(self.file, name, np.concatenate(list(self.splits.values())))

    def _clips(self, split: str, blocks: int) -> ClipDataset:
        return ClipDataset(self.file, self.rows, self.splits[split], blocks, self.frame_stride)


def refuse_tokens(model: object, data: object) -> None:
    """Check that a model which is trained on frames is not given tokens.

    Raises:
        UserError: it is.
    """
    if isinstance(data, TokenClips):
        raise UserError(
            f"{type(model).__name__} is trained on frames, but {type(data).__name__} gives tokens; set "
            "data.class_path to cjepa.data.video_clips.VideoClips and data.init_args.path to episodes"
        )


def tokens_budget() -> int:
    """Bytes of tokens that are held in memory: half of what the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def halved(tokens: Tensor) -> Tensor:
    """Tokens as float16; unchanged if rounding moved a value by more than 1 % of its own standard deviation.

    Args:
        tokens: ``(rows, S, D)``; a value that is constant over all rows and slots counts as one of deviation 1, as in
            :class:`~cjepa.world_models.normalise.Normaliser`.
    """
    rounded = tokens.half()
    if tokens.dtype == rounded.dtype or not tokens.numel():
        return rounded
    flat, moved = tokens.flatten(0, -2), (rounded - tokens).abs().flatten(0, -2)
    spread_D = flat.std(dim=0, correction=0)
    spread_D[spread_D < _CONSTANT] = 1.0
    return rounded if bool((moved.amax(dim=0) <= _VISIBLE * spread_D).all()) else tokens
