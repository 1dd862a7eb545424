"""Whether a language model knows which sentences are true of a frame.

File letters: N frames, K statements, W width of embeddings.
"""

from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cjepa.evaluation.held_out import score_held_out
from cjepa.evaluation.intervals import bootstrap_of_clusters
from cjepa.evaluation.measurements import Measurement, OpenProgress
from cjepa.language.frames import TokenFrames, ToldFrames
from cjepa.language.model import LanguageModel, fits
from cjepa.language.training import LanguageTraining, spoken

_UNIT = "of frames; sentences not trained on"


@torch.no_grad()
def evaluate(
    module: LanguageTraining, data: TokenFrames, split: Literal["val", "test"], progress: OpenProgress
) -> list[Measurement]:
    """``sentence_accuracy``: of one sentence for each region the one that fits best is true; resampled by episode.

    Over all bodies of which any of them is true. ``sentence_accuracy_goal`` takes the sentence whose predicted token is
    nearest to the body, as :class:`~cjepa.planning.sentence_goal.SentenceGoal` does. See
    :class:`~cjepa.evaluation.measurements.Evaluation`.
    """
    generator = torch.Generator().manual_seed(0)
    sentences = [spoken(each, generator, held_out=True) for each in data.statements]
    score = partial(scores, module.language, module.language.read(sentences), module.language.read_bodies(sentences))
    score_N3K, episode_N = score_held_out(score, module, data, split, progress, "read sentences", "frames")
    by_text_NK, by_token_NK, true_NK = score_N3K.swapaxes(0, 1)
    size = dict(zip(("tokens", "token_dim"), data.file.columns["tokens"][0][1:], strict=True))
    found = []
    for metric, score_NK in {"sentence_accuracy": by_text_NK, "sentence_accuracy_goal": by_token_NK}.items():
        right_M, of_M = _right(score_NK, true_NK.astype(bool), [statement.body for statement in data.statements])
        found.append(Measurement.of(metric, bootstrap_of_clusters(right_M, episode_N[of_M]), _UNIT, **size))
    return found


def scores(language: LanguageModel, text_KW: Tensor, body_KW: Tensor, batch: ToldFrames) -> Tensor:
    """How well every statement fits each frame, by its text and by its token, and whether it is true, ``(B, 3, K)``.

    Args:
        language: that reads.
        text_KW: of :meth:`~cjepa.language.model.LanguageModel.read`, a sentence for each statement.
        body_KW: of :meth:`~cjepa.language.model.LanguageModel.read_bodies`, of the same sentences.
        batch: B frames.
    """
    embedding_BSW = language.look(batch.tokens_BSD)
    about_BKS = language.about(embedding_BSW[:, None], body_KW)
    squared_BKS, deviations_BK1 = language.goal_errors(batch.tokens_BSD[:, None], text_KW[None])
    by_token_BK = (about_BKS * (-0.5 * squared_BKS - deviations_BK1)).sum(dim=-1)
    return torch.stack([fits(embedding_BSW, text_KW), by_token_BK, batch.true_BK], dim=1)


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
