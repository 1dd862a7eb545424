"""A floor for predictors with objects: an Interaction Network, one round of messages between all pairs.

File letters: W width of hidden layers; E entities, the objects and then proprioception; V all actions' values.
"""

import torch
from torch import Tensor, nn

from cjepa.world_models.predictors.base import check_sizes
from cjepa.world_models.predictors.entity_histories import EntityHistories


class InteractionNetwork(EntityHistories):
    """The effects of all others on an entity are summed, and move it (Battaglia et al., arXiv 1612.00222).

    ``effect_ij = relation(entity_i, entity_j)``, ``change_i = object(entity_i, action, sum over j != i of effect_ij)``.
    The published network knows an entity by its present state. Here an entity is its history, whose values first go
    through a linear layer, so that proprioception is an entity like objects.

    Args:
        token_dim: D.
        proprio_dim: P, 0 for no such entity.
        action_dim: A, the action values of one block, 0 for no such entity.
        history_blocks: the longest history.
        dim: W; the published network has 150.
        depth: hidden layers of the relation MLP; the object MLP has one.

    Raises:
        ValueError: a size is too small.
    """

    def __init__(
        self,
        token_dim: int,
        proprio_dim: int = 4,
        action_dim: int = 10,
        history_blocks: int = 1,
        dim: int = 150,
        depth: int = 4,
    ):
        check_sizes(
            {"token_dim": token_dim, "history_blocks": history_blocks, "dim": dim, "depth": depth},
            {"proprio_dim": proprio_dim, "action_dim": action_dim},
        )
        super().__init__(token_dim, proprio_dim, action_dim, history_blocks, dim)
        widths = [2 * dim] + (depth - 1) * [dim]
        hidden = (layer for width in widths for layer in (nn.Linear(width, dim), nn.ReLU()))
        self.relation = nn.Sequential(*hidden, nn.Linear(dim, dim))
        self.object = nn.Sequential(nn.Linear(2 * dim + history_blocks * action_dim, dim), nn.ReLU())
        self.add_heads(dim)

    def moved(self, entities_BEW: Tensor, action_BV: Tensor) -> Tensor:
        """See :class:`EntityHistories`."""
        actions = action_BV[:, None].expand(-1, entities_BEW.shape[1], -1)
        return self.object(torch.cat([entities_BEW, self.effects(entities_BEW), actions], dim=-1))

    def effects(self, entities_BEW: Tensor) -> Tensor:
        """The sum of what all others do to each entity, ``(B, E, W)``."""
        pairs = torch.broadcast_tensors(entities_BEW[:, :, None], entities_BEW[:, None])
        itself_EE = torch.eye(entities_BEW.shape[1], dtype=torch.bool, device=entities_BEW.device)
        return self.relation(torch.cat(pairs, dim=-1)).masked_fill(itself_EE[..., None], 0).sum(dim=2)
