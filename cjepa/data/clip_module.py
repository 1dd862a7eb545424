"""What all DataModules of clips share: which episodes they use, in which order, and how batches are made."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import lightning as L
import numpy as np
from torch.utils.data import DataLoader, Dataset

from cjepa.arguments import at_least
from cjepa.data.clip_windows import as_is
from cjepa.data.sampling import ResumableShuffle
from cjepa.data.splits import SPLIT_SEED, lineage_of, used_episodes
from cjepa.data.store.shards import open_episodes


class EpisodeClips(L.LightningDataModule, ABC):
    """Clips of the training, validation and test episodes of a file.

    Args:
        path: episode or token file, or folder or glob of several.
        frame_stride: env steps per block.
        train_blocks: frames per training clip; a world model needs its history plus one.
        val_blocks: frames per validation or test clip; a world model needs its history plus the rollout's horizon.
        batch_size: clips per batch.
        val_clips: number of held-out clips in validation, spread evenly.
        split_seed: seed of the split by episode; use the same value for all models of the same episodes.
        shuffle_seed: seed of the order of training batches.
        exclude_episodes: indices of episodes to leave out; the split of the others does not change.
        exclude_corrupted: check all episodes first, leave out the damaged ones and log their indices.

    Raises:
        ValueError: a number is out of its range.
    """

    num_workers = 0
    """Processes that read ahead; 0 reads in the training process."""

    def __init__(
        self,
        path: str,
        *,
        frame_stride: int = 5,
        train_blocks: int = 4,
        val_blocks: int = 8,
        batch_size: int = 256,
        val_clips: int = 1024,
        split_seed: int = SPLIT_SEED,
        shuffle_seed: int = 0,
        exclude_episodes: tuple[int, ...] = (),
        exclude_corrupted: bool = False,
    ):
        super().__init__()
        blocks = {"frame_stride": frame_stride, "train_blocks": train_blocks, "val_blocks": val_blocks}
        check_options(1, blocks | {"batch_size": batch_size, "val_clips": val_clips})
        check_options(0, {"split_seed": split_seed, "shuffle_seed": shuffle_seed})
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
        """Open the file, split it, and say in ``lineage`` what a checkpoint has to remember of it."""
        self.file = open_episodes(self.path)
        self.splits, self.excluded = used_episodes(
            self.file, self.split_seed, self.exclude_episodes, self.exclude_corrupted
        )
        self.lineage = lineage_of(self.file, self.split_seed, self.excluded)

    @abstractmethod
    def training_clips(self) -> Dataset:
        """All training clips; ``__getitems__`` makes a whole batch."""

    @abstractmethod
    def held_out_clips(self, split: str, blocks: int | None = None) -> Dataset:
        """All clips of the split ``val`` or ``test``, with ``starts`` that can be thinned.

        Args:
            split: ``val`` or ``test``.
            blocks: frames per clip; None for ``val_blocks``.
        """

    def train_dataloader(self) -> DataLoader:
        """Shuffled training clips, which a resumed run continues exactly; the last, incomplete batch is dropped."""
        dataset = self.training_clips()
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=ResumableShuffle.of(self.trainer, len(dataset), self.batch_size, self.shuffle_seed),
            drop_last=True,
            collate_fn=as_is,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

    def episodes_of_batch(self, number: int) -> list[int]:
        """Episodes from which a training batch has clips, sorted; batches count from 0 over all epochs."""
        dataset = self.training_clips()
        shuffle = ResumableShuffle.of(self.trainer, len(dataset), self.batch_size, self.shuffle_seed)
        rows = np.asarray(dataset.starts)[shuffle.batch(number)]
        return np.unique(self.file.episode_of(rows)).tolist()

    def val_dataloader(self) -> DataLoader:
        """Held-out clips, the same ones every time."""
        return self.held_out_dataloader("val")

    def test_dataloader(self) -> DataLoader:
        """Clips of the test episodes, on which planning is evaluated too."""
        return self.held_out_dataloader("test")

    def predict_dataloader(self) -> DataLoader:
        """As for testing."""
        return self.test_dataloader()

    def held_out_dataloader(self, split: str, blocks: int | None = None) -> DataLoader:
        """About ``val_clips`` clips of :meth:`held_out_clips`, evenly spread, the same ones every time."""
        dataset = self.held_out_clips(split, blocks)
        dataset.starts = dataset.starts[:: max(1, len(dataset) // self.val_clips)]
        return DataLoader(dataset, batch_size=self.batch_size, collate_fn=as_is)


def check_options(least: int, options: Mapping[str, int]) -> None:
    """Check options of a data module by name.

    Raises:
        ValueError: one is below ``least``; the line has its key in a config.
    """
    at_least(least, **{f"data.init_args.{name}": value for name, value in options.items()})
