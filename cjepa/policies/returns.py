"""Returns of DreamerV3 (Hafner et al., arXiv 2301.04104): lambda-returns, and the bins that a critic tells them in.

File letters: H imagined blocks, K bins of values.
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot


def lambda_returns(reward_BH: Tensor, value_BH: Tensor, discount: float, trace: float) -> Tensor:
    """Lambda-returns ``(B, H)`` of DreamerV3, without ends of episodes.

    ``R_t = r_t + discount * ((1 - trace) * v_t + trace * R_{t+1})``, and ``R_H = r_H + discount * v_H``.

    Args:
        reward_BH: of the states that actions 1..H lead to.
        value_BH: of the same states.
        discount: of what follows.
        trace: lambda, 0 for one step of rewards, 1 for all.
    """
    following_B, returns = value_BH[:, -1], []
    for reward_B, value_B in zip(reversed(reward_BH.unbind(1)), reversed(value_BH.unbind(1)), strict=True):
        following_B = reward_B + discount * ((1 - trace) * value_B + trace * following_B)
        returns.append(following_B)
    return torch.stack(returns[::-1], dim=1)


def symexp(values: Tensor) -> Tensor:
    """``sign(x) (e^|x| - 1)``, the inverse of the symlog by which DreamerV3 makes large values small."""
    return values.sign() * values.abs().expm1()


def two_hot(values: Tensor, bins_K: Tensor) -> Tensor:
    """Values as shares of the two bins around them, whose mean they are; ``(..., K)``.

    Args:
        values: beyond the bins they count as the outermost bin.
        bins_K: ascending.
    """
    last = len(bins_K) - 1
    values = values.clamp(bins_K[0], bins_K[-1])
    below = (torch.bucketize(values, bins_K, right=True) - 1).clamp(max=last - 1)
    share_above = ((values - bins_K[below]) / (bins_K[below + 1] - bins_K[below]))[..., None]
    lower = one_hot(below, last + 1)
    return (1 - share_above) * lower + share_above * lower.roll(1, dims=-1)
