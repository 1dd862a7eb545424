"""Which (time, object) cells of a history are hidden from the predictor.

A mask is drawn per sample from a generator. Frame 0 is never masked: it is the identity anchor that tells a masked
object which one it is (C-JEPA, arXiv 2602.11389, section 3).

File letter: M maskable blocks of a history, T - 1.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from cjepa.arguments import at_least, check, share
from cjepa.errors import UserError
from cjepa.shapes import check_given
from cjepa.world_models.graph import nearest_neighbours


class Mask(ABC):
    """Draws masks of a budget that is the same for all of them, so that they compare: ``count x (T - 1)`` cells.

    Args:
        num_masked: the budget of a sample in objects, 0 to S.
        random_count: draw the count of each sample from 0..num_masked, all equally likely; on average it is then
            half of num_masked.
        shared_in_batch: one draw for the whole batch.
        hide_proprio: share of the samples, 0 to 1, whose proprioception is hidden too, in all blocks after the first.
            The budget of objects stays the same.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        num_masked: int,
        random_count: bool = False,
        shared_in_batch: bool = False,
        hide_proprio: float = 0.0,
    ):
        at_least(0, num_masked=num_masked)
        share(hide_proprio=hide_proprio)
        self.num_masked = num_masked
        self.random_count = random_count
        self.shared_in_batch = shared_in_batch
        self.hide_proprio = hide_proprio

    def sample(self, tokens_BTSD: Tensor, generator: torch.Generator) -> Tensor:
        """The cells of a history that are hidden.

        Args:
            tokens_BTSD: normalised object tokens of the history. Only block 0, which is never hidden, is read.
            generator: of all randomness, on the CPU.

        Returns:
            Bool ``(B, T, S)`` on the device of the tokens, True = hidden; row T = 0 is always False. With
            ``hide_proprio`` it is ``(B, T, S + 1)``, and the last column is that of proprioception.

        Raises:
            UserError: the budget is above S, or :meth:`hide` gives something else than it says.
        """
        batch, blocks, slots, _ = tokens_BTSD.shape
        self.check_budget(slots)
        draws = 1 if self.shared_in_batch else batch
        counts_B = torch.full((draws,), self.num_masked)
        if self.random_count:
            counts_B = torch.randint(0, self.num_masked + 1, (draws,), generator=generator)
        anchors_BSD = tokens_BTSD[:, 0]
        if self.shared_in_batch:
            anchors_BSD = anchors_BSD.mean(dim=0, keepdim=True)
        hidden_BME = self.hide(counts_B, blocks - 1, anchors_BSD, generator)
        check_given(hidden_BME, (draws, blocks - 1, slots), f"{type(self).__name__}.hide", torch.bool)
        if self.hide_proprio:
            hidden_B = torch.rand(draws, generator=generator) < self.hide_proprio
            hidden_BME = torch.cat([hidden_BME, hidden_B[:, None, None].expand(-1, blocks - 1, 1)], dim=2)
        hidden_BTE = pad(hidden_BME, (0, 0, 1, 0))
        return hidden_BTE.repeat(batch // draws, 1, 1).to(tokens_BTSD.device, non_blocking=True)

    def check_budget(self, slots: int) -> None:
        """Whether there are as many objects as are to be hidden.

        Raises:
            UserError: there are fewer.
        """
        if self.num_masked > slots:
            raise UserError(
                f"the mask's num_masked is {self.num_masked}, expected 0 to {slots}, the number of object tokens"
            )

    def describe(self) -> dict[str, Any]:
        """Class and options, for ``run.json``."""
        return {"class": type(self).__name__} | {k: v for k, v in vars(self).items() if k[0] != "_"}

    @abstractmethod
    def hide(self, counts_B: Tensor, blocks: int, anchors_BSD: Tensor, generator: torch.Generator) -> Tensor:
        """The hidden cells behind the anchor.

        Args:
            counts_B: int, of each sample's budget: ``counts_B * blocks`` cells have to be hidden.
            blocks: M, may be 0.
            anchors_BSD: normalised object tokens of block 0; their mean over the batch if it shares one draw. A mask
                that looked at later blocks would tell what it hides by what it hides.
            generator: of all randomness, on the CPU.

        Returns:
            Bool ``(B, M, S)`` on the CPU.
        """


class ObjectMask(Mask):
    """Hides the whole history of some objects: a latent intervention."""

    def hide(self, counts_B: Tensor, blocks: int, anchors_BSD: Tensor, generator: torch.Generator) -> Tensor:
        """See :class:`Mask`."""
        hidden_BS = self.ranks(anchors_BSD, generator) < counts_B[:, None]
        return hidden_BS[:, None].repeat(1, blocks, 1)

    def ranks(self, anchors_BSD: Tensor, generator: torch.Generator) -> Tensor:
        """The place of each object in the order in which objects are hidden: int ``(B, S)``, 0..S-1 in every row."""
        return random_ranks(*anchors_BSD.shape[:2], generator)


class FixedMask(ObjectMask):
    """Hides the same objects in every sample and every step, as C-JEPA's published code does.

    That code makes a new generator from the same seed at each call. With its seed, 42, it always hides slot 1 if it
    hides one of four, slots 1 and 3 if two of four, and slots 0, 1, 2 and 5 if four of seven.

    Args:
        num_masked: see :class:`Mask`.
        random_count: see :class:`Mask`; the objects of a smaller count are among those of a larger one.
        shared_in_batch: see :class:`Mask`.
        hide_proprio: see :class:`Mask`.
        seed: decides which objects.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        num_masked: int,
        random_count: bool = False,
        shared_in_batch: bool = False,
        hide_proprio: float = 0.0,
        seed: int = 42,
    ):
        super().__init__(num_masked, random_count, shared_in_batch, hide_proprio)
        check(0 <= seed < 2**32, "seed", seed, "0 to 2^32 - 1")
        self.seed = seed

    def ranks(self, anchors_BSD: Tensor, generator: torch.Generator) -> Tensor:
        """See :class:`ObjectMask`."""
        batch, slots = anchors_BSD.shape[:2]
        order_S = np.random.RandomState(self.seed).permutation(slots)  # the published code's generator
        return torch.from_numpy(order_S).argsort().repeat(batch, 1)


class CentralityMask(ObjectMask):
    """Hides central objects more often than others (WAG, world as graph).

    Every object has an edge to each of its ``num_neighbours`` nearest others by the cosine of their first tokens. An
    object's centrality is the sum of the cosines of the edges that lead to it. Objects are drawn one after the other
    with odds of exp(centrality).

    Args:
        num_masked: see :class:`Mask`.
        random_count: see :class:`Mask`.
        shared_in_batch: see :class:`Mask`.
        hide_proprio: see :class:`Mask`.
        num_neighbours: of every object, 1 or more.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        num_masked: int,
        random_count: bool = False,
        shared_in_batch: bool = False,
        hide_proprio: float = 0.0,
        num_neighbours: int = 3,
    ):
        super().__init__(num_masked, random_count, shared_in_batch, hide_proprio)
        at_least(1, num_neighbours=num_neighbours)
        self.num_neighbours = num_neighbours

    def ranks(self, anchors_BSD: Tensor, generator: torch.Generator) -> Tensor:
        """See :class:`ObjectMask`."""
        centrality_BS = centrality(anchors_BSD.float(), self.num_neighbours).cpu()
        # The largest of values with Gumbel noise is a draw by the softmax of the values, the next one the next draw.
        gumbel_BS = -torch.empty(centrality_BS.shape).exponential_(generator=generator).log()
        return (centrality_BS + gumbel_BS).argsort(dim=1, descending=True).argsort(dim=1)


