"""A plain pre-norm transformer block.

File letters: L tokens; M tokens that are attended to; H heads of width K; R = K / 2 angles.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import dropout, pad, scaled_dot_product_attention

from cjepa.arguments import share_below_one

_VECTOR = 16  # float32 numbers of a CPU's vector: over shorter rows, torch's softmax is five times as slow
_is_padded = ContextVar("is_padded", default=True)
_LONGEST = 100.0  # blocks per rad of the slowest angle; texts take 10,000, histories here have some ten blocks


class KeysValues(NamedTuple):
    """Of a block's tokens, before they are turned: what later tokens need to attend to them."""

    keys_BHMK: Tensor
    values_BHMK: Tensor


class Block(nn.Module):
    """``x = x + attention(norm(x)); x = x + mlp(norm(x))``.

    Args:
        dim: token width.
        num_heads: of the attention; divides ``dim``.
        mlp_dim: hidden width of the MLP.
        dropout: on both residual branches.
        head_width: K; ``dim / num_heads`` by default.
        qkv_bias: whether queries, keys and values have a bias.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_dim: int,
        dropout: float,
        head_width: int | None = None,
        qkv_bias: bool = True,
    ):
        super().__init__()
        self.num_heads = num_heads
        width = dim if head_width is None else head_width * num_heads
        self.norm_1 = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * width, bias=qkv_bias)
        self.to_out = nn.Linear(width, dim)
        self.norm_2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp_dim), nn.GELU(), nn.Linear(mlp_dim, dim))
        share_below_one(dropout=dropout)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        tokens_BLD: Tensor,
        visible_LL: Tensor | None = None,
        angles_LR: Tensor | None = None,
        needed: int | None = None,
    ) -> Tensor:
        """One block.

        Args:
            tokens_BLD: ``(B, L, dim)``.
            visible_LL: bool, True where the token of a row attends to that of a column; by default everywhere. May
                have a batch axis in front, as ``(B, 1, L, L)``.
            angles_LR: of every token, from :func:`rotary_angles`; without them attention knows nothing of order.
            needed: how many of the last tokens to compute; all see all tokens. None for all.

        Returns:
            The shape of ``tokens_BLD``, with ``needed`` tokens.
        """
        return self.after(None, tokens_BLD, visible_LL, angles_LR, needed)[0]

    def after(
        self,
        past: KeysValues | None,
        tokens_BLD: Tensor,
        visible_LM: Tensor | None = None,
        angles_MR: Tensor | None = None,
        needed: int | None = None,
    ) -> tuple[Tensor, KeysValues]:
        """One block over tokens that follow others, which are not computed again.

        Args:
            past: of the tokens before; None for none.
            tokens_BLD: the L new ones.
            visible_LM: as in :meth:`forward`, of the new tokens to all M tokens, those before first.
            angles_MR: as in :meth:`forward`, of all tokens.
            needed: as in :meth:`forward`.

        Returns:
            The new tokens after the block, and keys and values of all M tokens.
        """
        attended, seen = self.attend(self.norm_1(tokens_BLD), past, visible_LM, angles_MR, needed)
        tokens_BLD = tokens_BLD[:, -attended.shape[1] :] + self.dropout(attended)
        return tokens_BLD + self.dropout(self.mlp(self.norm_2(tokens_BLD))), seen

    def attend(
        self,
        tokens_BLD: Tensor,
        past: KeysValues | None,
        visible_LM: Tensor | None,
        angles_MR: Tensor | None,
        needed: int | None = None,
    ) -> tuple[Tensor, KeysValues]:
        """Multi-head attention of normed tokens to themselves and to those before them, see :meth:`after`."""
        query_key_value = rearrange(
            self.to_qkv(tokens_BLD), "b l (three h d) -> three b h l d", three=3, h=self.num_heads
        )
        query, key, value = query_key_value.contiguous()  # copied once instead of by each product
        if past is not None:
            key, value = (torch.cat(pair, dim=2) for pair in zip(past, (key, value), strict=True))
        seen = KeysValues(key, value)
        if needed is not None:
            query = query[:, :, -needed:]
            visible_LM = None if visible_LM is None else visible_LM[..., -needed:, :]
        if angles_MR is not None:
            query, key = turned(query, angles_MR[-query.shape[2] :]), turned(key, angles_MR)
        attended = attention(query, key, value, visible_LM)
        return self.to_out(rearrange(attended, "b h l d -> b l (h d)")), seen


def rotary_angles(time_L: Tensor, width: int) -> Tensor:
    """How far :func:`turned` turns queries and keys (RoPE, Su et al., arXiv 2104.09864), in rad: ``(L, width / 2)``.

    Args:
        time_L: of every token, in blocks.
        width: of a head, even.
    """
    rate_R = _LONGEST ** (-torch.arange(0, width, 2, device=time_L.device) / width)
    return time_L[:, None] * rate_R


def turned(values_BHLK: Tensor, angles_LR: Tensor) -> Tensor:
    """Queries or keys, turned such that their product depends on how far apart two tokens are, not on where.

    Values beyond 2 R, if the head is wider, stay as they are.
    """
    pairs = angles_LR.shape[-1]
    first, second, rest = values_BHLK.tensor_split([pairs, 2 * pairs], dim=-1)
    sine, cosine = angles_LR.sin(), angles_LR.cos()
    turned_pairs = first * cosine - second * sine, second * cosine + first * sine
    return torch.cat([*turned_pairs, rest], dim=-1).to(values_BHLK.dtype)


class Dropout(nn.Dropout):
    """torch's dropout, whose random numbers would take a tenth of a training step on a CPU: here 16 bits a value."""

    def forward(self, values: Tensor) -> Tensor:
        """Zero values with probability ``p``, rounded to 1 / 65,536, and divide the others by 1 - p."""
        if not self.training or not 0 < self.p < 1 or values.device.type != "cpu":
            return dropout(values, self.p, self.training)
        words = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        uniform = words.view(torch.int16)[: values.numel()].view(values.shape)  # -32,768 to 32,767
        kept = (uniform >= round(self.p * 2**16) - 2**15).to(values.dtype)
        return values * kept.mul_(1 / (1 - self.p))


