"""LeWorldModel's predictor: a causal transformer over frames that actions steer through AdaLN-zero.

File letters: W width; E entities of a block; L entities of all blocks.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from cjepa.tokenizers.baselines.vit import projection
from cjepa.world_models.adaln import AdaLNBlock
from cjepa.world_models.masks import anchored, split_mask
from cjepa.world_models.predictors.base import Prediction, Predictor, check_sizes
from cjepa.world_models.transformer import causal


class AdaLNTransformer(Predictor):
    """Predicts the next block at every block, from this block and those before (LeWorldModel, arXiv 2603.19312).

    ```
    tokens of     0      1      2
    action of     0      1      2     shifts, scales and gates its block
    predicts      1      2      3     the first two are teacher-forced in training
    ```
    The published model has one token per frame. With several, all entities of a block see each other, and
    proprioception is one of them. A hidden cell is the object's first token and a learned vector. The head predicts
    tokens, not changes, through an MLP with a batch norm, as published; without ``projection_dim`` it is linear.

    Args:
        token_dim: D.
        proprio_dim: P, 0 for no such entity; the published model has none.
        action_dim: A, the action values of one block, 0 for no such entity.
        history_blocks: the longest history.
        dim: W.
        depth: blocks of the transformer.
        num_heads: attention heads.
        mlp_dim: hidden width of MLPs.
        dropout: in every block.
        head_width: of each head; None for ``dim / num_heads``.
        projection_dim: hidden width of the head's MLP; 0 for a linear head.
        norm_twice: see :class:`~cjepa.world_models.adaln.AdaLNBlock`; the published model does so.

    Raises:
        ValueError: a size is too small, or ``num_heads`` does not divide ``dim``.
    """

    def __init__(
        self,
        token_dim: int,
        proprio_dim: int = 0,
        action_dim: int = 10,
        history_blocks: int = 3,
        dim: int = 128,
        depth: int = 4,
        num_heads: int = 4,
        mlp_dim: int = 512,
        dropout: float = 0.1,
        head_width: int | None = None,
        projection_dim: int = 0,
        norm_twice: bool = False,
    ):
        super().__init__()
        positive = {"token_dim": token_dim, "history_blocks": history_blocks, "dim": dim, "depth": depth}
        positive |= {"num_heads": num_heads, "mlp_dim": mlp_dim}
        check_sizes(positive, {"proprio_dim": proprio_dim, "action_dim": action_dim, "projection_dim": projection_dim})
        if head_width is None and dim % num_heads:
            raise ValueError(f"num_heads is {num_heads}, expected a divisor of dim = {dim}, or set head_width")
        self.token_dim = token_dim
        self.proprio_dim = proprio_dim
        self.action_dim = action_dim
        self.history_blocks = history_blocks
        self.embed_token = nn.Identity() if token_dim == dim else nn.Linear(token_dim, dim)
        self.embed_proprio = nn.Linear(proprio_dim, dim) if proprio_dim else None
        self.hidden = nn.Parameter(torch.randn(dim) * 0.02)
        widths = (action_dim or 1, action_dim or 1, 4 * dim)
        self.embed_action = nn.Sequential(
            nn.Linear(*widths[:2]), nn.Linear(*widths[1:]), nn.SiLU(), nn.Linear(4 * dim, dim)
        )
        self.time_embedding = nn.Parameter(torch.randn(history_blocks, dim) * 0.02)
        options = (dim, num_heads, mlp_dim, dropout, head_width, norm_twice)
        self.blocks = nn.ModuleList(AdaLNBlock(*options) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.project = projection(dim, projection_dim) if projection_dim else nn.Identity()
        self.token_head = nn.Identity() if token_dim == dim and projection_dim else nn.Linear(dim, token_dim)
        self.proprio_head = nn.Linear(dim, proprio_dim) if proprio_dim else None

    def forward(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`Predictor`; ``history_BTSD`` holds the first tokens, and what each block says of the next."""
        blocks, slots = tokens_BTSD.shape[1:3]
        entities_BTEW = self._entities(tokens_BTSD, proprio_BTP, mask_BTE)
        entities = entities_BTEW.flatten(1, 2)
        count = entities_BTEW.shape[2]
        steering = actions_BTA if self.action_dim else actions_BTA.new_ones(*actions_BTA.shape[:2], 1)
        condition = self.embed_action(steering).repeat_interleave(count, dim=1)
        visible_LL = causal(blocks * count, count, device=entities.device)
        for block in self.blocks:
            entities = block(entities, condition, visible_LL)
        entities = rearrange(self.norm(entities), "b (t e) w -> b t e w", t=blocks)
        next_BTSD = self.token_head(self.project(entities[:, :, :slots].flatten(0, 2))).reshape(tokens_BTSD.shape)
        history_BTSD = torch.cat([tokens_BTSD[:, :1], next_BTSD[:, :-1].to(tokens_BTSD.dtype)], dim=1)
        hidden_BT1 = split_mask(mask_BTE, slots)[1]
        proprio_B1P = torch.where(hidden_BT1[:, -1:], proprio_BTP[:, :1], proprio_BTP[:, -1:])
        if self.proprio_head is not None:
            proprio_B1P = proprio_B1P + self.proprio_head(entities[:, -1:, -1])
        return Prediction(history_BTSD, next_BTSD[:, -1:], proprio_B1P)

    def _entities(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, mask_BTE: Tensor) -> Tensor:
        mask_BTS, hidden_BT1 = split_mask(mask_BTE, tokens_BTSD.shape[2])
        known_BTSD, known_BTP = anchored(tokens_BTSD, proprio_BTP, mask_BTE)
        entities_BTEW = self.embed_token(known_BTSD) + mask_BTS[..., None] * self.hidden
        if self.embed_proprio is not None:
            proprio = self.embed_proprio(known_BTP) + hidden_BT1 * self.hidden
            entities_BTEW = torch.cat([entities_BTEW, proprio[:, :, None]], dim=2)
        return entities_BTEW + self.time_embedding[: tokens_BTSD.shape[1], None]
