"""The results of a sweep: cells by their validation values, best first, as table and CSV."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cjepa.errors import UserError
from cjepa.evaluation.intervals import Interval, mean_of_runs, unpaired_difference
from cjepa.reporting.distances import of_one_distance
from cjepa.reporting.tables import ERROR_PREFIX, Row, csv_text, error_blocks, interval_of, value_with_interval

_HIGHEST = ("success", "fg_ari", "fg_ari_video", "ari", "mbo", "mean_iou", "psnr", "slot_consistency", "accuracy")
_LOWEST = ("error", "loss", "seconds", "distance")
"""Parts of names of metrics of which the lowest value is the best."""
_CLASS_PATH = re.compile(r"(\w+\.)+[A-Z]\w*")


class Cell(NamedTuple):
    """One combination of values."""

    values: dict[str, Any]
    rows: dict[int, list[Row]]
    """Of each seed that is done."""


class Target(NamedTuple):
    """What the best cell is chosen by."""

    metric: str
    highest: bool


class Score(NamedTuple):
    """What came of a cell."""

    values: dict[str, Any]
    interval: Interval
    """The mean over seeds; of a single seed its own interval, over episodes."""
    seeds: list[int]
    """That have a value."""


def target_of(cells: Sequence[Cell], metric: str | None, best: str | None) -> Target:
    """What to choose by.

    Args:
        cells: with their results.
        metric: that the user has named; None: success, else the rollout error furthest ahead, else ``fg_ari``.
        best: ``highest`` or ``lowest``; None: what is known of the metric.

    Raises:
        UserError: there is no such metric of validation episodes, or it is not known which values are good.
    """
    rows = [row for cell in cells for own in cell.rows.values() for row in _of_validation(own)]
    found = list(dict.fromkeys(row["metric"] for row in rows))
    again = "repeat the command with another --metric, finished cells are reused"
    if metric is None:
        errors = [f"{ERROR_PREFIX}{block}" for block in error_blocks(rows)[-1:]]
        metric = next((name for name in ("success", *errors, "fg_ari") if name in found), None)
    if metric not in found:
        name = "no default metric" if metric is None else f"--metric {metric}: no value"
        raise UserError(f"{name} in the validation results, which have {', '.join(found) or 'none'}; {again}")
    if best is None and metric not in _HIGHEST and not any(part in metric for part in _LOWEST):
        raise UserError(f"--metric {metric}: give --best highest or lowest; finished cells are reused")
    return Target(metric, best == "highest" if best else metric in _HIGHEST)


def ranked(cells: Sequence[Cell], target: Target) -> list[Score]:
    """The cells that have a value, best first."""
    scores = [score for cell in cells if (score := _score(cell, target.metric)) is not None]
    return sorted(scores, key=lambda score: score.interval.value, reverse=target.highest)


def score_table(scores: Sequence[Score], target: Target) -> list[list[str]]:
    """Scores as text, header first."""
    names = short_names(scores[0].values)
    body = [
        [
            *(value_text(score.values[key]) for key in names),
            _interval_text(score.interval),
            str(len(score.seeds)),
        ]
        for score in scores
    ]
    return [[*names.values(), f"{target.metric} (val) [95 %]", "seeds"], *body]


def to_csv(scores: Sequence[Score], target: Target) -> str:
    """One line per cell, with all digits and the full names of options."""
    lines = [[*scores[0].values, target.metric, "low", "high", "seeds"]]
    for score in scores:
        value, bounds = score.interval.value, score.interval.bounds
        lines.append([*map(value_text, score.values.values()), value, *bounds, len(score.seeds)])
    return csv_text(lines)


def verdict(scores: Sequence[Score], target: Target) -> list[str]:
    """What the table says, in sentences, and what it does not say."""
    best, *others = scores
    names = short_names(best.values)
    shown = ", ".join(f"{names[key]} {value_text(value)}" for key, value in best.values.items())
    which = "highest" if target.highest else "lowest"
    lines = [f"best: {shown}, by the {which} {target.metric} of validation episodes; test episodes were not used"]
    if close := [score for score in others if not _is_apart(score.interval, best.interval)]:
        lines.append(f"not told apart from the best, at 95 %: {len(close)} of {len(others)} other cells")
    if max(len(score.seeds) for score in scores) == 1:
        lines.append("one seed per cell: intervals are over episodes and leave out chance in training; give --seeds")
    return lines


def short_names(values: Mapping[str, Any]) -> dict[str, str]:
    """Full name of an option -> its last word, where that is unique; of a class what it is the class of."""
    last = {key: key.removesuffix(".class_path").rpartition(".")[2] for key in values}
    return {key: word if list(last.values()).count(word) == 1 else key for key, word in last.items()}


def value_text(value: Any) -> str:
    """A value of an option as a table shows it; of a class its last word, with its arguments."""
    if isinstance(value, dict) and isinstance(value.get("class_path"), str):
        given = value.get("init_args") or {}
        arguments = ", ".join(f"{name}={value_text(entry)}" for name, entry in given.items())
        return value_text(value["class_path"]) + (f"({arguments})" if arguments else "")
    return value.rpartition(".")[2] if isinstance(value, str) and _CLASS_PATH.fullmatch(value) else str(value)


def _of_validation(rows: Sequence[Row]) -> list[Row]:
    return [row for row in of_one_distance(rows) if row.get("split") == "val" and row.get("value") is not None]


def _score(cell: Cell, metric: str) -> Score | None:
    found = {seed: row for seed, own in cell.rows.items() for row in _of_validation(own) if row["metric"] == metric}
    if not found:
        return None
    interval = mean_of_runs([row["value"] for row in found.values()])
    if len(found) == 1:
        (row,) = found.values()
        interval = interval_of(row)._replace(n=interval.n)
    return Score(cell.values, interval, list(found))


def _interval_text(interval: Interval) -> str:
    low, high = interval.bounds
    return value_with_interval({"value": interval.value, "low": low, "high": high})


def _is_apart(one: Interval, other: Interval) -> bool:
    """Whether the interval of the difference is on one side of 0; without intervals nothing is told apart."""
    low, high = unpaired_difference(one, other).bounds
    return low is not None and not low <= 0 <= high
