"""JEPA-WM's predictor (Terver et al., arXiv 2512.24497): patches whose layers are modulated by the action.

File letters: W width of a token; L tokens of all blocks.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from cjepa.world_models.adaln import ConditionedBlock
from cjepa.world_models.predictors.base import check_sizes
from cjepa.world_models.predictors.block_causal import BlockCausal, ProprioCode, axis_width, grid_angles
from cjepa.world_models.transformer import causal

_MODULATION_STD = 0.2  # of its initial weights, as published: ten times that of other layers


class JepaWM(BlockCausal):
    """A causal transformer over patches with AdaLN and rotary places; a token is ``[patch; proprioception]``.

    Every layer's shifts, scales and gates come from the action of the token's block. Places are rotary in time, row and
    column. The embedding of proprioception that follows is the mean over patches.

    Args:
        token_dim: D.
        proprio_dim: P, 0 for no such part.
        action_dim: A, the action values of one block; with 0 the modulation is learned and the same for all.
        history_blocks: the longest history.
        dim: width of the patch part of a token.
        extra_dim: width of the embedding of proprioception.
        depth: blocks of the transformer.
        num_heads: attention heads; divides ``dim + extra_dim``.
        mlp_ratio: hidden width of the MLPs over that of a token.
        dropout: in every block.
        stop_gradient: between blocks that are fed back.

    Raises:
        ValueError: a size is too small, ``num_heads`` does not divide the width, or heads are narrower than 6.
    """

    def __init__(
        self,
        token_dim: int,
        proprio_dim: int = 4,
        action_dim: int = 10,
        history_blocks: int = 3,
        dim: int = 384,
        extra_dim: int = 16,
        depth: int = 6,
        num_heads: int = 16,
        mlp_ratio: int = 4,
        dropout: float = 0.0,
        stop_gradient: bool = True,
    ):
        super().__init__()
        positive = {"token_dim": token_dim, "history_blocks": history_blocks, "dim": dim, "extra_dim": extra_dim}
        positive |= {"depth": depth, "num_heads": num_heads, "mlp_ratio": mlp_ratio}
        check_sizes(positive, {"proprio_dim": proprio_dim, "action_dim": action_dim})
        width = dim + (extra_dim if proprio_dim else 0)
        if width % num_heads:
            raise ValueError(f"num_heads is {num_heads}, expected a divisor of dim and extra_dim together = {width}")
        self.token_dim = token_dim
        self.proprio_dim = proprio_dim
        self.action_dim = action_dim
        self.history_blocks = history_blocks
        self.stop_gradient = stop_gradient
        self.dim = dim
        self.head_width = width // num_heads
        axis_width(self.head_width)
        self.embed_token = nn.Linear(token_dim, dim)
        self.embed_proprio = ProprioCode(proprio_dim, extra_dim) if proprio_dim else None
        self.embed_action = nn.Linear(action_dim, width) if action_dim else None
        self.no_action = None if action_dim else nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = nn.ModuleList(ModulatedBlock(width, num_heads, mlp_ratio * width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.token_head = nn.Linear(dim, token_dim)

    def next_blocks(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`BlockCausal`."""
        blocks, tokens = tokens_BTSD.shape[1:3]
        cells_BTSW = self.embed_token(tokens_BTSD)
        if self.embed_proprio is not None:
            proprio_BTSE = self.embed_proprio(proprio_BTP)[:, :, None].expand(-1, -1, tokens, -1)
            cells_BTSW = torch.cat([cells_BTSW, proprio_BTSE.to(cells_BTSW.dtype)], dim=-1)
        if self.embed_action is None:
            action_BLW = self.no_action.expand(len(tokens_BTSD), blocks * tokens, -1)
        else:
            action_BLW = self.embed_action(actions_BTA).repeat_interleave(tokens, dim=1)
        visible_LL = causal(blocks * tokens, tokens, device=cells_BTSW.device)
        angles_LR = grid_angles(blocks, tokens, 0, self.head_width, cells_BTSW.device)
        cells_BLW = cells_BTSW.flatten(1, 2)
        for block in self.blocks:
            cells_BLW = block(cells_BLW, action_BLW, visible_LL, angles_LR)
        patch_BLD, proprio_BLE = self.norm(cells_BLW).tensor_split([self.dim], dim=-1)
        next_BTSD = self.token_head(patch_BLD).unflatten(1, (blocks, tokens))
        if self.embed_proprio is None:
            return next_BTSD, next_BTSD.new_zeros(*next_BTSD.shape[:2], 0)
        return next_BTSD, self.embed_proprio.decode(proprio_BLE.unflatten(1, (blocks, tokens)).mean(dim=2))


class ModulatedBlock(ConditionedBlock):
    """With norms of their own scales and a modulation that is not zero at first; arguments are those of Block."""

    def __init__(self, dim: int, num_heads: int, mlp_dim: int, dropout: float):
        super().__init__(dim, num_heads, mlp_dim, dropout)
        self.modulation = nn.Linear(dim, 6 * dim)
        nn.init.trunc_normal_(self.modulation.weight, std=_MODULATION_STD)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, tokens_BLW: Tensor, condition_BLW: Tensor, visible_LL: Tensor, angles_LR: Tensor) -> Tensor:
        """See :class:`ConditionedBlock`."""
        return super().forward(tokens_BLW, silu(condition_BLW), visible_LL, angles_LR)
