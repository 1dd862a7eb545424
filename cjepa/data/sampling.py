"""Shuffling that a resumed run continues exactly where the interrupted one was."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import DistributedSampler


class ResumableShuffle(DistributedSampler[int]):
    """A permutation of the rows for each epoch, drawn from (seed, epoch) and from nothing else.

    Of several processes each has its own share of the rows. That makes this a ``DistributedSampler``, and Lightning
    leaves those alone: what it would wrap around another sampler does not know of rows to skip.

    Args:
        num_rows: of the dataset.
        batch_size: of the loader, which drops the last, incomplete batch.
        seed: of all permutations.
        batches_done: that each process has taken already; the first epoch starts behind them.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(
        self, num_rows: int, batch_size: int, seed: int, batches_done: int = 0, rank: int = 0, world_size: int = 1
    ):
        super().__init__(range(num_rows), world_size, rank, seed=seed, drop_last=True)
        self.num_rows = num_rows
        self._own_rows = num_rows // world_size
        # Lightning's own count of epochs goes on by one when a run ends within an epoch, so that is not used
        self._epoch, batch = divmod(batches_done, max(self._own_rows // batch_size, 1))
        self._rows_to_skip = batch * batch_size

    def __len__(self) -> int:
        return self._own_rows

    def __iter__(self) -> Iterator[int]:
        rows = np.random.default_rng([self.seed, self._epoch]).permutation(self.num_rows)
        own = rows[self.rank :: self.num_replicas][: self._own_rows]
        skipped, self._rows_to_skip = self._rows_to_skip, 0
        self._epoch += 1
        return iter(own[skipped:].tolist())
