"""Token files and question files by hand: whether a scene is lit stands in its tokens, and questions ask for it."""

import json
from pathlib import Path

import numpy as np

from cjepa.data.store.episode_writer import EpisodeWriter
from tests.conftest import token_attributes

SLOTS, DIM, ENV_STEPS = 2, 3, 10


def is_lit(episode: int) -> bool:
    return bool(np.random.default_rng(episode).integers(2))


def token_file(path: Path, episodes: int, env_steps: int = ENV_STEPS, slots: int = SLOTS, **attributes) -> Path:
    """Of every token: the episode, the env step, and 1 in the last slot of a lit scene, else -1."""
    attributes = token_attributes(num_slots=slots, token_dim=DIM, **attributes)
    with EpisodeWriter(path, "cjepa-tokens", attributes) as writer:
        for episode in range(episodes):
            tokens = np.zeros((env_steps, slots, DIM), np.float16)
            tokens[..., 0], tokens[..., 1] = episode, np.arange(env_steps)[:, None]
            tokens[:, -1, 2] = 1 if is_lit(episode) else -1
            writer.append({"tokens": tokens})
    return path


def questions_about(episode: int) -> list[dict]:
    """Three in CLEVRER's own format: one to be answered, and one with two options of each of two types."""
    lit = is_lit(episode)
    choices = [
        {"choice_id": 0, "choice": "The lamp is lit", "program": ["lit"], "answer": "correct" if lit else "wrong"},
        {"choice_id": 1, "choice": "The lamp is dark", "program": ["dark"], "answer": "wrong" if lit else "correct"},
    ]
    asked = {"program": ["events"], "question_subtype": None}
    return [
        {"question_id": 0, "question": "Is the lamp lit?", "question_type": "descriptive", **asked}
        | {"answer": "yes" if lit else "no"},
        {"question_id": 1, "question": "What is true, now?", "question_type": "explanatory", **asked}
        | {"choices": choices},
        {"question_id": 2, "question": "What will be true?", "question_type": "predictive", **asked}
        | {"choices": choices},
    ]


def question_file(path: Path, episodes: int, **source) -> Path:
    """About all scenes; ``source`` as in files of `cjepa questions`, nothing as in those of CLEVRER."""
    scenes = [
        {"scene_index": episode, "video_filename": f"video_{episode:05d}.mp4", "questions": questions_about(episode)}
        | ({"source": source} if source else {})
        for episode in range(episodes)
    ]
    path.write_text(json.dumps(scenes))
    return path
