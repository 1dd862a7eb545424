"""DINO-WM's predictor (Zhou et al., arXiv 2411.04983): patches with proprioception and action in every token.

File letters: W width of a token; E embedding of proprioception or action; L tokens of all blocks.
"""

import torch
from torch import Tensor, nn

from cjepa.world_models.predictors.base import check_sizes
from cjepa.world_models.predictors.block_causal import BlockCausal, ProprioCode
from cjepa.world_models.transformer import Block, causal


class DinoWM(BlockCausal):
    """A causal transformer over patches; a token is ``[patch; proprioception; action]`` and comes out as wide.

    A patch sees all patches of its block and of earlier ones. Each token of each block has a learned place. The
    embedding of proprioception that follows is the mean over patches.

    Args:
        token_dim: D.
        num_tokens: S; other numbers cannot be predicted.
        proprio_dim: P, 0 for no such part.
        action_dim: A, the action values of one block, 0 for no such part.
        history_blocks: the longest history.
        extra_dim: width of the embeddings of proprioception and of actions.
        depth: blocks of the transformer.
        num_heads: attention heads.
        head_width: of each.
        mlp_dim: hidden width of the MLPs.
        dropout: in every block, and of its input.

    Raises:
        ValueError: a size is too small, or ``extra_dim`` is less than ``proprio_dim``.
    """

    def __init__(
        self,
        token_dim: int,
        num_tokens: int,
        proprio_dim: int = 4,
        action_dim: int = 10,
        history_blocks: int = 3,
        extra_dim: int = 10,
        depth: int = 6,
        num_heads: int = 16,
        head_width: int = 64,
        mlp_dim: int = 2048,
        dropout: float = 0.1,
    ):
        super().__init__()
        positive = {"token_dim": token_dim, "num_tokens": num_tokens, "history_blocks": history_blocks}
        positive |= {"extra_dim": extra_dim, "depth": depth, "num_heads": num_heads, "head_width": head_width}
        check_sizes(positive | {"mlp_dim": mlp_dim}, {"proprio_dim": proprio_dim, "action_dim": action_dim})
        self.token_dim = token_dim
        self.num_tokens = num_tokens
        self.proprio_dim = proprio_dim
        self.action_dim = action_dim
        self.history_blocks = history_blocks
        self.embed_proprio = ProprioCode(proprio_dim, extra_dim) if proprio_dim else None
        self.embed_action = nn.Linear(action_dim, extra_dim) if action_dim else None
        width = token_dim + extra_dim * (bool(proprio_dim) + bool(action_dim))
        self.place = nn.Parameter(torch.randn(history_blocks, num_tokens, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(width, num_heads, mlp_dim, dropout, head_width, qkv_bias=False) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def next_blocks(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`BlockCausal`.

        Raises:
            UserError: another number of tokens than ``num_tokens``.
        """
        blocks, tokens = tokens_BTSD.shape[1:3]
        self.check_tokens(tokens)
        parts = [tokens_BTSD]
        for embed, values in ((self.embed_proprio, proprio_BTP), (self.embed_action, actions_BTA)):
            if embed is not None:
                parts.append(embed(values)[:, :, None].expand(-1, -1, tokens, -1).to(tokens_BTSD.dtype))
        cells_BLW = self.dropout((torch.cat(parts, dim=-1) + self.place[:blocks]).flatten(1, 2))
        visible_LL = causal(blocks * tokens, tokens, device=cells_BLW.device)
        for block in self.blocks:
            cells_BLW = block(cells_BLW, visible_LL)
        next_BTSW = self.norm(cells_BLW).unflatten(1, (blocks, tokens))
        if self.embed_proprio is None:
            return next_BTSW[..., : self.token_dim], next_BTSW.new_zeros(*next_BTSW.shape[:2], 0)
        last = self.token_dim + self.embed_proprio.out_features
        return next_BTSW[..., : self.token_dim], self.embed_proprio.decode(
            next_BTSW[..., self.token_dim : last].mean(dim=2)
        )
