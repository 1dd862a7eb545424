"""The trials of finished planning evaluations, read back to be compared pair by pair."""

import csv
from collections import Counter
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cjepa.configuration.plain_values import finite_number
from cjepa.errors import UserError
from cjepa.evaluation.intervals import Interval, bootstrap_of_clusters, paired_difference
from cjepa.files import read_text

_SAME_TASK = (
    "fingerprint",
    "goal_env_steps",
    "goal_state",
    "goal_text",
    "published_protocol",
    "budget_env_steps",
    "frame_stride",
)
"""What two evaluations have to share for the difference on a pair to be one of the agents."""
_IDENTITY = ("model", "pair", "episode", "start_row", "plans", "fallbacks", "env_steps_to_success")
PairKey = tuple[int | None, str, str, int]
"""Seed of the pairs, episode, first row, and how often the evaluation had drawn the same pair before."""
Key = tuple[Path, PairKey]
"""Of a trial: folder of the evaluation, and its pair."""


class Trials(NamedTuple):
    """What one agent made of its trials."""

    task: dict[str, Any]
    """Of :data:`_SAME_TASK`, as far as ``run.json`` says it."""
    values: dict[str, dict[Key, float]]
    """Metric -> trial -> value."""


def read_trials(folder: Path, record: Mapping[str, Any]) -> dict[str, Trials]:
    """The agents of ``folder/trials.csv``; empty without that file.

    Args:
        folder: of a planning evaluation.
        record: its ``run.json``; empty if there is none.

    Raises:
        UserError: the file is not a table of trials.
    """
    path = folder / "trials.csv"
    if not path.is_file():
        return {}
    evaluation = dict(record.get("evaluation") or {})
    known = evaluation | {"fingerprint": (record.get("data") or {}).get("fingerprint")}
    task = {name: known.get(name) for name in _SAME_TASK} if record else {}
    seed = evaluation.get("seed")
    found: dict[str, Trials] = {}
    drawn: Counter[tuple[str, str, str]] = Counter()
    try:
        for number, row in enumerate(csv.DictReader(StringIO(read_text(path), newline="")), 2):
            if not row.get("model") or not row.get("episode") or not row.get("start_row"):
                raise UserError(f"{path}: line {number} has no model, episode or start_row; repeat the evaluation")
            trials = found.setdefault(row["model"], Trials(task, {}))
            pair = row["model"], row["episode"], row["start_row"]
            key = (folder, (seed, *pair[1:], drawn[pair]))
            drawn[pair] += 1
            for metric, cell in row.items():
                if metric and metric not in _IDENTITY and cell:
                    trials.values.setdefault(metric, {})[key] = _number(cell, f"{path}: line {number}: {metric}")
    except csv.Error as error:
        raise UserError(f"{path}: not a table ({error})") from None
    return found


def merged(one: Trials, other: Trials) -> Trials:
    """The trials of one agent in two evaluations, such as of two seeds; without values if the tasks differ."""
    if one.task != other.task:
        return Trials({}, {})
    metrics = [*one.values, *(name for name in other.values if name not in one.values)]
    return Trials(one.task, {name: one.values.get(name, {}) | other.values.get(name, {}) for name in metrics})


def difference_by_pair(one: Trials, other: Trials, metric: str) -> Interval | str:
    """The mean of one agent minus that of another over the pairs that both have planned, by episode.

    A pair that was planned in several evaluations counts once, with the mean of its trials.

    Returns:
        The difference; n is the number of pairs. Or why there is none: a few words.
    """
    mine, theirs = (_by_pair(agent.values.get(metric, {})) for agent in (one, other))
    if not mine or not theirs:
        return "no values of single pairs"
    for name in _SAME_TASK:
        if name in one.task and name in other.task and one.task[name] != other.task[name]:
            return f"other {'episodes' if name == 'fingerprint' else name}"
    keys = [key for key in mine if key in theirs]
    if not keys:
        return "no pair in common"
    mine_N, theirs_N = (np.array([values[key] for key in keys]) for values in (mine, theirs))
    episode_N = np.array([episode for _, episode, *_ in keys])
    if metric == "success":
        return paired_difference(mine_N, theirs_N, episode_N)
    return bootstrap_of_clusters(mine_N - theirs_N, episode_N)


def _by_pair(values: Mapping[Key, float]) -> dict[PairKey, float]:
    """The mean over evaluations."""
    found: dict[PairKey, list[float]] = {}
    for (_, pair), value in values.items():
        found.setdefault(pair, []).append(value)
    return {pair: sum(trials) / len(trials) for pair, trials in found.items()}


def _number(cell: str, where: str) -> float:
    value = finite_number(cell)
    if value is None:
        raise UserError(f"{where} is {cell[:40]!r}, expected a finite number")
    return value
