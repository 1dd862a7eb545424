"""All answers to a question file: of a world model by the symbolic reader, and of what has no world model."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from cjepa.configuration.run_config import data_options
from cjepa.data.store.episodes import Episodes
from cjepa.data.store.shards import open_episodes
from cjepa.envs.interventions import InterventionEnv
from cjepa.errors import UserError
from cjepa.evaluation.interventions.card import place_of
from cjepa.evaluation.interventions.laboratory import Laboratory, SceneProtocol, open_laboratory
from cjepa.evaluation.interventions.scenes import encode_episodes
from cjepa.evaluation.measurements import Measurement, OpenProgress
from cjepa.progress import Progress
from cjepa.questions.files import QuestionFile, check_source
from cjepa.questions.perception import fit_perception
from cjepa.questions.scores import Reader, score
from cjepa.questions.symbolic import Clocks, SymbolicReader, by_world_model, constant_velocity
from cjepa.questions.text_only import TextOnly
from cjepa.world_models.loading import load_world_model

CONSTANT_VELOCITY = "tokens, constant velocity"
TEXT_ONLY = "text only"


class Answers(NamedTuple):
    """Scores by reader, and what they are of."""

    scores: dict[str, list[Measurement]]
    """Those of the run under ``""``."""
    account: str
    """Why the episodes are held out, for people."""
    fingerprint: str
    """Of the episodes."""
    tokens: int
    token_dim: int
    how: dict[str, Any]
    """What the reader read, as plain values."""


def answer_questions(
    checkpoint: Path,
    protocol: SceneProtocol,
    questions: QuestionFile,
    device: torch.device | str,
    progress: OpenProgress,
) -> Answers:
    """Answer the questions about held-out episodes.

    Args:
        checkpoint: of the world model.
        protocol: ``scenes`` test episodes are asked about, probes are fitted on ``val_scenes`` validation episodes.
        questions: about the episodes.
        device: of world model and tokenizer.
        progress: begins one part of the work.

    Raises:
        UserError: questions, episodes and the model do not fit each other.
    """
    file = open_episodes(protocol.episodes)
    check_source(questions, file)
    loaded = load_world_model(checkpoint)
    loaded.dynamics.to(device)
    loaded.tokenizer.to(device)
    with progress("encode", protocol.scenes + protocol.val_scenes, "episodes") as bar:
        lab = open_laboratory(loaded, data_options(checkpoint), protocol, checkpoint, bar)
    if not isinstance(lab.env, InterventionEnv):
        raise UserError(f"{file.path}: {type(lab.env).__name__} has no interventions; give episodes of Collide")
    with progress("read", len(questions.questions), "questions") as bar:
        return _answers(lab, file, questions, bar)


def _answers(lab: Laboratory, file: Episodes, questions: QuestionFile, progress: Progress) -> Answers:
    if not {"removal_env_step", "seen_env_steps"} <= set(questions.source):
        raise UserError(f"{questions.path} does not say what is shown; make it with `cjepa questions`")
    clocks = Clocks(lab.frame_stride, questions.source["removal_env_step"], questions.source["seen_env_steps"])
    asked = [question for question in questions.questions if question.episode in lab.episodes]
    others = [question for question in questions.questions if question.episode not in lab.episodes]
    if not asked:
        raise UserError(
            f"{questions.path} has no question about the {len(lab.episodes)} test episodes; give more --scenes"
        )
    val = list(encode_episodes(file, np.unique(lab.val.episode_B), lab.tokenizer, lab.env))
    perception = fit_perception(val, place_of(lab), lab.env.attribute_names, lab.env.table[1], lab.frame_stride)
    known = lab.episodes, perception, clocks
    readers: dict[str, Reader] = {
        "": SymbolicReader(*known, by_world_model(lab, perception)).with_fitted_future(val),
        CONSTANT_VELOCITY: SymbolicReader(*known, constant_velocity(lab.env.table[1]), perception.straight),
        TEXT_ONLY: TextOnly(others),
    }
    scores = {}
    for name, reader in readers.items():
        scores[name] = score(asked, reader)
        progress.advance(len(questions.questions) / len(readers))
    size = lab.tokenizer.num_slots, lab.tokenizer.slot_dim
    return Answers(scores, lab.account, lab.fingerprint, *size, clocks._asdict())
