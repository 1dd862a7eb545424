"""`cjepa study`: a study YAML, stage by stage."""

from collections.abc import Callable
from pathlib import Path

from cjepa.command_result import CommandResult
from cjepa.studies.executors import LocalProcesses
from cjepa.studies.study import run_study


def study_command(study: str, root: str = "runs/studies", *, say: Callable[[str], None]) -> CommandResult:
    """Run a study YAML: every stage that is not done yet, then the results table and the report.

    Args:
        study: study YAML.
        root: folder of all studies.
        say: shows a line of progress.
    """
    return run_study(Path(study), Path(root), LocalProcesses(), say)
