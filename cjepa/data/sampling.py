"""Shuffling that a resumed run continues exactly where the interrupted one was."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class ResumableShuffle(Sampler[int]):
    """A permutation of the rows for each epoch, drawn from (seed, epoch) and from nothing else.

    Args:
        num_rows: of the dataset.
        batch_size: of the loader, which drops the last, incomplete batch.
        seed: of all permutations.
        steps_done: optimiser steps that the run has taken already; the first epoch starts behind its batches.
    """

    def __init__(self, num_rows: int, batch_size: int, seed: int, steps_done: int = 0):
        self.num_rows = num_rows
        self.seed = seed
        # Lightning's own count of epochs goes on by one when a run ends within an epoch, so that is not used
        self._epoch, batch = divmod(steps_done, max(num_rows // batch_size, 1))
        self._rows_to_skip = batch * batch_size

    def __len__(self) -> int:
        return self.num_rows

    def __iter__(self) -> Iterator[int]:
        rows = np.random.default_rng([self.seed, self._epoch]).permutation(self.num_rows)
        skipped, self._rows_to_skip = self._rows_to_skip, 0
        self._epoch += 1
        return iter(rows[skipped:].tolist())
