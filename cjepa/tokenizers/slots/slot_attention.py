"""Slot attention in frames of the slots' own, from one frame of a clip to the next.

Slot attention (Locatello et al., 2020) with positions and scales (Invariant Slot Attention, Biza et al., 2023),
recurrent over time as a corrector (SAVi, Kipf et al., 2022).

File letters: L cells that slots look at, K hidden width.
"""

from typing import NamedTuple

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

_MIN_SCALE, _MAX_SCALE = 0.05, 1.0
_EMPTY = 1e-4  # keeps slots that own nothing finite
_SCALE_UNIT = 2.0  # relative coordinates are in units of 2 standard deviations: an object spans about [-1, 1]
_FAR = 4.0  # from twice that unit on, all places are equally far: objects may jump
_NEVER = -1e4  # logit of a slot without an object
_SEEN_CELLS = 0.5  # a slot that owns less than so many cells' worth of foreground does not see its object


class Frame(NamedTuple):
    """What slots look at: the cells of a frame that stand out most."""

    features_BLK: Tensor
    hues_BL3: Tensor
    """Direction of each cell's difference from the background."""
    salience_BL: Tensor
    """How much of a cell is foreground, in [0, 1]; cells at 0 pull no slot."""
    places_BL2: Tensor
    """(x, y) of the cells in [-1, 1]."""


class SlotState(NamedTuple):
    """What slots know at one frame and carry to the next."""

    content_BSK: Tensor
    """What the slot looks for."""
    position_BS2: Tensor
    """(x, y) in [-1, 1]."""
    scale_BS1: Tensor
    """Standard deviation of what the slot owns, in image coordinates."""
    motion_BS2: Tensor
    """Change of position from one frame to the next."""
    hue_BS3: Tensor
    """By which the slot knows its object; 0 where its start does not ask for it."""
    seen_BS1: Tensor
    """How much of the object is in view now, in [0, 1]."""
    memory_BS1: Tensor
    """1 at frames where the object is in view, fading while it is not; 0 for a slot that never had one."""

    def moved_from(self, before: "SlotState", guess: "SlotState") -> "SlotState":
        """With the motion since the frame before; a slot whose guess is a seed, or that sees nothing, keeps its own."""
        is_seed_BS1 = guess.memory_BS1 == 1.0  # what is carried over has faded
        tracked = torch.where(is_seed_BS1, 0.0, before.memory_BS1 * self.seen_BS1)
        return self._replace(motion_BS2=torch.lerp(self.motion_BS2, self.position_BS2 - before.position_BS2, tracked))


