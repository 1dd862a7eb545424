"""`cjepa study`: the stages of a study YAML, one by one or side by side."""

from collections.abc import Callable
from pathlib import Path

from jsonargparse.typing import PositiveInt

from cjepa.command_result import CommandResult
from cjepa.studies.executors import LocalProcesses
from cjepa.studies.selection import Selection
from cjepa.studies.study import preview_study, run_study


def study_command(
    study: str,
    root: str = "runs/studies",
    jobs: PositiveInt = 1,
    only: list[str] | None = None,
    force: list[str] | None = None,
    dry_run: bool = False,
    *,
    say: Callable[[str], None],
) -> CommandResult:
    """Run a study YAML: every stage that is not done yet, then the results table and the report.

    Args:
        study: study YAML.
        root: folder of all studies.
        jobs: most stages to run at the same time, each with its share of the cores; plan, plan-baselines and
            bench run alone, with all cores, because they measure times.
        only: names of stages, or patterns such as 'plan-*': run only these stages and the stages that they need.
        force: names or patterns of stages to run again, with all stages that read them; old results are renamed.
        dry_run: only show which stages are done, why the others would run, and their estimated time and memory.
        say: shows a line of progress.
    """
    selection = Selection(only or (), force or ())
    if dry_run:
        return preview_study(Path(study), Path(root), selection)
    return run_study(Path(study), Path(root), LocalProcesses(), say, jobs, selection)
