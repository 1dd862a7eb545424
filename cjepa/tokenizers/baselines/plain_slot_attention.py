"""Slot attention as published, and its recurrence over a video: initialise, correct, predict.

File letters: L cells of a feature grid, K width of features.
"""

from typing import NamedTuple

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from cjepa.tokenizers.baselines.initialisers import Initialiser

_EMPTY = 1e-8  # keeps the mean over no cells finite


class SlotAttention(nn.Module):
    """Slots compete for cells and update themselves with what they win.

    Locatello et al., 2020, algorithm 1, without its residual MLP, which both video models that are built on it here
    leave out: their predictor takes its place.

    Args:
        slot_dim: width of slots, queries, keys and values.
        feature_dim: width of the features.
    """

    def __init__(self, slot_dim: int, feature_dim: int):
        super().__init__()
        self.norm_features = nn.LayerNorm(feature_dim)
        self.norm_slots = nn.LayerNorm(slot_dim)
        self.to_query = nn.Linear(slot_dim, slot_dim, bias=False)
        self.to_key = nn.Linear(feature_dim, slot_dim, bias=False)
        self.to_value = nn.Linear(feature_dim, slot_dim, bias=False)
        self.gru = nn.GRUCell(slot_dim, slot_dim)

    def forward(self, features_BLK: Tensor, slots_BSD: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
        """Corrected slots ``(B, S, D)``, and the attention ``(B, S, L)`` that led to them, which sums to 1 over S."""
        features_BLK = self.norm_features(features_BLK)
        keys_BLD, values_BLD = self.to_key(features_BLK), self.to_value(features_BLK)
        for _ in range(iterations):
            attention_BSL = attend(self.to_query(self.norm_slots(slots_BSD)), keys_BLD)
            updates_BSD = weighted_mean(attention_BSL, values_BLD)
            slots = self.gru(updates_BSD.flatten(0, 1), slots_BSD.flatten(0, 1).to(updates_BSD.dtype))
            slots_BSD = rearrange(slots, "(b s) d -> b s d", b=len(slots_BSD))
        return slots_BSD, attention_BSL


def attend(query_BSD: Tensor, key_BLD: Tensor) -> Tensor:
    """Which slot owns a cell, float (B, S, L): scaled dot products through a softmax over slots."""
    logits_BSL = einsum(query_BSD, key_BLD, "b s d, b l d -> b s l") * query_BSD.shape[-1] ** -0.5
    return logits_BSL.float().softmax(dim=1)


def weighted_mean(attention_BSL: Tensor, value_BLD: Tensor) -> Tensor:
    """Mean value of the cells of each slot (B, S, D): the attention is normalised a second time, over cells."""
    weights_BSL = attention_BSL / (attention_BSL.sum(dim=2, keepdim=True) + _EMPTY)
    return einsum(weights_BSL.to(value_BLD.dtype), value_BLD, "b s l, b l d -> b s d")


class Followed(NamedTuple):
    """Slots of a stretch of frames, and where the next frame's begin."""

    slots_BTSD: Tensor
    """Corrected by each frame."""
    attention_BTSL: Tensor
    """That led to them; sums to 1 over S."""
    predicted_BSD: Tensor
    """For the frame after these."""


class RecurrentSlots(nn.Module):
    """Slots that follow a video: what one frame's slots predict is where the next frame's begin.

    SAVi (Kipf et al., 2022), equations 1 and 2: ``S_t = Corrector(h_t, S^_t)``, ``S^_(t+1) = Predictor(S_t)``, with
    ``S^_1`` from the initialiser.

    Args:
        initialiser: of the slots of the first frame; it decides S and D.
        predictor: ``(B, S, D)`` to the same.
        feature_dim: width of the features.
        iterations: of slot attention at the first frame.
        later_iterations: at the others.
    """

    def __init__(
        self, initialiser: Initialiser, predictor: nn.Module, feature_dim: int, iterations: int, later_iterations: int
    ):
        super().__init__()
        self.initialiser = initialiser
        self.corrector = SlotAttention(initialiser.slot_dim, feature_dim)
        self.predictor = predictor
        self.iterations = iterations
        self.later_iterations = later_iterations

    def forward(
        self, features_BTLK: Tensor, predicted_BSD: Tensor | None = None, hints_BSH: Tensor | None = None
    ) -> Followed:
        """Follow the slots through frames.

        Args:
            features_BTLK: of the frames.
            predicted_BSD: where the slots of the first of these frames begin; None at the beginning of a clip.
            hints_BSH: for the initialiser, at the beginning of a clip.
        """
        iterations = self.later_iterations
        if predicted_BSD is None:
            predicted_BSD, iterations = self.initialiser(len(features_BTLK), hints_BSH), self.iterations
        slots, attention = [], []
        for features_BLK in features_BTLK.unbind(dim=1):
            corrected_BSD, attention_BSL = self.corrector(features_BLK, predicted_BSD, iterations)
            predicted_BSD, iterations = self.predictor(corrected_BSD), self.later_iterations
            slots.append(corrected_BSD.float())
            attention.append(attention_BSL)
        return Followed(torch.stack(slots, dim=1), torch.stack(attention, dim=1), predicted_BSD)
