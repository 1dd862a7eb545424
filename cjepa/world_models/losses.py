"""What a predictor is trained on: unweighted terms of a prediction against the clip that really followed.

File letter: F predicted blocks after the history.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from cjepa.types import Clip
from cjepa.world_models.masks import split_mask
from cjepa.world_models.matching import Matching, assignment, take_slots
from cjepa.world_models.predictors.base import Prediction

Norm = Literal["l1", "l2"]
"""Mean absolute or mean squared difference."""


def loss_terms(
    prediction: Prediction,
    clip: Clip,
    mask_BTE: Tensor,
    future_decay: float = 1.0,
    norm: Norm = "l2",
    matching: Matching = "index",
    weight_D: Tensor | None = None,
) -> dict[str, Tensor]:
    """Errors of hidden history, of the blocks after it, and of their proprioception (C-JEPA, section 3).

    Args:
        prediction: from the first T blocks of the clip, of the F blocks after them.
        clip: normalised, T + F blocks.
        mask_BTE: which cells of the history were hidden, see :class:`~cjepa.world_models.masks.Mask`; visible objects
            cost nothing, neither does hidden proprioception, which is not predicted.
        future_decay: weight of a block after the history over that of the block before it; weights are 1 on average.
        norm: of the errors.
        matching: whether a prediction counts against the object of the same index, or all objects of a block against
            those that they are closest to, taken together; hidden objects against hidden ones.
        weight_D: of every value of a token, 1 on average; None for the same weight.

    Returns:
        Scalars: ``future``, ``masked`` (0 where nothing is hidden), and ``proprio`` if there is such an entity.
    """
    blocks = mask_BTE.shape[1]
    past_BTSD, future_BFSD = clip.tokens_BTSD[:, :blocks], clip.tokens_BTSD[:, blocks:]
    hidden_BTS = split_mask(mask_BTE, past_BTSD.shape[2])[0]
    if weight_D is not None:
        scale_D = weight_D.sqrt() if norm == "l2" else weight_D
        past_BTSD, future_BFSD = past_BTSD * scale_D, future_BFSD * scale_D
        history_BTSD, predicted_BFSD = prediction.history_BTSD * scale_D, prediction.future_BFSD * scale_D
        prediction = prediction._replace(history_BTSD=history_BTSD, future_BFSD=predicted_BFSD)
    weight_F = future_decay ** torch.arange(future_BFSD.shape[1], device=future_BFSD.device)
    weight_F = weight_F / weight_F.mean()
    masked_BTS = object_errors(prediction.history_BTSD.float(), past_BTSD, norm, matching, hidden_BTS) * hidden_BTS
    future_BFS = object_errors(prediction.future_BFSD.float(), future_BFSD, norm, matching)
    terms = {
        "future": (weight_F * future_BFS.mean(dim=(0, 2))).mean(),
        "masked": masked_BTS.sum() / hidden_BTS.sum().clamp(min=1),
    }
    if prediction.proprio_BFP.shape[-1]:
        error_F = distance(prediction.proprio_BFP.float(), clip.proprio_BTP[:, blocks:], norm).mean(dim=0)
        terms["proprio"] = (weight_F * error_F).mean()
    return terms


def value_weights(parts: Sequence[tuple[int, float]], token_dim: int) -> Tensor:
    """The weights of the D values of a token, 1 on average.

    Args:
        parts: how many values in a row, and the weight of each of them; all values of a token in order.
        token_dim: D.

    Raises:
        ValueError: the parts are not D values, or no weight is positive, or one is negative or not finite.
    """
    counts, weights = [count for count, _ in parts], [weight for _, weight in parts]
    if min(counts, default=0) < 1 or sum(counts) != token_dim:
        raise ValueError(f"value_weights: parts of {counts} values, expected {token_dim} values in all")
    if not all(0 <= weight < math.inf for weight in weights) or max(weights) == 0:
        raise ValueError(f"value_weights: weights of {weights}, expected finite ones, none below 0 and one above")
    weight_D = torch.tensor(weights, dtype=torch.float32).repeat_interleave(torch.tensor(counts))
    return weight_D / weight_D.mean()


def object_errors(
    predicted_BTSD: Tensor, target_BTSD: Tensor, norm: Norm, matching: Matching, hidden_BTS: Tensor | None = None
) -> Tensor:
    """The error of every object, ``(B, T, S)``.

    Args:
        predicted_BTSD: float32.
        target_BTSD: what really was.
        norm: of the errors.
        matching: ``hungarian`` compares with the targets in the order of the least total error.
        hidden_BTS: bool; hidden objects are matched with hidden ones, others with others. By default all with all.
    """
    if matching == "hungarian":
        cost_BTSS = distance(predicted_BTSD.detach()[..., :, None, :], target_BTSD[..., None, :, :], norm)
        if hidden_BTS is not None:
            cost_BTSS = cost_BTSS.masked_fill(hidden_BTS[..., :, None] != hidden_BTS[..., None, :], torch.inf)
        target_BTSD = take_slots(target_BTSD, assignment(cost_BTSS))
    return distance(predicted_BTSD, target_BTSD, norm)


def distance(first: Tensor, second: Tensor, norm: Norm) -> Tensor:
    """Mean absolute or squared difference over the last axis: ``(..., D)`` twice, to ``(...)``."""
    difference = first - second
    return (difference.abs() if norm == "l1" else difference.square()).mean(dim=-1)
