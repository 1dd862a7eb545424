"""A trained ALOE's answers to the questions about held-out scenes."""

from pathlib import Path

import numpy as np
import torch

from cjepa.counts import number_of
from cjepa.data.clip_windows import evenly_spread
from cjepa.data.splits import Lineage, held_out
from cjepa.evaluation.interventions.laboratory import SceneProtocol
from cjepa.evaluation.measurements import OpenProgress
from cjepa.questions.aloe_training import answers_of, check_tokens, load_reader
from cjepa.questions.card import TEXT_ONLY, Answers
from cjepa.questions.files import QuestionFile
from cjepa.questions.question_data import QuestionTokens
from cjepa.questions.scores import score, scores_of
from cjepa.questions.text_only import TextOnly


def answer_with_aloe(
    checkpoint: Path,
    protocol: SceneProtocol,
    questions: QuestionFile,
    device: torch.device | str,
    progress: OpenProgress,
) -> Answers:
    """Answer the questions about scenes that are in no training.

    Args:
        checkpoint: of :class:`~cjepa.questions.aloe_training.AloeTraining`.
        protocol: ``episodes`` is a token file; questions about ``scenes`` of its test episodes are answered. Of a file
            that the reader was not trained on these are every second episode, as for the symbolic reader.
        questions: about the episodes of the tokens.
        device: of the reader and its world model.
        progress: begins one part of the work.

    Raises:
        UserError: questions, tokens and the reader do not fit each other.
    """
    module = load_reader(checkpoint).to(device)
    split_seed = module.lineage["split_seed"]
    data = QuestionTokens(protocol.episodes, str(questions.path), split_seed=split_seed, **module.reading)
    data.setup("test")
    check_tokens(module, data)
    if data.imagination is not None:
        data.imagination.model.dynamics.to(device)
    episodes, val = (held_out(data.file, Lineage(**module.lineage), split) for split in ("test", "val"))
    if np.intersect1d(episodes, val).size:
        episodes = episodes[1::2]
    episodes = evenly_spread(episodes, protocol.scenes)
    asked = data.questions_about(episodes, "test episodes")
    others = [question for question in questions.questions if question.episode not in set(episodes.tolist())]
    given = answers_of(module, data, asked, progress)
    return Answers(
        {"": scores_of(zip(asked, given, strict=True)), TEXT_ONLY: score(asked, TextOnly(others))},
        f"{number_of(len(episodes), 'episode')}; the reader was trained on none of them",
        data.lineage.episodes_fingerprint,
        module.reader.slots,
        module.reader.token_dim,
        module.reading | {"seen_env_steps": data.frames.seen_env_steps},
    )
