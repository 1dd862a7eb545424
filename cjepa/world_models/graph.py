"""Which objects are near each other: the graph of nearest neighbours that masks and predictors use."""

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity


def nearest_neighbours(tokens_BSD: Tensor, num_neighbours: int) -> tuple[Tensor, Tensor]:
    """Edges from every object to those others whose tokens have the largest cosines with its own.

    Args:
        tokens_BSD: float32.
        num_neighbours: edges of each object; S - 1 where this is fewer.

    Returns:
        Edges, bool ``(B, S, S)``, True where the column is a neighbour of the row, and all cosines.
    """
    slots = tokens_BSD.shape[1]
    cosine_BSS = cosine_similarity(tokens_BSD[:, :, None], tokens_BSD[:, None], dim=-1)
    others_BSS = cosine_BSS.masked_fill(torch.eye(slots, dtype=torch.bool, device=tokens_BSD.device), -torch.inf)
    nearness_BSS = others_BSS.argsort(dim=2, descending=True).argsort(dim=2)
    return nearness_BSS < min(num_neighbours, slots - 1), cosine_BSS
