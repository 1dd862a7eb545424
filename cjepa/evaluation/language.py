"""Whether a language model knows which sentences are true of a frame.

File letters: N frames, K statements, W width of embeddings.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cjepa.evaluation.intervals import bootstrap_of_clusters
from cjepa.evaluation.measurements import Measurement, OpenProgress
from cjepa.language.frames import TokenFrames, ToldFrames
from cjepa.language.model import fits
from cjepa.language.training import LanguageTraining, spoken

_UNIT = "of frames; sentences not trained on"


@torch.no_grad()
def evaluate(
    module: LanguageTraining, data: TokenFrames, split: Literal["val", "test"], progress: OpenProgress
) -> list[Measurement]:
    """``sentence_accuracy``: of one sentence for each region the one that fits best is true; resampled by episode.

    Over all bodies of which any of them is true. ``sentence_accuracy_goal`` takes the sentence whose predicted token is
    nearest. See :class:`~cjepa.evaluation.measurements.Evaluation`.
    """
    loader = data.held_out_dataloader(split)
    generator = torch.Generator().manual_seed(0)
    text_KW = module.language.read([spoken(each, generator, held_out=True) for each in data.statements])
    parts = []
    with progress("read sentences", len(loader.dataset), "frames") as bar:
        for batch in loader:
            parts.append(_scores(module, ToldFrames(*(values.to(module.device) for values in batch)), text_KW))
            bar.advance(len(batch.true_BK))
    true_NK = loader.dataset.true_RK[loader.dataset.starts].numpy()
    episode_N = data.file.episode_of(loader.dataset.starts.numpy())
    tokens = batch.tokens_BSD.shape[1:]
    size = {"tokens": tokens[0], "token_dim": tokens[1]}
    found = []
    scores = np.concatenate(parts, axis=1)
    for metric, score_NK in zip(("sentence_accuracy", "sentence_accuracy_goal"), scores, strict=True):
        right_M, of_M = _right(score_NK, true_NK, [statement.body for statement in data.statements])
        found.append(Measurement.of(metric, bootstrap_of_clusters(right_M, episode_N[of_M]), _UNIT, **size))
    return found


def _scores(module: LanguageTraining, batch: ToldFrames, text_KW: Tensor) -> np.ndarray:
    """How well every statement fits every frame, by its text and by its token, ``(2, N, K)``."""
    language = module.language
    squared_BKS, deviations_BK1 = language.goal_errors(batch.tokens_BSD[:, None], text_KW[None])
    by_token_BK = (-0.5 * squared_BKS - deviations_BK1).amax(dim=-1)
    return torch.stack([fits(language.look(batch.tokens_BSD), text_KW), by_token_BK]).double().cpu().numpy()


def _right(score_NK: np.ndarray, true_NK: np.ndarray, bodies: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Whether the best statement about a body is true, 0 or 1, and the frame of each answer."""
    right, frames = [], []
    for body in dict.fromkeys(bodies):
        of_K = np.array([name == body for name in bodies])
        said_M = np.flatnonzero(true_NK[:, of_K].any(axis=1))
        best_M = score_NK[said_M][:, of_K].argmax(axis=1)
        right.append(true_NK[said_M][:, of_K][np.arange(len(said_M)), best_M])
        frames.append(said_M)
    return np.concatenate(right).astype(float), np.concatenate(frames)
