"""Lightning DataModules over episode and token files; splits are by episode, always."""

import json
from collections.abc import Sequence

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cjepa.data.sampling import ResumableShuffle
from cjepa.data.splits import SPLIT_SEED, lineage_of, rows_of, used_episodes
from cjepa.data.store.episodes import Episodes
from cjepa.data.store.shards import open_episodes
from cjepa.errors import UserError
from cjepa.types import Clip


class ClipDataset(Dataset):
    """Windows of blocks over rows that are held in memory.

    Args:
        file: where the rows come from, for its episode lengths.
        rows: all of them, as one long clip: tokens ``(rows, S, D)``, proprio ``(rows, P)``, actions of one env step.
        episodes: indices of the episodes to use.
        blocks: frames a clip; the actions of each frame's block come with it.
        frame_stride: env steps a block.
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


class TokenClips(L.LightningDataModule):
    """Clips of cached tokens for world-model training.

    Args:
        path: token file of ``cjepa tokenize``, or folder or glob of several.
        frame_stride: env steps a block.
        train_blocks: frames a training clip: the model's history plus one.
        val_blocks: frames a validation clip: history plus the rollout's horizon.
        batch_size: clips.
        val_clips: how many held-out clips validation looks at, spread evenly.
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
        batch_size: int = 256,
        val_clips: int = 1024,
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
        self.split_seed = split_seed
        self.shuffle_seed = shuffle_seed
        self.exclude_episodes = exclude_episodes
        self.exclude_corrupted = exclude_corrupted

    def setup(self, stage: str) -> None:
        """Open the file and split it."""
        self.file = open_episodes(self.path)
        if "tokens" not in self.file.columns:
            raise UserError(f"{self.path}: these are episodes, not tokens; make tokens with `cjepa tokenize`")
        self.tokenizer_fingerprint: str = self.file.attributes["tokenizer_fingerprint"]
        self.tokenizer: dict = json.loads(self.file.attributes["tokenizer"])
        self.splits, self.excluded = used_episodes(
            self.file, self.split_seed, self.exclude_episodes, self.exclude_corrupted
        )
        self.lineage = lineage_of(self.file, self.split_seed, self.excluded)
        self.rows = Clip(*(self._column(name) for name in ("tokens", "proprio", "action")))

    def normalisation_sample(self) -> Clip:
        """Clips of training episodes, thinned to about 4,000."""
        dataset = self._dataset("train", self.train_blocks)
        step = max(1, len(dataset) // 4_000)
        return dataset.__getitems__(list(range(0, len(dataset), step)))

    def train_dataloader(self) -> DataLoader:
        """Shuffled training clips."""
        return training_loader(self, self._dataset("train", self.train_blocks))

    def val_dataloader(self) -> DataLoader:
        """Held-out clips, the same ones every time."""
        return self._evaluation("val")

    def test_dataloader(self) -> DataLoader:
        """Clips of the test episodes, on which planning is evaluated too."""
        return self._evaluation("test")

    def predict_dataloader(self) -> DataLoader:
        """As for testing."""
        return self.test_dataloader()

    def _column(self, name: str) -> Tensor:
        """All rows; of width 0 where the file has no such column, since nobody acts in it."""
        if name not in self.file.columns:
            return torch.zeros(self.file.env_steps, 0)
        return rows_of(self.file, name, np.concatenate(list(self.splits.values())))

    def _dataset(self, split: str, blocks: int) -> ClipDataset:
        return ClipDataset(self.file, self.rows, self.splits[split], blocks, self.frame_stride)

    def _evaluation(self, split: str) -> DataLoader:
        dataset = self._dataset(split, self.val_blocks)
        dataset.starts = dataset.starts[:: max(1, len(dataset) // self.val_clips)]
        return DataLoader(dataset, batch_size=self.batch_size, collate_fn=as_is)


def clip_starts(file: Episodes, episodes: np.ndarray, blocks: int, frame_stride: int) -> np.ndarray:
    """Every row at which a clip of ``blocks`` x ``frame_stride`` env steps fits into its episode, int64.

    Raises:
        UserError: there is none.
    """
    span = blocks * frame_stride
    starts = [file.offsets[e] + np.arange(max(0, file.lengths[e] - span + 1)) for e in episodes]
    if not sum(map(len, starts)):
        longest = int(file.lengths[episodes].max()) if len(episodes) else 0
        raise UserError(
            f"{file.path}: no clip of {blocks} blocks x {frame_stride} env steps = {span} env steps in "
            f"{len(episodes)} episodes, the longest has {longest}; collect longer or more episodes"
        )
    return np.concatenate(starts)


def training_loader(data: L.LightningDataModule, dataset: Dataset, num_workers: int = 0) -> DataLoader:
    """Shuffled batches that a resumed run continues exactly; ``data`` has batch_size, shuffle_seed and a trainer."""
    trainer = data.trainer
    progress = (
        (trainer.global_step * trainer.accumulate_grad_batches, trainer.global_rank, trainer.world_size)
        if trainer
        else (0, 0, 1)
    )
    sampler = ResumableShuffle(len(dataset), data.batch_size, data.shuffle_seed, *progress)
    return DataLoader(
        dataset,
        batch_size=data.batch_size,
        sampler=sampler,
        drop_last=True,
        collate_fn=as_is,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )


def as_is(batch):
    """For datasets that make whole batches themselves."""
    return batch
