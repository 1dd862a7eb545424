"""Slot attention as published, and its recurrence over a video: initialise, correct, predict.

File letters: L cells of a feature grid, K width of features.
"""

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

    def forward(self, features_BTLK: Tensor, hints_BSH: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """-> the corrected slots ``(B, T, S, D)`` and their attention ``(B, T, S, L)``."""
        predicted_BSD = self.initialiser(len(features_BTLK), hints_BSH)
        slots, attention = [], []
        for t in range(features_BTLK.shape[1]):
            iterations = self.later_iterations if t else self.iterations
            corrected_BSD, attention_BSL = self.corrector(features_BTLK[:, t], predicted_BSD, iterations)
            predicted_BSD = self.predictor(corrected_BSD)
            slots.append(corrected_BSD.float())
            attention.append(attention_BSL)
        return torch.stack(slots, dim=1), torch.stack(attention, dim=1)
