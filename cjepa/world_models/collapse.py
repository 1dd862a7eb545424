"""Whether tokens have collapsed: to a point, or to a line."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cjepa.errors import TrainingFailed


class Spread(NamedTuple):
    """How tokens spread."""

    rank: float
    """In how many directions, see :func:`effective_rank`."""
    deviation: float
    """Root of their mean variance."""


def effective_rank(covariance_DD: Tensor) -> Tensor:
    """exp of the entropy of the normalised singular values (Roy and Vetterli, 2007): 1 for a line, D at most."""
    singular_D = torch.linalg.eigvalsh(covariance_DD).clamp(min=0).sqrt()
    share_D = singular_D / singular_D.sum().clamp(min=1e-12)
    return torch.special.entr(share_D).sum().exp()


@torch.no_grad()
def spread_of(tokens_BTSD: Tensor) -> Spread:
    """Of all tokens about their mean; NaN where a token is not finite."""
    tokens_ND = tokens_BTSD.flatten(0, -2).double()
    if not bool(tokens_ND.isfinite().all()):
        return Spread(math.nan, math.nan)
    covariance_DD = torch.atleast_2d(torch.cov(tokens_ND.T, correction=0))
    return Spread(float(effective_rank(covariance_DD)), float(covariance_DD.diagonal().mean().sqrt()))


def check_spread(spread: Spread, step: int, least: Spread) -> None:
    """Stop a training whose tokens have collapsed.

    Args:
        spread: of a batch.
        step: of the training.
        least: below either of these the tokens count as collapsed.

    Raises:
        TrainingFailed: the tokens have collapsed, or are not finite.
    """
    if math.isnan(spread.deviation):
        raise TrainingFailed(
            f"step {step}: the tokens are not finite; give training a lower learning rate, and train again"
        )
    for name, found, limit in zip(("effective rank", "standard deviation"), spread, least, strict=True):
        if not found >= limit:
            raise TrainingFailed(
                f"step {step}: the tokens have collapsed: their {name} is {found:.3g}, expected {limit:g} or more; "
                "give the regulariser a larger weight or training a lower learning rate, and train again"
            )