def causal(length: int, block: int = 1, device: torch.device | str = "cpu") -> Tensor:
    """What a token may see if it sees its own block of ``block`` tokens and earlier ones: bool (length, length)."""
    block_L = torch.arange(length, device=device) // block
    return block_L[:, None] >= block_L


@contextmanager
def unpadded() -> Iterator[None]:
    """Inside, attention computes on a CPU what it computes on any device, so that operations can be counted."""
    before = _is_padded.set(False)
    try:
        yield
    finally:
        _is_padded.reset(before)


def attention(query: Tensor, key: Tensor, value: Tensor, visible_LM: Tensor | None) -> Tensor:
    """Softmax attention of ``(B, H, L, K)`` to ``(B, H, M, K)``."""
    if query.device.type != "cpu" or _is_long(query, key):
        return scaled_dot_product_attention(query, key, value, attn_mask=visible_LM)
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if visible_LM is not None:
        scores = scores.masked_fill(~visible_LM, -torch.inf)
    # a softmax of bfloat16 over rows this short takes three times as long as one of float32
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if _is_padded.get() and (missing := _VECTOR - scores.shape[-1]) > 0:  # padded with tokens that get no attention
        scores, value = pad(scores, (0, missing), value=-torch.inf), pad(value, (0, 0, 0, missing))
    return scores.softmax(dim=-1).to(value.dtype) @ value


def _is_long(query: Tensor, key: Tensor) -> bool:
    """Whether torch's fused kernel for CPUs is faster than two products, of which it takes a quarter for 100 tokens.

    For 8 to 24 tokens it takes up to twice as long, and its backward pass in bfloat16 up to ten times.
    """
    slow = query.requires_grad and query.dtype == torch.bfloat16
    return key.shape[2] >= (256 if slow else 32)
