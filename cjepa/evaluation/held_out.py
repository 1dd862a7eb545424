"""What a trained module makes of held-out clips."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from cjepa.data.clip_module import EpisodeClips
from cjepa.evaluation.measurements import OpenProgress


@contextmanager
def in_eval_mode(module: L.LightningModule) -> Iterator[None]:
    """Evaluate a module within the context; it keeps the mode that it had before."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


@torch.no_grad()
def score_held_out(
    score: Callable[[Any], Tensor],
    module: L.LightningModule,
    data: EpisodeClips,
    split: str,
    progress: OpenProgress,
    title: str,
    unit: str = "clips",
) -> tuple[np.ndarray, np.ndarray]:
    """Score every clip of a split's loader, with the module in eval mode.

    Args:
        score: of a batch on the module's device, ``(B, ...)``.
        module: trained; it keeps its mode.
        data: set up; its batches have ``on(device)``.
        split: ``val`` or ``test``.
        progress: begins the work.
        title: of the work.
        unit: of what is scored.

    Returns:
        float64: the scores ``(N, ...)``; int: the episode of each clip ``(N,)``.
    """
    loader = data.held_out_dataloader(split)
    parts = []
    with in_eval_mode(module), progress(title, len(loader.dataset), unit) as bar:
        for batch in loader:
            parts.append(score(batch.on(module.device)).double().cpu().numpy())
            bar.advance(len(parts[-1]))
    return np.concatenate(parts), data.file.episode_of(np.asarray(loader.dataset.starts))
