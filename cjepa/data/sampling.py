"""Shuffling that a resumed run continues exactly where the interrupted one was."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import DistributedSampler

from cjepa.errors import UserError

if TYPE_CHECKING:
    import lightning as L


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
        most_batches: of an epoch and a process; a float is a share of them, as in Lightning's ``limit_train_batches``.

    Raises:
        UserError: there are fewer rows than a batch has.
    """

    def __init__(
        self,
        num_rows: int,
        batch_size: int,
        seed: int,
        batches_done: int = 0,
        rank: int = 0,
        world_size: int = 1,
        most_batches: int | float = 1.0,
    ):
        super().__init__(range(num_rows), world_size, rank, seed=seed, drop_last=True)
        self.num_rows = num_rows
        self._own_rows = num_rows // world_size
        if self._own_rows < batch_size:
            found = f"{self._own_rows} training clips" + (f" a process, of {world_size}" if world_size > 1 else "")
            raise UserError(
                f"data.init_args.batch_size is {batch_size}, but there are only {found}; set it to "
                f"{max(self._own_rows, 1)} or less, or collect more episodes"
            )
        whole = self._own_rows // batch_size
        batches = min(whole, most_batches) if isinstance(most_batches, int) else int(whole * most_batches)
        self._end_of_resumed = batches * batch_size if batches < whole else None
        self._batch_size, self._batches = batch_size, max(batches, 1)
        # Lightning's own count of epochs goes on by one when a run ends within an epoch, so that is not used
        self._epoch, batch = divmod(batches_done, self._batches)
        self._rows_to_skip = batch * batch_size

    @classmethod
    def of(cls, trainer: "L.Trainer | None", num_rows: int, batch_size: int, seed: int) -> "ResumableShuffle":
        """For what a trainer has done so far; without one, from the beginning."""
        if trainer is None:
            return cls(num_rows, batch_size, seed)
        # Counted in batches: an epoch's last optimizer step may be of fewer than accumulate_grad_batches. A checkpoint
        # that a callback writes at the end of a batch counts this batch as processed, not as completed.
        done = trainer.fit_loop.epoch_loop.batch_progress.total.processed
        return cls(
            num_rows, batch_size, seed, done, trainer.global_rank, trainer.world_size, trainer.limit_train_batches
        )

    def __len__(self) -> int:
        return self._own_rows

    def __iter__(self) -> Iterator[int]:
        own = self._rows(self._epoch)
        skipped, self._rows_to_skip = self._rows_to_skip, 0
        self._epoch += 1
        # Lightning may take the rest of an epoch for a whole one, with as many batches
        return iter(own[skipped : self._end_of_resumed if skipped else None].tolist())

    def batch(self, number: int) -> np.ndarray:
        """Rows of one of this process's batches, counted from 0 over all epochs."""
        epoch, place = divmod(number, self._batches)
        return self._rows(epoch)[place * self._batch_size :][: self._batch_size]

    def _rows(self, epoch: int) -> np.ndarray:
        rows = np.random.default_rng([self.seed, epoch]).permutation(self.num_rows)
        return rows[self.rank :: self.num_replicas][: self._own_rows]