class InvariantSlotAttention(nn.Module):
    """Iterative attention of S slots over a feature grid, each in its own translated and scaled frame.

    Per iteration, Biza et al. 2023, algorithm 1: relative grid, keys and values with it, softmax over slots,
    weighted mean, new position and scale from the attention's moments, GRU and MLP on the content. Two things are
    added. Cells are more likely a slot's the nearer they are to it, as in a mixture of Gaussians: without that, slots
    that were seeded on objects take hundreds of steps to part, if they do. And slots whose object is out of view keep
    what they knew.

    Args:
        slot_dim: width of the slots' content.
        feature_dim: width of the features.
    """

    def __init__(self, slot_dim: int, feature_dim: int):
        super().__init__()
        self.norm_features = nn.LayerNorm(feature_dim)
        self.norm_slots = nn.LayerNorm(slot_dim)
        self.to_hidden = nn.Linear(feature_dim, feature_dim)
        self.relative_to_hidden = nn.Linear(2, feature_dim, bias=False)
        self.to_query = nn.Linear(slot_dim, feature_dim, bias=False)
        self.to_value = nn.Linear(feature_dim, slot_dim)
        self.gru = nn.GRUCell(slot_dim, slot_dim)
        self.mlp = nn.Sequential(
            nn.LayerNorm(slot_dim), nn.Linear(slot_dim, 2 * slot_dim), nn.GELU(), nn.Linear(2 * slot_dim, slot_dim)
        )

    def hidden(self, features_BLK: Tensor) -> Tensor:
        """The part of keys and values that does not depend on the slots, for any leading dimensions."""
        return self.to_hidden(self.norm_features(features_BLK))

    def forward(
        self,
        hidden_BLK: Tensor,
        frame: Frame,
        guess: SlotState,
        iterations: int,
    ) -> tuple[SlotState, Tensor]:
        """Correct a guess of the slots by one frame.

        Args:
            hidden_BLK: of the frame, from :meth:`hidden`.
            frame: itself.
            guess: of the slots at this frame.
            iterations: of the attention.

        Returns:
            The slots, and the attention ``(B, S, L)``, which sums to 1 over S.
        """
        content, position, scale = guess.content_BSK, guess.position_BS2, guess.scale_BS1
        unused_BS1 = torch.where(guess.memory_BS1 > 0, 0.0, _NEVER)
        for _ in range(iterations):
            relative = relative_places(frame.places_BL2, position, scale)
            # Keys and values share one hidden layer, and their second, linear layers act on the query and on the
            # pooled values instead of on every cell: the same function at a fraction of the cost.
            hidden_BSLK = torch.relu(hidden_BLK[:, None] + self.relative_to_hidden(relative))
            query = self.to_query(self.norm_slots(content))
            logits = einsum(hidden_BSLK, query, "b s l k, b s k -> b s l") * query.shape[-1] ** -0.5
            distant = relative.square().sum(dim=-1).clamp(max=_FAR)
            attention = (logits.float() - distant + unused_BS1).softmax(dim=1)
            owned = attention * frame.salience_BL[:, None]
            mass = owned.sum(dim=2, keepdim=True)
            seen = (mass / _SEEN_CELLS).clamp(max=1.0)
            found_position, found_scale = moments(owned, frame.places_BL2)
            position = torch.lerp(guess.position_BS2, found_position, seen)
            scale = torch.lerp(guess.scale_BS1, found_scale, seen)
            pooled = einsum((owned / (mass + _EMPTY)).to(hidden_BSLK.dtype), hidden_BSLK, "b s l, b s l k -> b s k")
            content = torch.lerp(content.float(), self._update(pooled, content).float(), seen)
        memory = torch.maximum(guess.memory_BS1, seen)
        return SlotState(content, position, scale, guess.motion_BS2, guess.hue_BS3, seen, memory), attention

    def _update(self, pooled_BSK: Tensor, content_BSK: Tensor) -> Tensor:
        update = rearrange(self.to_value(pooled_BSK), "b s d -> (b s) d")
        before = rearrange(content_BSK, "b s d -> (b s) d").to(update.dtype)
        content = rearrange(self.gru(update, before), "(b s) d -> b s d", b=len(pooled_BSK))
        return content + self.mlp(content)


def relative_places(places_BL2: Tensor, position_BS2: Tensor, scale_BS1: Tensor) -> Tensor:
    """Places as each slot sees them, from its position and in units of its size: float (B, S, L, 2)."""
    return (places_BL2[:, None] - position_BS2[:, :, None]) / (_SCALE_UNIT * scale_BS1[:, :, None])


def moments(weights_BSL: Tensor, places_BL2: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation of places, (B or 1, L, 2): position (B, S, 2) and scale (B, S, 1)."""
    # sums of products, not einsum: autocast would round places to 8 bits
    weights_BSL1 = (weights_BSL / (weights_BSL.sum(dim=2, keepdim=True) + _EMPTY))[..., None]
    position = (weights_BSL1 * places_BL2[:, None]).sum(dim=2)
    spread_BSL1 = (places_BL2[:, None] - position[:, :, None]).square().mean(dim=-1, keepdim=True)
    scale = ((weights_BSL1 * spread_BSL1).sum(dim=2) + 1e-6).sqrt()
    return position, scale.clamp(_MIN_SCALE, _MAX_SCALE)
