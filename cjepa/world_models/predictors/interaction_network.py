"""A floor for predictors with objects: an Interaction Network, one round of messages between all pairs.

File letters: W width of hidden layers; E entities, the objects and then proprioception.
"""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import pad

from cjepa.world_models.masks import anchored, split_mask
from cjepa.world_models.predictors.base import Prediction, Predictor, check_sizes, start_at_zero


class InteractionNetwork(Predictor):
    """The effects of all others on an entity are summed, and move it (Battaglia et al., arXiv 1612.00222).

    ``effect_ij = relation(entity_i, entity_j)``, ``change_i = object(entity_i, action, sum over j != i of effect_ij)``.
    The published network knows an entity by its present state. Here an entity is its history of up to
    ``history_blocks``, 0 where something is hidden or before the first frame, and whether each block was visible; its
    values first go through a linear layer, so that proprioception is an entity like objects.

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
        super().__init__()
        check_sizes(
            {"token_dim": token_dim, "history_blocks": history_blocks, "dim": dim, "depth": depth},
            {"proprio_dim": proprio_dim, "action_dim": action_dim},
        )
        self.token_dim = token_dim
        self.proprio_dim = proprio_dim
        self.action_dim = action_dim
        self.history_blocks = history_blocks
        self.embed_object = nn.Linear(history_blocks * (token_dim + 1), dim)
        self.embed_proprio = nn.Linear(history_blocks * (proprio_dim + 1), dim) if proprio_dim else None
        widths = [2 * dim] + (depth - 1) * [dim]
        hidden = (layer for width in widths for layer in (nn.Linear(width, dim), nn.ReLU()))
        self.relation = nn.Sequential(*hidden, nn.Linear(dim, dim))
        self.object = nn.Sequential(nn.Linear(2 * dim + history_blocks * action_dim, dim), nn.ReLU())
        self.token_head = nn.Linear(dim, history_blocks * token_dim)
        self.proprio_head = nn.Linear(dim, proprio_dim) if proprio_dim else None
        start_at_zero(self.token_head, self.proprio_head)

    def forward(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`Predictor`."""
        blocks, slots = tokens_BTSD.shape[1:3]
        mask_BTS, hidden_BT1 = split_mask(mask_BTE, slots)
        known_BTSD, known_BTP = anchored(tokens_BTSD, proprio_BTP, mask_BTE)
        entities_BEW = self.embed_object(self._history(known_BTSD, mask_BTS[..., None]))
        if self.embed_proprio is not None:
            proprio_B1V = self._history(known_BTP[:, :, None], hidden_BT1[..., None])
            entities_BEW = torch.cat([entities_BEW, self.embed_proprio(proprio_B1V)], dim=1)
        action_BV = pad(actions_BTA, (0, 0, self.history_blocks - blocks, 0)).flatten(1)
        actions = action_BV[:, None].expand(-1, entities_BEW.shape[1], -1)
        moved_BEW = self.object(torch.cat([entities_BEW, self.effects(entities_BEW), actions], dim=-1))
        change_BTSD = rearrange(self.token_head(moved_BEW[:, :slots]), "b s (t d) -> b t s d", d=self.token_dim)
        anchor_B1SD, past_BTSD = tokens_BTSD[:, :1], change_BTSD[:, self.history_blocks - blocks : -1]
        history_BTSD = torch.cat([anchor_B1SD, anchor_B1SD + past_BTSD], dim=1)
        proprio_B1P = known_BTP[:, -1:]
        if self.proprio_head is not None:
            proprio_B1P = proprio_B1P + self.proprio_head(moved_BEW[:, slots:])
        return Prediction(history_BTSD, known_BTSD[:, -1:] + change_BTSD[:, -1:], proprio_B1P)

    def effects(self, entities_BEW: Tensor) -> Tensor:
        """The sum of what all others do to each entity, ``(B, E, W)``."""
        pairs = torch.broadcast_tensors(entities_BEW[:, :, None], entities_BEW[:, None])
        itself_EE = torch.eye(entities_BEW.shape[1], dtype=torch.bool, device=entities_BEW.device)
        return self.relation(torch.cat(pairs, dim=-1)).masked_fill(itself_EE[..., None], 0).sum(dim=2)

    def _history(self, values_BTED: Tensor, hidden_BTE1: Tensor) -> Tensor:
        """All blocks of each entity as one vector."""
        seen = torch.cat([values_BTED.masked_fill(hidden_BTE1, 0), (~hidden_BTE1).to(values_BTED.dtype)], dim=-1)
        before = self.history_blocks - values_BTED.shape[1]
        return rearrange(pad(seen, (0, 0, 0, 0, before, 0)), "b t e d -> b e (t d)")
