"""A plain pre-norm transformer block."""

from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class Block(nn.Module):
    """``x = x + attention(norm(x)); x = x + mlp(norm(x))``, every token attends to every token.

    Args:
        dim: token width.
        num_heads: of the attention; divides ``dim``.
        mlp_dim: hidden width of the MLP.
        dropout: on both residual branches.
    """

    def __init__(self, dim: int, num_heads: int, mlp_dim: int, dropout: float):
        super().__init__()
        self.num_heads = num_heads
        self.norm_1 = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * dim)
        self.to_out = nn.Linear(dim, dim)
        self.norm_2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp_dim), nn.GELU(), nn.Linear(mlp_dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens_BLD: Tensor) -> Tensor:
        """``(B, L, dim)`` -> the same shape."""
        tokens_BLD = tokens_BLD + self.dropout(self.attend(self.norm_1(tokens_BLD)))
        return tokens_BLD + self.dropout(self.mlp(self.norm_2(tokens_BLD)))

    def attend(self, tokens_BLD: Tensor) -> Tensor:
        """Multi-head self-attention of normed tokens."""
        query, key, value = rearrange(
            self.to_qkv(tokens_BLD), "b l (three h d) -> three b h l d", three=3, h=self.num_heads
        )
        attended = _attention(query, key, value)
        return self.to_out(rearrange(attended, "b h l d -> b l (h d)"))


def _attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax attention over ``(B, heads, L, d)``."""
    if query.device.type != "cpu":
        return scaled_dot_product_attention(query, key, value)
    # torch's fused kernel for CPUs is made for long sequences: with 10 to 30 tokens its backward pass is several
    # times slower than these two products.
    weights = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(dim=-1)
    return weights.to(value.dtype) @ value
