"""A question file of Collide episodes, as CLEVRER has it, in which text alone tells nothing about the answers."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse.typing import NonNegativeInt, PositiveInt

from cjepa.data.store.attributes import from_json
from cjepa.data.store.episodes import Episodes
from cjepa.data.workers import parallel_map
from cjepa.envs import make_env
from cjepa.envs.collide.env import Collide
from cjepa.errors import UserError
from cjepa.files import write_text
from cjepa.progress import Progress
from cjepa.questions.simulated import COLUMNS, on_table, true_story
from cjepa.questions.templates import Draft, counterfactual, descriptive, explanatory, predictive

_DESCRIPTIVE_DRAWN = 3
"""Times ``per_type``: balancing drops some."""


@dataclass(frozen=True)
class QuestionProtocol:
    """What questions are about.

    Args:
        removal_env_step: from which a removed object is absent in counterfactual questions.
        seen_env_steps: frames that are shown; predictive questions are about the rest of the episode.
        per_type: most questions of one type per episode; of descriptive ones three times as many are drawn, since
            balancing their answers drops some.
        seed: of what is asked, and of the order of options.
    """

    removal_env_step: NonNegativeInt = 16
    seen_env_steps: PositiveInt = 32
    per_type: PositiveInt = 4
    seed: NonNegativeInt = 0


def make_questions(
    file: Episodes, protocol: QuestionProtocol, out: Path, workers: int, progress: Progress
) -> list[dict[str, Any]]:
    """Write questions about all episodes of a file; returns the scenes as they are in ``out``.

    Beside CLEVRER's keys a scene has ``source``: the fingerprint of the episodes and the clocks of the protocol.

    Args:
        file: episodes of Collide.
        protocol: what is asked.
        out: JSON file to make.
        workers: processes; 1 stays in this one.
        progress: advanced by episodes.

    Raises:
        UserError: ``out`` exists or ends in .jsonl; the episodes are not of Collide, lack a column or are short.
    """
    if out.suffix == ".jsonl":
        raise UserError(f"{out}: *.jsonl is the layout of `cjepa convert`; give an --out that ends in .json")
    if out.exists():
        raise UserError(f"{out} already exists; choose another --out or delete it first")
    _check(file, protocol)
    drafts: list[list[Draft]] = []
    with parallel_map(partial(_drafts, file, protocol), range(len(file)), workers) as found:
        for of_episode in found:
            drafts.append(of_episode)
            progress.advance(1)
    kept = _balanced(drafts, np.random.default_rng([protocol.seed, len(file)]))
    source = {
        "episodes_fingerprint": file.fingerprint,
        "removal_env_step": protocol.removal_env_step,
        "seen_env_steps": protocol.seen_env_steps,
    }
    scenes = [
        {
            "scene_index": episode,
            "video_filename": f"video_{episode:05d}.mp4",
            "questions": [{"question_id": number} | draft.question for number, draft in enumerate(of_episode)],
            "source": source,
        }
        for episode, of_episode in enumerate(kept)
        if of_episode
    ]
    write_text(out, json.dumps(scenes))  # on one line: programs are long
    return scenes


def _check(file: Episodes, protocol: QuestionProtocol) -> None:
    if file.attributes.get("env_id") != "cjepa/Collide-v0":
        raise UserError(
            f"{file.path}: episodes of {file.attributes.get('env_id')}, expected cjepa/Collide-v0; record them with "
            "`cjepa collect -c experiments/collide/collect.yaml`"
        )
    for column in COLUMNS:
        file.require(column)
    removal, seen, shortest = protocol.removal_env_step, protocol.seen_env_steps, min(file.lengths.tolist(), default=0)
    if not removal < seen - 1 < shortest - 1:
        raise UserError(
            f"removal_env_step is {removal} and seen_env_steps is {seen}, but the shortest episode of {file.path} has "
            f"{shortest} env steps; expected removal_env_step + 1 < seen_env_steps < {shortest}"
        )


def _drafts(file: Episodes, protocol: QuestionProtocol, episode: int) -> list[Draft]:
    """Questions about one episode; of descriptive ones more than are kept."""
    env = make_env(file.attributes["env_id"], from_json(file.path, file.attributes, "env_kwargs"))
    assert isinstance(env, Collide)
    rows, rng = file.episode(episode, COLUMNS), np.random.default_rng([protocol.seed, episode])
    story = true_story(env, rows, protocol.removal_env_step, protocol.seen_env_steps)
    last = np.flatnonzero(on_table(rows["objects"][protocol.seen_env_steps - 1])).tolist()
    types: list[tuple[int, Iterator[Draft]]] = [
        (_DESCRIPTIVE_DRAWN * protocol.per_type, descriptive(story, rng)),
        (protocol.per_type, explanatory(story, rng)),
        (protocol.per_type, predictive(story, last, rng)),
        (protocol.per_type, counterfactual(story, protocol.removal_env_step, rng)),
    ]
    return [draft for most, drafts in types for draft in _some(list(drafts), most, rng)]


def _some(drafts: list[Draft], most: int, rng: np.random.Generator) -> list[Draft]:
    return [drafts[index] for index in np.sort(rng.permutation(len(drafts))[:most])]


def _balanced(drafts: Sequence[Sequence[Draft]], rng: np.random.Generator) -> list[list[Draft]]:
    """Drafts of all episodes, with every answer of a template as often as every other that is kept."""
    places: dict[str, dict[str, list[tuple[int, int]]]] = {}
    for episode, of_episode in enumerate(drafts):
        for number, draft in enumerate(of_episode):
            if draft.template:
                answers = places.setdefault(draft.template, {})
                answers.setdefault(draft.question["answer"], []).append((episode, number))
    kept = set()
    for answers in places.values():
        each = _equal_share(Counter({word: len(found) for word, found in answers.items()}))
        for found in answers.values():
            if len(found) >= each > 0:
                kept |= {found[index] for index in rng.permutation(len(found))[:each]}
    return [
        [draft for number, draft in enumerate(of_episode) if not draft.template or (episode, number) in kept]
        for episode, of_episode in enumerate(drafts)
    ]


def _equal_share(counts: Counter) -> int:
    """How many of each answer are kept: that number which keeps most; 0 where there is only one answer."""
    descending = [count for _, count in counts.most_common()]
    return max(descending[1:], key=lambda count: count * sum(other >= count for other in descending), default=0)
