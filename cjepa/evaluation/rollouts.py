"""Open-loop prediction error of a world model, beside that of copying the last frame."""

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader

from cjepa.data.token_clips import TokenClips
from cjepa.evaluation.intervals import bootstrap
from cjepa.evaluation.measurements import Measurement, OpenProgress
from cjepa.types import Clip
from cjepa.world_models.training import WorldModel


class RolloutErrors(NamedTuple):
    """Squared errors of normalised tokens, one row a clip, one column a block ahead."""

    error_NH: np.ndarray
    copy_NH: np.ndarray
    """Of copying the last context frame."""
    num_slots: int


def evaluate(
    module: WorldModel, data: TokenClips, split: Literal["val", "test"], progress: OpenProgress
) -> list[Measurement]:
    """``rollout_error@k``, see :class:`~cjepa.evaluation.measurements.Evaluation`."""
    errors = rollout_errors(module, data.val_dataloader() if split == "val" else data.test_dataloader())
    size = {"tokens": errors.num_slots, "token_dim": module.predictor.token_dim}
    intervals = {
        block: bootstrap(errors.error_NH[:, block - 1], errors.copy_NH[:, block - 1])
        for block in sorted({1, errors.error_NH.shape[1]})
    }
    return [
        Measurement.of(f"rollout_error@{block}", interval, "of copying", **size)
        for block, interval in intervals.items()
    ]


@torch.inference_mode()
def rollout_errors(model: WorldModel, loader: DataLoader) -> RolloutErrors:
    """Errors on all clips of a loader, each ``history_blocks + H`` frames long; the model keeps its mode."""
    was_training = model.training
    model.eval()
    errors, copies = [], []
    for clip in loader:
        clip = model.normalise(Clip(*(values.to(model.device) for values in clip)))
        history = model.predictor.history_blocks
        rollout = model.rollout_clip(clip)
        target_BHSD = clip.tokens_BTSD[:, history:]
        last_B1SD = clip.tokens_BTSD[:, history - 1 : history]
        errors.append((rollout.tokens_BHSD - target_BHSD).square().mean(dim=(2, 3)).cpu())
        copies.append((last_B1SD - target_BHSD).square().mean(dim=(2, 3)).cpu())
    model.train(was_training)
    return RolloutErrors(torch.cat(errors).numpy(), torch.cat(copies).numpy(), clip.tokens_BTSD.shape[2])
