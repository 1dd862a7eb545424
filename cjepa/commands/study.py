"""`cjepa study`: the stages of a study YAML, one by one or side by side."""

from collections.abc import Callable
from pathlib import Path

from jsonargparse.typing import PositiveInt

from cjepa.command_result import CommandResult
from cjepa.data.workers import default_workers
from cjepa.studies.executors import LocalProcesses
from cjepa.studies.study import run_study


def study_command(
    study: str, root: str = "runs/studies", jobs: PositiveInt = 1, *, say: Callable[[str], None]
) -> CommandResult:
    """Run a study YAML: every stage that is not done yet, then the results table and the report.

    Args:
        study: study YAML.
        root: folder of all studies.
        jobs: most stages to run at the same time, each with its share of the cores; plan, plan-baselines and
            bench run alone, with all cores, because they measure times.
        say: shows a line of progress.
    """
    return run_study(Path(study), Path(root), LocalProcesses(), say, jobs, default_workers())
