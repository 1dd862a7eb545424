"""Hints at the objects of a clip's first frame, for tokenizers that are told where the objects are.

File letter: H values of a hint.
"""

import torch
from torch import Tensor

from cjepa.tokenizers.grid import cell_centres

CENTRE, BOX = 2, 4
"""H of the two kinds of hints: centre of mass (x, y), or box (left, top, right, bottom)."""


def hints_from_labels(labels_BYX: Tensor, num_slots: int, hint_dim: int) -> Tensor:
    """Hints at the objects of label images: object k for slot k, NaN where it is out of view and for slot 0.

    Args:
        labels_BYX: integers, 0 = background; labels from ``num_slots`` on are left out.
        num_slots: S.
        hint_dim: 2 for centres of mass, 4 for boxes, see ``ConditionedSlots``.

    Returns:
        float (B, S, hint_dim), in [-1, 1].
    """
    height, width = labels_BYX.shape[1:]
    slot_S1 = torch.arange(num_slots, device=labels_BYX.device)[:, None]
    is_mine_BSL1 = ((labels_BYX.flatten(1)[:, None] == slot_S1) & (slot_S1 > 0))[..., None]
    place_L2 = cell_centres(height, width).to(labels_BYX.device)
    if hint_dim == CENTRE:
        return (place_L2 * is_mine_BSL1).sum(dim=2) / is_mine_BSL1.sum(dim=2)  # 0 / 0 is NaN
    half = torch.tensor([1 / width, 1 / height], device=labels_BYX.device)  # of a pixel
    low = torch.where(is_mine_BSL1, place_L2 - half, torch.inf).amin(dim=2)
    high = torch.where(is_mine_BSL1, place_L2 + half, -torch.inf).amax(dim=2)
    return torch.cat([low, high], dim=-1).where(is_mine_BSL1.any(dim=2), torch.nan)
