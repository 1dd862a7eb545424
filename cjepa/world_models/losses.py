"""What a predictor is trained on: unweighted terms of a prediction against the clip that really followed."""

import torch
from torch import Tensor

from cjepa.types import Clip
from cjepa.world_models.masks import split_mask
from cjepa.world_models.predictors.base import Prediction


def loss_terms(prediction: Prediction, clip: Clip, mask_BTE: Tensor, future_decay: float = 1.0) -> dict[str, Tensor]:
    """Mean squared errors of hidden history, of the blocks after it, and of their proprioception (C-JEPA, section 3).

    Args:
        prediction: from the first T blocks of the clip, of the F blocks after them.
        clip: normalised, T + F blocks.
        mask_BTE: which cells of the history were hidden, see :class:`~cjepa.world_models.masks.Mask`; visible objects
            cost nothing, neither does hidden proprioception, which is not predicted.
        future_decay: weight of a block after the history over that of the block before it; weights are 1 on average.

    Returns:
        Scalars: ``future``, ``masked`` (0 where nothing is hidden), and ``proprio`` if there is such an entity.
    """
    blocks = mask_BTE.shape[1]
    past_BTSD, future_BFSD = clip.tokens_BTSD[:, :blocks], clip.tokens_BTSD[:, blocks:]
    hidden_BTS = split_mask(mask_BTE, past_BTSD.shape[2])[0].float()
    error_BTS = (prediction.history_BTSD.float() - past_BTSD).square().mean(dim=-1)
    weight_F = future_decay ** torch.arange(future_BFSD.shape[1], device=future_BFSD.device)
    weight_F = weight_F / weight_F.mean()
    terms = {
        "future": (weight_F * (prediction.future_BFSD.float() - future_BFSD).square().mean(dim=(0, 2, 3))).mean(),
        "masked": (error_BTS * hidden_BTS).sum() / hidden_BTS.sum().clamp(min=1),
    }
    if prediction.proprio_BFP.shape[-1]:
        error_F = (prediction.proprio_BFP.float() - clip.proprio_BTP[:, blocks:]).square().mean(dim=(0, 2))
        terms["proprio"] = (weight_F * error_F).mean()
    return terms
