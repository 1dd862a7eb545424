"""Transformer blocks that a condition steers: AdaLN (Peebles and Xie, arXiv 2212.09748).

File letters: L tokens; W their width; M conditions, L or 1 for all tokens.
"""

import torch
from torch import Tensor, nn

from cjepa.world_models.transformer import Block


class ConditionedBlock(Block):
    """Attention and MLP whose inputs a condition shifts and scales, and whose outputs it gates.

    ``x = x + gate * f(norm(x) * (1 + scale) + shift)``. Subclasses set ``modulation``, which makes shift, scale and
    gate of attention and MLP of a condition: W -> 6 W. Arguments are those of :class:`Block`.
    """

    modulation: nn.Module

    def forward(
        self,
        tokens_BLW: Tensor,
        condition_BMW: Tensor,
        visible_LL: Tensor | None = None,
        angles_LR: Tensor | None = None,
    ) -> Tensor:
        """One block.

        Args:
            tokens_BLW: what is changed.
            condition_BMW: one condition per token, or one for all tokens.
            visible_LL: bool, True where the token of a row attends to that of a column; by default everywhere.
            angles_LR: see :class:`Block`.

        Returns:
            The shape of ``tokens_BLW``.
        """
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.modulation(condition_BMW).chunk(6, dim=-1)
        normed = _modulated(self.norm_1(tokens_BLW), shift_1, scale_1)
        tokens_BLW = tokens_BLW + gate_1 * self.dropout(self.attend(normed, None, visible_LL, angles_LR)[0])
        changed = self.mlp(_modulated(self.norm_2(tokens_BLW), shift_2, scale_2))
        return tokens_BLW + gate_2 * self.dropout(changed)


class AdaLNBlock(ConditionedBlock):
    """AdaLN-zero: the layer that makes the modulation starts with zeros, so an untrained block changes nothing.

    Args:
        dim: W, of tokens and conditions.
        num_heads: of the attention.
        mlp_dim: hidden width of the MLP.
        dropout: on both residual branches.
        head_width: of each head; None for ``dim / num_heads``.
        norm_twice: normalise once more, with weights, what the condition has shifted and scaled.

    Raises:
        ValueError: ``dropout`` is out of its range.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_dim: int,
        dropout: float,
        head_width: int | None = None,
        norm_twice: bool = False,
    ):
        super().__init__(dim, num_heads, mlp_dim, dropout, head_width, qkv_bias=False)
        self.norm_1 = self.norm_2 = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        if norm_twice:
            self.to_qkv = nn.Sequential(nn.LayerNorm(dim), self.to_qkv)
            self.mlp = nn.Sequential(nn.LayerNorm(dim), *self.mlp)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        nn.init.zeros_(self.modulation[-1].weight)
        nn.init.zeros_(self.modulation[-1].bias)


def _modulated(tokens: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(tokens + shift, tokens, scale)
