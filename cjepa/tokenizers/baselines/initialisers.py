"""The slots of a clip's first frame, before slot attention: learned, random, or told where the objects are.

File letter: H values of a hint.
"""

from abc import ABC, abstractmethod

import torch
from einops import repeat
from torch import Tensor, nn

from cjepa.draws import rank
from cjepa.tokenizers.hints import BOX, CENTRE

_EVAL_SEED = 0
_RANKS_APART = 1_000_000_007  # more than there are draws


class Initialiser(nn.Module, ABC):
    """Makes S slots of width D.

    Args:
        num_slots: S.
        slot_dim: D.
    """

    hint_dim = 0
    """H, or 0 for those that take no hints."""

    def __init__(self, num_slots: int, slot_dim: int):
        super().__init__()
        self.num_slots = num_slots
        self.slot_dim = slot_dim

    @abstractmethod
    def forward(self, batch: int, hints_BSH: Tensor | None = None) -> Tensor:
        """Slots ``(batch, S, D)``."""


class LearnedSlots(Initialiser):
    """The same learned slots for every clip: the index of an object may mean something."""

    def __init__(self, num_slots: int, slot_dim: int):
        super().__init__(num_slots, slot_dim)
        self.slots_SD = nn.Parameter(torch.randn(num_slots, slot_dim) * slot_dim**-0.5)

    def forward(self, batch: int, hints_BSH: Tensor | None = None) -> Tensor:
        """See :class:`Initialiser`."""
        return repeat(self.slots_SD, "s d -> b s d", b=batch)


class GaussianSlots(Initialiser):
    """Draws from one Gaussian with learned mean and spread (Locatello et al., 2020): slots are exchangeable.

    In eval mode every clip starts with the same draw. The mean itself would not do: equal slots stay equal. In
    training each call draws again, from a count saved with the weights, so that a resumed run draws the same, and from
    the rank, so that processes draw apart.
    """

    def __init__(self, num_slots: int, slot_dim: int):
        super().__init__(num_slots, slot_dim)
        self.mean_D = nn.Parameter(torch.zeros(slot_dim))
        self.log_std_D = nn.Parameter(torch.full((slot_dim,), slot_dim**-0.5).log())
        self.register_buffer("draws", torch.tensor(0))

    def forward(self, batch: int, hints_BSH: Tensor | None = None) -> Tensor:
        """See :class:`Initialiser`."""
        if self.training:
            self.draws += 1
            noise = self._noise(batch, seed=int(self.draws) + rank() * _RANKS_APART)
        else:
            noise = self._noise(1, seed=_EVAL_SEED).expand(batch, -1, -1)
        return self.mean_D + noise * self.log_std_D.exp()

    def _noise(self, batch: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, self.num_slots, self.slot_dim, generator=generator).to(self.mean_D.device)


class ConditionedSlots(Initialiser):
    """Each slot starts from a hint at its object in the first frame, through an MLP (SAVi, section 3.1).

    A slot whose hint is NaN, and every slot where there are no hints at all, starts from a learned vector of its own.
    Training sees these only where an object is missing: slots that were trained with hints are of little use without.

    Args:
        num_slots: S; slot 0 has no hint, it is the background's.
        slot_dim: D.
        hint_dim: 2 for centres (x, y), 4 for boxes (left, top, right, bottom), in [-1, 1].

    Raises:
        ValueError: ``hint_dim`` is neither.
    """

    def __init__(self, num_slots: int, slot_dim: int, hint_dim: int = CENTRE):
        super().__init__(num_slots, slot_dim)
        if hint_dim not in (CENTRE, BOX):
            raise ValueError(f"hint_dim: expected {CENTRE} for centres or {BOX} for boxes, not {hint_dim}")
        self.hint_dim = hint_dim
        self.unhinted_SD = nn.Parameter(torch.randn(num_slots, slot_dim) * slot_dim**-0.5)
        self.mlp = nn.Sequential(nn.Linear(hint_dim, 2 * slot_dim), nn.ReLU(), nn.Linear(2 * slot_dim, slot_dim))

    def forward(self, batch: int, hints_BSH: Tensor | None = None) -> Tensor:
        """See :class:`Initialiser`."""
        unhinted_BSD = repeat(self.unhinted_SD, "s d -> b s d", b=batch)
        if hints_BSH is None:
            return unhinted_BSD
        missing_BS1 = hints_BSH.isnan().any(dim=-1, keepdim=True)
        hinted_BSD = self.mlp(hints_BSH.nan_to_num())
        return torch.where(missing_BS1, unhinted_BSD, hinted_BSD.to(unhinted_BSD))
