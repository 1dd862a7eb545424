"""`cjepa plan --certify`: the smallest search that is not worse than the full one, on validation pairs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cjepa.command_result import CommandResult
from cjepa.commands.parts import Evaluated, PartFolders
from cjepa.errors import UserError
from cjepa.evaluation.intervals import Interval, paired_difference
from cjepa.evaluation.planning.protocol import PlanningProtocol
from cjepa.files import write_json
from cjepa.planning.planners.base import Planner
from cjepa.planning.planners.smaller import search_size, smaller_searches
from cjepa.reporting.plan_text import differences_text
from cjepa.reporting.records import describe, interval_row
from cjepa.reporting.tables import Row, results_table, seconds_text
from cjepa.shell import as_typed

FULL = "full"
"""Folder of the search that smaller ones are compared with."""
_SIZES = ("num_samples", "iterations", "num_elites")
_OTHERS = ("seeds", "goal_offsets", "shift", "goal_state", "goal_text", "against")


class Searched(NamedTuple):
    """What a search was worth."""

    planner: Planner
    seconds: float
    """Per plan."""
    difference: Interval | None
    """Of success to that of the full search, pair by pair; None for the full search."""

    def holds(self, margin: float) -> bool:
        """Whether success is not below that of the full search by more than ``margin``, with 97.5 % confidence."""
        return self.difference is None or self.difference.low >= -margin


def search_folders(planner: Planner) -> dict[str, Planner]:
    """The full search and all smaller ones, in falling order, by the names of their folders.

    Raises:
        UserError: the planner cannot search less.
    """
    return {FULL: planner} | {search_size(one).replace(" ", ""): one for one in smaller_searches(planner)}


def certified(
    protocol: PlanningProtocol,
    planner: Planner,
    margin: float,
    folder: Path,
    evaluate: Callable[[PlanningProtocol, Path, Planner], Evaluated],
) -> CommandResult:
    """Try smaller and smaller searches until one is worse than the full one by more than a margin may hide.

    Searches are tested in a fixed order and the first that fails ends the tests, so that no correction for their number
    is due.

    Args:
        protocol: of the trials; pairs are those of the validation episodes.
        planner: with the full search.
        margin: of the rate of success, above 0.
        folder: of the results; each search has a folder in it.
        evaluate: writes the results of one search into a folder, under a name of its own.
    """
    protocol = replace(protocol, split="val")
    searched: list[Searched] = []
    rows: list[Row] = []
    folders = PartFolders(folder)
    success_N = None
    for name, search in search_folders(planner).items():
        found = folders.run(name, lambda part, search=search: evaluate(protocol, part, search))
        (control,) = found.agents.values()
        seconds = next(row["value"] for row in found.rows if row["metric"] == "seconds_per_plan")
        rows += found.rows
        if success_N is None:
            success_N, full = control.success, found.rows[0]
            searched.append(Searched(search, seconds, None))
            continue
        difference = paired_difference(control.success, success_N, found.contest.pairs.episodes)
        searched.append(Searched(search, seconds, difference))
        rows.append(_difference_row(difference, found.rows[0], full))
        if not searched[-1].holds(margin):
            break
    write_json(folder / "certificate.json", _certificate(searched, margin))
    folders.write(rows)
    said = f"pairs from {found.contest.source.account}", *differences_text(rows), *_verdict(searched, margin)
    lines = [*said, f"{folder}/certificate.json"]
    return CommandResult(lines, results_table(rows), as_typed("cjepa", "report", folder))


def check_certified(protocol: PlanningProtocol) -> None:
    """Refuse what a certificate is not about.

    Raises:
        UserError: the option is named.
    """
    given = [name for name in _OTHERS if getattr(protocol, name) is not None]
    given += ["published_protocol"] if protocol.published_protocol else []
    if given:
        raise UserError(f"--certify compares searches on validation pairs of one distance; leave out --{given[0]}")


def _chosen(searched: list[Searched], margin: float) -> Searched:
    """The last that holds: each before it does too."""
    return searched[-1] if searched[-1].holds(margin) else searched[-2]


def _difference_row(difference: Interval, row: Row, full: Row) -> Row:
    same = {key: row[key] for key in ("model", "tokens", "token_dim", "seed", "split", "run", "episodes")}
    unit = f"rate, minus that of {full['model']} ({FULL})"
    return interval_row("success_difference", difference, unit=unit, **same)


def _certificate(searched: list[Searched], margin: float) -> dict:
    searches = [
        describe(one.planner)
        | {"seconds_per_plan": one.seconds, "holds": one.holds(margin)}
        | {"difference": None if one.difference is None else list(one.difference.bounds)}
        for one in searched
    ]
    return {"margin": margin, "chosen": describe(_chosen(searched, margin).planner), "searches": searches}


def _verdict(searched: list[Searched], margin: float) -> list[str]:
    """The chosen search in words, and how to ask for it."""
    full, chosen, last = searched[0], _chosen(searched, margin), searched[-1]
    points = f"{100 * margin:g} points"
    lines = []
    if not last.holds(margin):
        size, lost = search_size(last.planner), -100 * last.difference.low
        lines.append(
            f"not certified: {size}, which may lose {lost:.0f} points (margin {points}); more --pairs tell more"
        )
    if chosen is full:
        return [*lines, f"certified: only the full search {search_size(full.planner)}"]
    times = f"{seconds_text(chosen.seconds)} per plan instead of {seconds_text(full.seconds)}"
    sizes = {name: getattr(chosen.planner, name) for name in _SIZES if hasattr(chosen.planner, name)}
    options = " ".join(f"--planner.init_args.{name} {value}" for name, value in sizes.items())
    lines.append(f"certified: {search_size(chosen.planner)}, {times}; loses no more than {points} of success")
    return [*lines, f"search with {options}"]
