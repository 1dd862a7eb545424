"""Frames to grids of features."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel


class ConvEncoder(nn.Module):
    """Frames to a grid of features at a quarter of the resolution.

    Args:
        channels: of the features.
        in_channels: of the input.
    """

    patch = 4

    def __init__(self, channels: int, in_channels: int):
        super().__init__()
        self.channels = channels
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, channels // 2, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.GELU(), nn.Conv2d(channels, channels, 3, padding=1)) for _ in range(2)
        )

    def forward(self, images_BCYX: Tensor) -> Tensor:
        """-> features ``(B, channels, Y / 4, X / 4)``."""
        features = self.stem(images_BCYX)
        for block in self.blocks:
            features = features + block(features)
        return features


def transformer_blocks(width: int, depth: int, num_heads: int, mlp_dim: int | None = None) -> nn.ModuleList:
    """Pre-norm blocks without dropout, with an MLP of ``mlp_dim``: by default four times their width."""
    hidden = 4 * width if mlp_dim is None else mlp_dim
    return nn.ModuleList(
        nn.TransformerEncoderLayer(width, num_heads, hidden, 0.0, "gelu", batch_first=True, norm_first=True)
        for _ in range(depth)
    )


def quick_attention(device: torch.device) -> AbstractContextManager[None]:
    """While open, PyTorch's layers train with attention that is quick for some tens of tokens.

    PyTorch's fused kernel for CPUs is made for long sequences: its backward pass then takes two to three times as long.
    The setting is one of the whole process, so it stays as it is where nothing is trained, as in threads that encode.
    """
    training_on_cpu = device.type == "cpu" and torch.is_grad_enabled()
    return sdpa_kernel(SDPBackend.MATH) if training_on_cpu else nullcontext()
