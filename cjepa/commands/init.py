"""`cjepa init`: the experiments' YAML files, for those who installed a wheel."""

from pathlib import Path

from cjepa.artifacts.experiments import copy_experiments
from cjepa.command_result import CommandResult
from cjepa.shell import as_typed


def init_command(folder: str) -> CommandResult:
    """Copy the YAML files of all experiments into FOLDER/experiments, to be run and changed there.

    Args:
        folder: where; files that are there are never replaced.
    """
    experiments = copy_experiments(Path(folder))
    count = len(list(experiments.rglob("*.yaml")))
    there = "" if Path(folder) == Path() else f"cd {as_typed(folder)} && "
    return CommandResult(
        [f"{experiments}: {count} YAML files"], next_command=f"{there}cjepa study experiments/studies/quickstart.yaml"
    )
