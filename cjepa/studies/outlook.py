"""What a study would do: stages that are done, and for the others why they run and what they will probably take."""

from collections.abc import Collection, Mapping, Sequence
from statistics import mean

from cjepa.command_result import CommandResult
from cjepa.reporting.tables import seconds_text
from cjepa.studies.definition import Stage
from cjepa.studies.elsewhere import Elsewhere, Estimate, estimate_of
from cjepa.studies.forecast import Cost, forecast
from cjepa.studies.resources import Machine
from cjepa.studies.stage_folders import StageFolder


def outlook(
    stages: Sequence[Stage],
    folders: Mapping[str, StageFolder],
    forced: Collection[str],
    everything: Sequence[Stage],
    jobs: int,
    machines: Sequence[Machine],
    others: Sequence[Elsewhere],
) -> CommandResult:
    """A table of stages, with their resources if any stage declares some. Nothing is written.

    Args:
        stages: to finish.
        folders: by the names of the stages.
        forced: names of the stages that run again although they are done.
        everything: all stages of the study; what they took before is the estimate.
        jobs: most stages at a time.
        machines: that the stages would run on.
        others: stages of other studies, which are the estimate where this study has none of the same command.
    """
    declares = any(any(need is not None for need in stage.resources) for stage in everything)
    costs = {stage.name: cost for stage in everything if (cost := _cost(folders[stage.name])) is not None}
    is_done = {stage.name for stage in everything if stage.name not in forced and folders[stage.name].finished()}
    table, expected = [["stage", "state", "time", "memory"]], {}
    for stage in stages:
        if stage.name in is_done:
            table.append([stage.name, "done", "", ""])
            continue
        why = "--force" if stage.name in forced else folders[stage.name].why_to_run()
        alike = [costs[other.name] for other in everything if other.name in costs and other.command == stage.command]
        known = [costs[stage.name]] if stage.name in costs else alike
        estimate = Estimate(_mean(known), "") if known else estimate_of(stage, others)
        if estimate is not None:
            expected[stage.name] = estimate.cost
        table.append([stage.name, f"to run ({why})", *_shown(estimate)])
    if declares:
        for row, declared in zip(table, ["resources", *(str(stage.resources) for stage in stages)], strict=True):
            row.append(declared)
    to_run = [stage for stage in stages if stage.name not in is_done]
    total = forecast(to_run, expected, is_done, jobs, machines)
    return CommandResult([_summary(len(stages), len(to_run), len(expected), total, jobs)], table)


def _mean(known: Sequence[Cost]) -> Cost:
    return Cost(mean(one.seconds for one in known), max(one.memory_mb for one in known))


def _shown(estimate: Estimate | None) -> tuple[str, str]:
    """Time, with where it is from if that is another study, and memory."""
    if estimate is None:
        return "unknown", "unknown"
    source = f" ({estimate.source})" if estimate.source else ""
    return f"{seconds_text(estimate.cost.seconds)}{source}", f"{estimate.cost.memory_mb:,.0f} MB"


def _cost(folder: StageFolder) -> Cost | None:
    record = folder.earlier()
    return record and Cost(record["seconds"], record.get("peak_memory_mb", 0))


def _summary(stages: int, to_run: int, known: int, total: Cost, jobs: int) -> str:
    line = f"{stages - to_run} of {stages} stages are done"
    if known:
        how = "one after another" if jobs == 1 else f"with --jobs {jobs}"
        line += f"; the others take about {seconds_text(total.seconds)} {how}, and up to {total.memory_mb:,.0f} MB"
    if unknown := to_run - known:
        line += f"; for {unknown}, time and memory are unknown: no stage with such a command has run below this root"
    return line
