"""What a study would do: stages that are done, and for the others why they run and what they will probably take."""

from collections.abc import Collection, Mapping, Sequence
from statistics import mean
from typing import NamedTuple

from cjepa.command_result import CommandResult
from cjepa.reporting.tables import seconds_text
from cjepa.studies.definition import Stage
from cjepa.studies.stage_folders import StageFolder


class _Cost(NamedTuple):
    seconds: float
    memory_mb: float


def outlook(
    stages: Sequence[Stage], folders: Mapping[str, StageFolder], forced: Collection[str], everything: Sequence[Stage]
) -> CommandResult:
    """A table of stages, with their resources if any stage declares some. Nothing is written.

    Args:
        stages: to finish.
        folders: by the names of the stages.
        forced: names of the stages that run again although they are done.
        everything: all stages of the study; what they took before is the estimate.
    """
    declares = any(any(need is not None for need in stage.resources) for stage in everything)
    costs = {stage.name: cost for stage in everything if (cost := _cost(folders[stage.name])) is not None}
    table, expected, done = [["stage", "state", "time", "memory"]], [], 0
    for stage in stages:
        if stage.name not in forced and folders[stage.name].finished():
            table.append([stage.name, "done", "", ""])
            done += 1
            continue
        why = "--force" if stage.name in forced else folders[stage.name].why_to_run()
        alike = [costs[other.name] for other in everything if other.name in costs and other.command == stage.command]
        known = [costs[stage.name]] if stage.name in costs else alike
        cost = _Cost(mean(one.seconds for one in known), max(one.memory_mb for one in known)) if known else None
        expected.append(cost)
        shown = (seconds_text(cost.seconds), f"{cost.memory_mb:,.0f} MB") if cost else ("unknown", "unknown")
        table.append([stage.name, f"to run ({why})", *shown])
    if declares:
        for row, declared in zip(table, ["resources", *(str(stage.resources) for stage in stages)], strict=True):
            row.append(declared)
    return CommandResult([_summary(len(stages), done, expected)], table)


def _cost(folder: StageFolder) -> _Cost | None:
    record = folder.earlier()
    return record and _Cost(record["seconds"], record.get("peak_memory_mb", 0))


def _summary(stages: int, done: int, expected: Sequence[_Cost | None]) -> str:
    known = [cost for cost in expected if cost is not None]
    line = f"{done} of {stages} stages are done"
    if known:
        seconds, memory = sum(cost.seconds for cost in known), max(cost.memory_mb for cost in known)
        line += f"; the others take about {seconds_text(seconds)} one after another, and up to {memory:,.0f} MB"
    if unknown := len(expected) - len(known):
        line += f"; for {unknown}, time and memory are unknown: no stage with such a command has run in this study"
    return line
