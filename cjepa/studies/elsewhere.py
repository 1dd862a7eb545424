"""What stages of other studies took: the estimate for a study that has not run yet."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from cjepa.errors import UserError
from cjepa.reporting.reading import read_study
from cjepa.studies.definition import Stage
from cjepa.studies.forecast import Cost


class Elsewhere(NamedTuple):
    """A finished stage of another study."""

    study: str
    stage: str
    command: str
    cost: Cost


class Estimate(NamedTuple):
    """Of a stage that has not run."""

    cost: Cost
    source: str
    """Where it is from, for people; empty for this study."""


def finished_elsewhere(root: Path, study: str) -> list[Elsewhere]:
    """Finished stages of all studies below a folder but one; what is no study is passed over.

    Args:
        root: folder of all studies.
        study: name of the one that is estimated.
    """
    found = []
    for path in sorted(root.glob("*/study.json")):
        if path.parent.name != study:
            found += [
                Elsewhere(path.parent.name, entry["name"], entry["command"], _cost(entry))
                for entry in _stages(path)
                if "seconds" in entry and "command" in entry
            ]
    return found


def estimate_of(stage: Stage, others: Sequence[Elsewhere]) -> Estimate | None:
    """By stages of the same name and command, else by all of the same command; None without any."""
    same = [one for one in others if one.command == stage.command]
    alike = [one for one in same if one.stage == stage.name] or same
    if not alike:
        return None
    studies = ", ".join(dict.fromkeys(one.study for one in alike))
    cost = Cost(mean(one.cost.seconds for one in alike), max(one.cost.memory_mb for one in alike))
    return Estimate(cost, f"as in {studies}")


def _stages(path: Path) -> list[dict]:
    try:
        return read_study(path)["stages"]
    except UserError:
        return []


def _cost(entry: dict) -> Cost:
    return Cost(entry["seconds"] or 0, entry.get("peak_memory_mb") or 0)
