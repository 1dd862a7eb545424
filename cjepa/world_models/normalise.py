"""Normalisation that lives inside the checkpoint, so that training and planning share one scale."""

import torch
from torch import Tensor, nn

_FURTHEST = 5.0  # of a sample from its mean, in units of its scale; normal values stay within that anyway


class Normaliser(nn.Module):
    """``(x - mean) / std`` with buffers that are fitted once, on training episodes.

    Args:
        dim: width of the last axis.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))
        self.register_buffer("fitted", torch.tensor(False))

    def fit(self, values: Tensor) -> None:
        """Mean and standard deviation over all but the last axis; a constant value gets a std of 1; ``(..., D)``.

        Something that is nearly always the same, such as whether an object is in view, gets as large a scale as it
        takes to keep its rare values within five of them: they would outweigh all others in a squared error.
        """
        flat = values.flatten(0, -2).double()
        mean = flat.mean(dim=0)
        std = torch.maximum(flat.std(dim=0), (flat - mean).abs().amax(dim=0) / _FURTHEST)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))
        self.fitted.fill_(True)

    def forward(self, values: Tensor) -> Tensor:
        """Physical to normalised, ``(..., D)``."""
        return (values - self.mean) / self.std

    def inverse(self, values: Tensor) -> Tensor:
        """Normalised to physical, ``(..., D)``."""
        return values * self.std + self.mean
