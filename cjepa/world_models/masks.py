"""Which (time, object) cells of a history are hidden from the predictor.

A mask is drawn per sample from a generator. Frame 0 is never masked: it is the identity anchor that tells a masked
object which one it is (C-JEPA, arXiv 2602.11389, section 3).
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from cjepa.errors import UserError


class Mask(ABC):
    """Draws masks; subclasses keep the budget ``num_masked x (T - 1)`` cells a sample, so that they compare."""

    @abstractmethod
    def sample(self, batch: int, blocks: int, slots: int, generator: torch.Generator) -> Tensor:
        """Bool ``(B, T, S)``, True = hidden; row T = 0 is always False."""


class ObjectMask(Mask):
    """Hides the whole history of some objects: a latent intervention.

    Args:
        num_masked: how many objects, at most S.
        random_count: draw the count from 0..num_masked per sample instead.
        shared_in_batch: one draw for the whole batch.
    """

    def __init__(self, num_masked: int, random_count: bool = False, shared_in_batch: bool = False):
        self.num_masked = num_masked
        self.random_count = random_count
        self.shared_in_batch = shared_in_batch

    def sample(self, batch: int, blocks: int, slots: int, generator: torch.Generator) -> Tensor:
        _check_budget(self.num_masked, slots)
        draws = 1 if self.shared_in_batch else batch
        counts = torch.full((draws, 1), self.num_masked)
        if self.random_count:
            counts = torch.randint(0, self.num_masked + 1, (draws, 1), generator=generator)
        hidden_BS = _random_ranks(draws, slots, generator) < counts
        mask_BTS = hidden_BS[:, None].repeat(batch // draws, blocks, 1)
        return _keep_anchor(mask_BTS)


class TubeMask(Mask):
    """Hides contiguous spans of time of single slots: one span a tube, as many cells as :class:`ObjectMask`.

    Args:
        num_masked: tubes a sample, each ``T - 1`` cells of the ``S x (T - 1)`` maskable ones; a tube that runs over
            the last frame goes on at the first frames of the next slot.
    """

    def __init__(self, num_masked: int):
        self.num_masked = num_masked

    def sample(self, batch: int, blocks: int, slots: int, generator: torch.Generator) -> Tensor:
        _check_budget(self.num_masked, slots)
        length, cells = blocks - 1, slots * (blocks - 1)
        # Tubes of equal length that never overlap: cut the ring of cells at a random place into tiles, take some.
        tiles_BS = _random_ranks(batch, slots, generator) < self.num_masked
        ring = tiles_BS.repeat_interleave(max(length, 1), dim=1)[:, :cells]
        shift = torch.randint(0, max(cells, 1), (batch, 1), generator=generator)
        place = (torch.arange(cells) + shift) % max(cells, 1)
        hidden = ring.gather(1, place).reshape(batch, slots, length).transpose(1, 2)
        return torch.cat([torch.zeros(batch, 1, slots, dtype=torch.bool), hidden], dim=1)


class TokenMask(Mask):
    """Hides independent (time, object) cells, as many as :class:`ObjectMask` would.

    Args:
        num_masked: the budget in objects.
    """

    def __init__(self, num_masked: int):
        self.num_masked = num_masked

    def sample(self, batch: int, blocks: int, slots: int, generator: torch.Generator) -> Tensor:
        _check_budget(self.num_masked, slots)
        ranks = _random_ranks(batch, slots * (blocks - 1), generator)
        hidden = (ranks < self.num_masked * (blocks - 1)).reshape(batch, blocks - 1, slots)
        return torch.cat([torch.zeros(batch, 1, slots, dtype=torch.bool), hidden], dim=1)


def _random_ranks(batch: int, count: int, generator: torch.Generator) -> Tensor:
    """An independent random permutation of 0..count-1 in every row."""
    return torch.rand(batch, count, generator=generator).argsort(dim=1).argsort(dim=1)


def _keep_anchor(mask_BTS: Tensor) -> Tensor:
    mask_BTS[:, 0] = False
    return mask_BTS


def _check_budget(num_masked: int, slots: int) -> None:
    if not 0 <= num_masked <= slots:
        raise UserError(f"the mask's num_masked is {num_masked}, expected 0 to {slots}, the number of object tokens")
