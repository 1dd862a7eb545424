"""A transformer block that a condition steers: AdaLN-zero (Peebles and Xie, arXiv 2212.09748).

File letters: L tokens; W their width; M conditions, L or 1 for all tokens.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from cjepa.arguments import share_below_one
from cjepa.world_models.transformer import Dropout, attention


class AdaLNBlock(nn.Module):
    """Attention and MLP whose inputs a condition shifts and scales, and whose outputs it gates.

    ``x = x + gate * f(norm(x) * (1 + scale) + shift)``, with shift, scale and gate of attention and MLP from one linear
    layer of the condition. This layer starts with zeros: an untrained block changes nothing.

    Args:
        dim: W, of tokens and conditions.
        num_heads: of the attention.
        mlp_dim: hidden width of the MLP.
        dropout: on both residual branches.
        head_width: of each head; None for ``dim / num_heads``.

    Raises:
        ValueError: ``dropout`` is out of its range.
    """

    def __init__(self, dim: int, num_heads: int, mlp_dim: int, dropout: float, head_width: int | None = None):
        super().__init__()
        share_below_one(dropout=dropout)
        inner = num_heads * (head_width or dim // num_heads)
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.to_qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp_dim), nn.GELU(), nn.Linear(mlp_dim, dim))
        self.dropout = Dropout(dropout)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        nn.init.zeros_(self.modulation[-1].weight)
        nn.init.zeros_(self.modulation[-1].bias)

    def forward(self, tokens_BLW: Tensor, condition_BMW: Tensor, visible_LL: Tensor | None = None) -> Tensor:
        """One block.

        Args:
            tokens_BLW: what is changed.
            condition_BMW: one condition per token, or one for all tokens.
            visible_LL: bool, True where the token of a row attends to that of a column; by default everywhere.

        Returns:
            The shape of ``tokens_BLW``.
        """
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.modulation(condition_BMW).chunk(6, dim=-1)
        attended = self._attend(_modulated(self.norm(tokens_BLW), shift_1, scale_1), visible_LL)
        tokens_BLW = tokens_BLW + gate_1 * self.dropout(attended)
        changed = self.mlp(_modulated(self.norm(tokens_BLW), shift_2, scale_2))
        return tokens_BLW + gate_2 * self.dropout(changed)

    def _attend(self, tokens_BLW: Tensor, visible_LL: Tensor | None) -> Tensor:
        parts = rearrange(self.to_qkv(tokens_BLW), "b l (three h k) -> three b h l k", three=3, h=self.num_heads)
        attended = attention(*parts.contiguous(), visible_LL)
        return self.to_out(rearrange(attended, "b h l k -> b l (h k)"))


def _modulated(tokens: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(tokens + shift, tokens, scale)
