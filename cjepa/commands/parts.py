"""Planning evaluations in several parts (shifts, seeds, distances): one command, a folder for each part, one table."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cjepa.command_result import CommandResult
from cjepa.data.store.shards import open_episodes
from cjepa.evaluation.planning.against import check_rivals
from cjepa.evaluation.planning.contest import Contest
from cjepa.evaluation.planning.pairs import check_distance
from cjepa.evaluation.planning.protocol import PlanningProtocol, with_environment
from cjepa.files import write_json
from cjepa.reporting.distances import DISTANCE, named_by_distance
from cjepa.reporting.plan import Agents
from cjepa.reporting.plan_text import differences_text, outcome_text
from cjepa.reporting.records import command_line
from cjepa.reporting.seeds import named_by_seed, rows_of_seeds
from cjepa.reporting.tables import Row, results_table
from cjepa.shell import as_typed

_FILES = ("results.json", "trials.csv", "steps.csv")


class Evaluated(NamedTuple):
    """What came of an evaluation, whose files are written."""

    rows: list[Row]
    contest: Contest
    agents: Agents


class PartFolders:
    """Parts of an evaluation, each in a folder of its own with all files of an evaluation.

    Args:
        folder: of all parts.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._stages: list[dict[str, Any]] = []

    def run(self, name: str, evaluate: Callable[[Path], Evaluated]) -> Evaluated:
        """Evaluate one part, which writes its results into the folder ``name``.

        Its rows come back with the name of both folders: those of parts are the same in every evaluation, and tables
        would take what two evaluations found for a row that was measured again.
        """
        started = time.time()
        found = evaluate(self.folder / name)
        seconds = time.time() - started
        self._stages.append({"name": name, "folder": name, "started": started, "seconds": seconds})
        return found._replace(rows=[row | {"run": f"{self.folder.name}/{row['run']}"} for row in found.rows])

    def write(self, rows: list[Row]) -> None:
        """Write the rows of all parts, and ``study.json``, which names their folders for the report."""
        content = {"name": self.folder.name, "description": command_line(), "stages": self._stages}
        write_json(self.folder / "study.json", content)
        write_json(self.folder / "results.json", rows)


class Table(NamedTuple):
    """What a command says of one evaluation, or of all parts."""

    rows: list[Row]
    account: str
    """Where the pairs are from."""


def evaluate_all(
    protocol: PlanningProtocol, folder: Path, evaluate: Callable[[PlanningProtocol, Path], Evaluated]
) -> Table:
    """Evaluate a protocol, or all of its parts.

    Rows of several seeds are put together.

    Args:
        protocol: of the command.
        folder: of the results.
        evaluate: writes the results of one protocol into a folder.

    Raises:
        UserError: the environment has no such shift, no episode is long enough for a distance, or what a part is to be
            compared with is missing; all are known before the first part begins.
    """
    parts = protocol.parts()
    if not parts:
        found = evaluate(protocol, folder)
        return Table(found.rows, found.contest.source.account)
    for part in parts.values():
        check_rivals(part)
    if protocol.goal_offsets:  # before hours are spent on the nearer goals
        file = open_episodes(protocol.episodes)
        check_distance(file, np.arange(len(file)), max(protocol.goal_offsets))
    if protocol.shift is not None:  # before hours are spent on the part without it
        with_environment(protocol, open_episodes(protocol.episodes)).make_env()
    groups: dict[tuple, list[Evaluated]] = {}
    folders = PartFolders(folder)
    for name, part in parts.items():
        found = folders.run(name, partial(evaluate, part))
        groups.setdefault((part.shift, part.goal_env_steps), []).append(found)
    rows: list[Row] = []
    for (_, distance), found in groups.items():
        of_group = rows_of_seeds(*zip(*found, strict=True), folder.name) if protocol.seeds else found[0].rows
        rows += [row | {DISTANCE: distance} for row in of_group] if protocol.goal_offsets else of_group
    folders.write(rows)
    accounts = dict.fromkeys(part.contest.source.account for found in groups.values() for part in found)
    return Table(rows, "; ".join(accounts))


def title(verb: str, part: Path, folder: Path) -> str:
    """Of the progress of one of several evaluations, which writes into ``part``."""
    return verb if part == folder else f"{verb} {part.name}"


def command_result(table: Table, protocol: PlanningProtocol, folder: Path) -> CommandResult:
    """Table and files of all evaluations."""
    parts = protocol.parts()
    files = ["results.json", *(f"{name}/trials.csv" for name in parts)] if parts else _FILES
    rows = named_by_distance(named_by_seed(table.rows))
    said = (f"pairs from {table.account}", *outcome_text(rows), *differences_text(rows))
    lines = [*said, *(f"{folder}/{name}" for name in files)]
    return CommandResult(lines, results_table(rows), as_typed("cjepa", "report", folder))
