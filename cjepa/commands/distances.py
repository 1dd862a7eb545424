"""Planning evaluations at several distances of goals: one command, one folder for each, one table."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cjepa.command_result import CommandResult
from cjepa.evaluation.protocol import PlanningProtocol
from cjepa.files import write_json
from cjepa.reporting.distances import DISTANCE, named_by_distance
from cjepa.reporting.plan import differences_text
from cjepa.reporting.records import command_line
from cjepa.reporting.tables import Row, results_table

_FILES = ("results.json", "trials.csv", "steps.csv")


class Evaluated(NamedTuple):
    """What a command says of an evaluation, whose files are written."""

    rows: list[Row]
    account: str
    """Where the pairs are from."""


def evaluate_all(
    protocol: PlanningProtocol, folder: Path, evaluate: Callable[[PlanningProtocol, Path], Evaluated]
) -> Evaluated:
    """Evaluate at the distance of a protocol, or at all of its ``goal_offsets``.

    Each of several has a folder with all files of an evaluation; above them are the rows of all, with their distance,
    and ``study.json``, which names the folders for the report.

    Args:
        protocol: of the command.
        folder: of the results.
        evaluate: writes the results of one protocol into a folder.
    """
    parts = protocol.by_distance()
    if not parts:
        return evaluate(protocol, folder)
    rows: list[Row] = []
    accounts, stages = [], []
    for name, part in parts.items():
        started = time.time()
        found = evaluate(part, folder / name)
        rows += [row | {DISTANCE: part.goal_env_steps} for row in found.rows]
        accounts.append(found.account)
        stages.append({"name": name, "folder": name, "started": started, "seconds": time.time() - started})
    write_json(folder / "study.json", {"name": folder.name, "description": command_line(), "stages": stages})
    write_json(folder / "results.json", rows)
    return Evaluated(rows, "; ".join(dict.fromkeys(accounts)))


def title(verb: str, part: Path, folder: Path) -> str:
    """Of the progress of one of several evaluations, which writes into ``part``."""
    return verb if part == folder else f"{verb} {part.name}"


def command_result(evaluated: Evaluated, protocol: PlanningProtocol, folder: Path) -> CommandResult:
    """Table and files of all evaluations."""
    parts = protocol.by_distance()
    files = ["results.json", *(f"{name}/trials.csv" for name in parts)] if parts else _FILES
    rows = named_by_distance(evaluated.rows)
    lines = [f"pairs from {evaluated.account}", *differences_text(rows), *(f"{folder}/{name}" for name in files)]
    return CommandResult(lines, results_table(rows), f"cjepa report {folder}")
