"""Masks and labels that can be counted by hand."""

import torch


def masks_of(owner_YX: list[list[int]], slots: int) -> torch.Tensor:
    """Hard masks of a clip of one frame from the index of the slot that owns each pixel."""
    owner = torch.tensor(owner_YX)
    return torch.stack([owner == slot for slot in range(slots)])[None, None].float()


# One frame: 4 pixels of object 1, 4 of object 2, 4 of background; object 1 is split between slots 0 and 1.
LABELS = torch.tensor([[[[1, 1, 1, 1], [2, 2, 2, 2], [0, 0, 0, 0]]]], dtype=torch.uint8)
SPLIT = masks_of([[0, 0, 1, 1], [2, 2, 2, 2], [2, 0, 0, 1]], 3)