class TubeMask(Mask):
    """Hides contiguous spans of time of single slots, one span per object of the budget.

    A tube that runs over the last frame goes on at the first frames of the next slot.
    """

    def hide(self, counts_B: Tensor, blocks: int, anchors_BSD: Tensor, generator: torch.Generator) -> Tensor:
        """See :class:`Mask`."""
        batch, slots = anchors_BSD.shape[:2]
        cells = slots * blocks
        # Tubes of equal length that never overlap: cut the ring of cells at a random place into tiles, take some.
        tiles_BS = random_ranks(batch, slots, generator) < counts_B[:, None]
        ring = tiles_BS.repeat_interleave(max(blocks, 1), dim=1)[:, :cells]
        shift = torch.randint(0, max(cells, 1), (batch, 1), generator=generator)
        place = (torch.arange(cells) + shift) % max(cells, 1)
        return ring.gather(1, place).reshape(batch, slots, blocks).transpose(1, 2)


class TokenMask(Mask):
    """Hides independent (time, object) cells."""

    def hide(self, counts_B: Tensor, blocks: int, anchors_BSD: Tensor, generator: torch.Generator) -> Tensor:
        """See :class:`Mask`."""
        batch, slots = anchors_BSD.shape[:2]
        ranks = random_ranks(batch, slots * blocks, generator)
        return (ranks < counts_B[:, None] * blocks).reshape(batch, blocks, slots)


def random_ranks(batch: int, count: int, generator: torch.Generator) -> Tensor:
    """An independent random permutation of 0..count-1 in every row: int ``(batch, count)``."""
    return torch.rand(batch, count, generator=generator).argsort(dim=1).argsort(dim=1)


def centrality(tokens_BSD: Tensor, num_neighbours: int) -> Tensor:
    """Weighted in-degree ``(B, S)`` of every token in the graph of nearest neighbours by cosine."""
    edges_BSS, cosine_BSS = nearest_neighbours(tokens_BSD, num_neighbours)
    return torch.where(edges_BSS, cosine_BSS, 0.0).sum(dim=1)


def anchored(tokens_BTSD: Tensor, proprio_BTP: Tensor, mask_BTE: Tensor) -> tuple[Tensor, Tensor]:
    """A history whose hidden cells have the values of block 0, which is never hidden."""
    hidden_BTS, hidden_BT1 = split_mask(mask_BTE, tokens_BTSD.shape[2])
    return (
        torch.where(hidden_BTS[..., None], tokens_BTSD[:, :1], tokens_BTSD),
        torch.where(hidden_BT1, proprio_BTP[:, :1], proprio_BTP),
    )


def split_mask(mask_BTE: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """A mask as :meth:`Mask.sample` draws it, in two parts.

    Args:
        mask_BTE: bool ``(B, T, S)`` or ``(B, T, S + 1)``.
        slots: S.

    Returns:
        What is hidden of objects, ``(B, T, S)``, and of proprioception, ``(B, T, 1)``.
    """
    proprio_BT1 = pad(mask_BTE[..., slots:], (0, slots + 1 - mask_BTE.shape[-1]))
    return mask_BTE[..., :slots], proprio_BT1
