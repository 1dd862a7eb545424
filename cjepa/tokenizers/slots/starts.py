"""Where slots begin: the guess that slot attention corrects at the first frame, and for slots that are free later on.

File letters: L cells that slots look at, K content width.
"""

from abc import ABC, abstractmethod

import torch
from einops import einsum, repeat
from torch import Tensor, nn
from torch.nn.functional import normalize

from cjepa.tokenizers.slots.foreground import likeness
from cjepa.tokenizers.slots.slot_attention import Frame, SlotState, moments

_FORGETTING = 0.8  # of memory, a frame
_FORGOTTEN = 0.25  # below it a slot is free: an object may be out of view for five frames
_REACH = 0.25  # a seed claims cells of its hue within about an object's radius, in image coordinates
_SEED_CELLS = 1.0  # less unexplained foreground than that many cells is no object


class Start(nn.Module, ABC):
    """Guesses the slots before slot attention corrects them; ``num_slots`` is S."""

    num_slots: int

    @abstractmethod
    def forward(self, carried: SlotState | None, frame: Frame) -> SlotState:
        """The guess at a frame.

        Args:
            carried: what the slots brought from the frame before; None at the first.
            frame: that is to be explained.
        """


class LearnedStart(Start):
    """Every slot has learned content; all start at the foreground's centre, with its spread.

    They differ in content only, so that they part by what things look like. Slots that start at places of their own
    cut the largest object into pieces instead. The index means the same in every clip: for scenes whose objects are
    always the same, such as Push-T.

    Args:
        num_slots: S.
        slot_dim: width of the content.
    """

    def __init__(self, num_slots: int, slot_dim: int):
        super().__init__()
        self.num_slots = num_slots
        self.content = nn.Parameter(torch.randn(num_slots, slot_dim) * 0.5)

    def forward(self, carried: SlotState | None, frame: Frame) -> SlotState:
        """See :class:`Start`."""
        if carried is not None:
            return carried
        content = repeat(self.content, "s k -> b s k", b=len(frame.salience_BL))
        position, scale = moments(repeat(frame.salience_BL, "b l -> b s l", s=self.num_slots), frame.places_BL2)
        hue = torch.zeros(*scale.shape[:2], 3, device=scale.device)
        known = torch.ones_like(scale)
        return SlotState(content, position, scale, torch.zeros_like(position), hue, known, known)


class SeededStart(Start):
    """Slots are seeded one after the other on the most salient cell that no slot explains yet.

    A seed claims the cells of its hue around it; what is left is for the next one, and once nothing is left the other
    slots stay empty. This is the stick-breaking of GENESIS-V2 (Engelcke et al., 2021) with a fixed kernel in place of
    its learned one. At later frames the slots in use claim what their hue and predicted place explain, and the rest
    seeds the free ones: an object that enters gets a slot, and one that returns within five frames finds its own.

    Args:
        num_slots: S, the largest number of objects.
        slot_dim: width of features and content.
    """

    def __init__(self, num_slots: int, slot_dim: int):
        super().__init__()
        self.num_slots = num_slots
        self.to_content = nn.Linear(slot_dim, slot_dim)

    def forward(self, carried: SlotState | None, frame: Frame) -> SlotState:
        """See :class:`Start`."""
        if carried is None:
            carried = self._empty(frame)
        free_BS1 = carried.memory_BS1 < _FORGOTTEN
        claims_BSL = self._claims(carried, free_BS1, frame)
        mass_BS1 = claims_BSL.sum(dim=2, keepdim=True)
        found_BS1 = mass_BS1 > _SEED_CELLS
        position, scale = moments(claims_BSL, frame.places_BL2)
        pooled = einsum(claims_BSL / mass_BS1.clamp(min=1e-4), frame.features_BLK.float(), "b s l, b l k -> b s k")
        # Not of what attention gives to the slot: that is in part of neighbours, all of it while its object is hidden.
        claimed_hue = normalize(einsum(claims_BSL, frame.hues_BL3, "b s l, b l c -> b s c").float(), dim=-1)
        taken = (free_BS1 & found_BS1).to(mass_BS1)
        seeded = SlotState(
            self.to_content(pooled).float(), position, scale, torch.zeros_like(position), claimed_hue, taken, taken
        )
        kept = carried._replace(
            position_BS2=torch.where(found_BS1, position, carried.position_BS2),
            hue_BS3=torch.where(found_BS1, claimed_hue, carried.hue_BS3),
        )
        return SlotState(*(torch.where(free_BS1, new.to(old), old) for new, old in zip(seeded, kept, strict=True)))

    def _empty(self, frame: Frame) -> SlotState:
        batch, _, width = frame.features_BLK.shape
        sizes = (width, 2, 1, 2, 3, 1, 1)
        return SlotState(*(frame.salience_BL.new_zeros(batch, self.num_slots, size) for size in sizes))

    @torch.no_grad()
    def _claims(self, carried: SlotState, free_BS1: Tensor, frame: Frame) -> Tensor:
        """Cells that every slot begins with (B, S, L).

        A slot in use claims its hue around what there is of it where the slot is expected: often that is a little
        beside its object, and what it leaves of it would seed another slot. If nothing is there, its object has jumped
        or comes back elsewhere and is known by its hue alone. Free slots share what is left.
        """
        alike_BSL = likeness(carried.hue_BS3, frame.hues_BL3) * ~free_BS1 * frame.salience_BL[:, None]
        expected_BSL = alike_BSL * _reach(carried.position_BS2, frame.places_BL2)
        is_there_BS1 = expected_BSL.sum(dim=2, keepdim=True) > _SEED_CELLS
        centre_BS2, _ = moments(expected_BSL, frame.places_BL2)
        claims_BSL = alike_BSL * _reach(centre_BS2, frame.places_BL2) * is_there_BS1
        left_BL = frame.salience_BL - claims_BSL.amax(dim=1)
        elsewhere_BSL = torch.minimum(alike_BSL, left_BL[:, None]) * ~is_there_BS1
        claims_BSL = claims_BSL + elsewhere_BSL * _reach(_at(elsewhere_BSL.argmax(dim=2), frame), frame.places_BL2)
        left_BL = frame.salience_BL - claims_BSL.amax(dim=1)
        seeds = []
        for slot in range(self.num_slots):
            seed_B1 = left_BL.argmax(dim=1, keepdim=True)
            hue_B13 = frame.hues_BL3.take_along_dim(seed_B1[..., None], dim=1)
            kernel_B1L = likeness(hue_B13, frame.hues_BL3) * _reach(_at(seed_B1, frame), frame.places_BL2)
            seeds.append(left_BL * kernel_B1L[:, 0] * free_BS1[:, slot])
            left_BL = left_BL - seeds[-1]
        return claims_BSL + torch.stack(seeds, dim=1)


def fade(state: SlotState) -> SlotState:
    """Where the slots will be a frame later, if they stay unseen: they continue their motion and fade."""
    return state._replace(
        position_BS2=(state.position_BS2 + state.motion_BS2).clamp(-1.2, 1.2),
        memory_BS1=state.memory_BS1 * _FORGETTING,
    )


def _at(cells_BS: Tensor, frame: Frame) -> Tensor:
    """Places (B, S, 2) of cells."""
    return frame.places_BL2.take_along_dim(cells_BS[..., None], dim=1)


def _reach(centre_BS2: Tensor, places_BL2: Tensor) -> Tensor:
    """How near places are to a centre, in [0, 1]: flat within an object's radius, then falling; float (B, S, L)."""
    distance_BSL = torch.cdist(centre_BS2, places_BL2)
    return torch.exp(-((distance_BSL / _REACH) ** 4))
