"""Which (time, object) cells of a history are hidden from the predictor.

A mask is drawn per sample from a generator. Frame 0 is never masked: it is the identity anchor that tells a masked
object which one it is (C-JEPA, arXiv 2602.11389, section 3).

File letter: M maskable blocks of a history, T - 1.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from cjepa.errors import UserError


class Mask(ABC):
    """Draws masks of a budget that is the same for all of them, so that they compare: ``count x (T - 1)`` cells.

    Args:
        num_masked: the budget of a sample in objects, 0 to S.
        random_count: draw the count of each sample from 0..num_masked, all equally likely; on average it is then
            half of num_masked.
        shared_in_batch: one draw for the whole batch.
    """

    def __init__(self, num_masked: int, random_count: bool = False, shared_in_batch: bool = False):
        self.num_masked = num_masked
        self.random_count = random_count
        self.shared_in_batch = shared_in_batch

    def sample(self, batch: int, blocks: int, slots: int, generator: torch.Generator) -> Tensor:
        """Bool ``(B, T, S)``, True = hidden; row T = 0 is always False.

        Raises:
            UserError: the budget is not in 0..S.
        """
        if not 0 <= self.num_masked <= slots:
            raise UserError(
                f"the mask's num_masked is {self.num_masked}, expected 0 to {slots}, the number of object tokens"
            )
        draws = 1 if self.shared_in_batch else batch
        counts_B = torch.full((draws,), self.num_masked)
        if self.random_count:
            counts_B = torch.randint(0, self.num_masked + 1, (draws,), generator=generator)
        hidden_BMS = self.hide(counts_B, blocks - 1, slots, generator).repeat(batch // draws, 1, 1)
        return torch.cat([torch.zeros(batch, 1, slots, dtype=torch.bool), hidden_BMS], dim=1)

    @abstractmethod
    def hide(self, counts_B: Tensor, blocks: int, slots: int, generator: torch.Generator) -> Tensor:
        """The hidden cells behind the anchor.

        Args:
            counts_B: int, of each sample's budget: ``counts_B * blocks`` cells have to be hidden.
            blocks: M, may be 0.
            slots: S.
            generator: of all randomness.

        Returns:
            Bool ``(B, M, S)``.
        """


class ObjectMask(Mask):
    """Hides the whole history of some objects: a latent intervention."""

    def hide(self, counts_B: Tensor, blocks: int, slots: int, generator: torch.Generator) -> Tensor:
        """See :class:`Mask`."""
        hidden_BS = random_ranks(len(counts_B), slots, generator) < counts_B[:, None]
        return hidden_BS[:, None].repeat(1, blocks, 1)


class TubeMask(Mask):
    """Hides contiguous spans of time of single slots, one span per object of the budget.

    A tube that runs over the last frame goes on at the first frames of the next slot.
    """

    def hide(self, counts_B: Tensor, blocks: int, slots: int, generator: torch.Generator) -> Tensor:
        """See :class:`Mask`."""
        batch, cells = len(counts_B), slots * blocks
        # Tubes of equal length that never overlap: cut the ring of cells at a random place into tiles, take some.
        tiles_BS = random_ranks(batch, slots, generator) < counts_B[:, None]
        ring = tiles_BS.repeat_interleave(max(blocks, 1), dim=1)[:, :cells]
        shift = torch.randint(0, max(cells, 1), (batch, 1), generator=generator)
        place = (torch.arange(cells) + shift) % max(cells, 1)
        return ring.gather(1, place).reshape(batch, slots, blocks).transpose(1, 2)


class TokenMask(Mask):
    """Hides independent (time, object) cells."""

    def hide(self, counts_B: Tensor, blocks: int, slots: int, generator: torch.Generator) -> Tensor:
        """See :class:`Mask`."""
        ranks = random_ranks(len(counts_B), slots * blocks, generator)
        return (ranks < counts_B[:, None] * blocks).reshape(len(counts_B), blocks, slots)


def random_ranks(batch: int, count: int, generator: torch.Generator) -> Tensor:
    """An independent random permutation of 0..count-1 in every row: int ``(batch, count)``."""
    return torch.rand(batch, count, generator=generator).argsort(dim=1).argsort(dim=1)
