"""Generators of random numbers for training steps: of what a step is, not of what was drawn before it."""

import torch
from torch import distributed

_APART = 1_000_003
"""More than there are batches in a step, and than there are processes."""


def generator_of(*parts: int) -> torch.Generator:
    """A generator on the CPU that other parts, such as the seed, the rank and the step, seed otherwise."""
    seed = 0
    for part in parts:
        seed = seed * _APART + part
    return torch.Generator().manual_seed(seed % 2**63)


def rank() -> int:
    """Of this process among those that train together; 0 for one alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0
