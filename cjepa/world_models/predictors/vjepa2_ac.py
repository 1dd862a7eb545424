"""V-JEPA 2-AC's predictor (Assran et al., arXiv 2506.09985): action, state and patches of a block are tokens.

File letters: W width of the transformer; E tokens of a block; L those of all blocks.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from cjepa.world_models.predictors.base import check_sizes
from cjepa.world_models.predictors.block_causal import BlockCausal, ProprioCode, axis_width, grid_angles
from cjepa.world_models.transformer import Block, causal


class VJepa2AC(BlockCausal):
    """A causal transformer over ``[action, state, patches]`` of every block, with rotary places.

    A token sees its own block and earlier ones. Patches are layer-normed without weights, as the published code does to
    its encoder's features: it is trained on tokens that are, see ``PatchTokenizer``'s ``layer_norm``.

    Args:
        token_dim: D.
        proprio_dim: P, of the state; 0 for no such token.
        action_dim: A, the action values of one block, 0 for no such token.
        history_blocks: the longest history.
        dim: W.
        depth: blocks of the transformer.
        num_heads: attention heads; divides ``dim``.
        mlp_ratio: hidden width of the MLPs over ``dim``.
        dropout: in every block.

    Raises:
        ValueError: a size is too small, ``num_heads`` does not divide ``dim``, or heads are narrower than 6.
    """

    layer_normed = True

    def __init__(
        self,
        token_dim: int,
        proprio_dim: int = 4,
        action_dim: int = 10,
        history_blocks: int = 3,
        dim: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        mlp_ratio: int = 4,
        dropout: float = 0.0,
    ):
        super().__init__()
        positive = {"token_dim": token_dim, "history_blocks": history_blocks, "dim": dim, "depth": depth}
        positive |= {"num_heads": num_heads, "mlp_ratio": mlp_ratio}
        check_sizes(positive, {"proprio_dim": proprio_dim, "action_dim": action_dim})
        if dim % num_heads:
            raise ValueError(f"num_heads is {num_heads}, expected a divisor of dim = {dim}")
        self.token_dim = token_dim
        self.proprio_dim = proprio_dim
        self.action_dim = action_dim
        self.history_blocks = history_blocks
        self.head_width = dim // num_heads
        axis_width(self.head_width)
        self.embed_token = nn.Linear(token_dim, dim)
        self.embed_action = nn.Linear(action_dim, dim) if action_dim else None
        self.embed_proprio = ProprioCode(proprio_dim, dim) if proprio_dim else None
        self.blocks = nn.ModuleList(Block(dim, num_heads, mlp_ratio * dim, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.token_head = nn.Linear(dim, token_dim)

    def next_blocks(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`BlockCausal`."""
        blocks, tokens = tokens_BTSD.shape[1:3]
        embedded = ((self.embed_action, actions_BTA), (self.embed_proprio, proprio_BTP))
        front = [embed(values)[:, :, None] for embed, values in embedded if embed is not None]
        cells_BTEW = torch.cat([*front, self.embed_token(tokens_BTSD)], dim=2)
        each = cells_BTEW.shape[2]
        visible_LL = causal(blocks * each, each, device=cells_BTEW.device)
        angles_LR = grid_angles(blocks, tokens, len(front), self.head_width, cells_BTEW.device)
        cells_BLW = cells_BTEW.flatten(1, 2)
        for block in self.blocks:
            cells_BLW = block(cells_BLW, visible_LL, angles_LR)
        next_BTEW = self.norm(cells_BLW).unflatten(1, (blocks, each))
        next_BTSD = layer_norm(self.token_head(next_BTEW[:, :, len(front) :]), [self.token_dim])
        if self.embed_proprio is None:
            return next_BTSD, next_BTSD.new_zeros(*next_BTSD.shape[:2], 0)
        return next_BTSD, self.embed_proprio.decode(next_BTEW[:, :, len(front) - 1])
