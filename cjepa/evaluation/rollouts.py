"""Open-loop prediction error of a world model, beside that of copying the last frame."""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader

from cjepa.data.store.episodes import Episodes
from cjepa.evaluation.intervals import Interval, bootstrap
from cjepa.evaluation.measurements import Measurement, OpenProgress
from cjepa.world_models.dynamics import last_tokens, rollout_clip
from cjepa.world_models.training import DynamicsTraining


class RolloutErrors(NamedTuple):
    """Squared errors of normalised tokens, one row a clip, one column a block ahead."""

    error_NH: np.ndarray
    copy_NH: np.ndarray
    """Of copying the last context frame."""
    episode_N: np.ndarray
    """Index of the episode that each clip is from."""
    num_slots: int

    def intervals(self) -> dict[str, Interval]:
        """Errors as shares of copying, by name; resampled by episode, since clips of one episode overlap."""
        _, place_N = np.unique(self.episode_N, return_inverse=True)
        found = {}
        for block in sorted({1, self.error_NH.shape[1]}):
            error_E, copy_E = (
                np.bincount(place_N, values_NH[:, block - 1]) for values_NH in (self.error_NH, self.copy_NH)
            )
            found[f"rollout_error@{block}"] = bootstrap(error_E, copy_E)
        return found


def evaluate(
    module: DynamicsTraining, data: Any, split: Literal["val", "test"], progress: OpenProgress
) -> list[Measurement]:
    """``rollout_error@k``, see :class:`~cjepa.evaluation.measurements.Evaluation`."""
    loader = data.val_dataloader() if split == "val" else data.test_dataloader()
    errors = rollout_errors(module, loader, data.file)
    size = {"tokens": errors.num_slots, "token_dim": module.dynamics.token_dim}
    return [Measurement.of(name, interval, "of copying", **size) for name, interval in errors.intervals().items()]


@torch.inference_mode()
def rollout_errors(module: DynamicsTraining, loader: DataLoader, file: Episodes) -> RolloutErrors:
    """Errors on all clips of a loader; the module keeps its mode.

    Args:
        module: the world model.
        loader: of clips of ``history_blocks + H`` frames, in the order of its dataset's ``starts``.
        file: the episodes that the clips are from.
    """
    was_training = module.training
    module.eval()
    errors, copies = [], []
    for batch in loader:
        clip = module.clip_of(type(batch)(*(None if values is None else values.to(module.device) for values in batch)))
        rollout, followed = rollout_clip(module.dynamics, clip)
        last_B1SD = last_tokens(module.dynamics, clip)
        errors.append((rollout.tokens_BHSD - followed.tokens_BHSD).square().mean(dim=(2, 3)).cpu())
        copies.append((last_B1SD - followed.tokens_BHSD).square().mean(dim=(2, 3)).cpu())
    module.train(was_training)
    episode_N = np.searchsorted(file.offsets, np.asarray(loader.dataset.starts), side="right") - 1
    return RolloutErrors(torch.cat(errors).numpy(), torch.cat(copies).numpy(), episode_N, last_B1SD.shape[2])
