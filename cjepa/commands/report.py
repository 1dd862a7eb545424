"""`cjepa report`: the HTML report."""

from pathlib import Path

from cjepa.command_result import CommandResult
from cjepa.errors import UserError
from cjepa.reporting.report import build_report


def report_command(folder: str) -> CommandResult:
    """Write the HTML report of a run or a study, or update it.

    Args:
        folder: run or study folder.
    """
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: no such run or study folder")
    return CommandResult([str(build_report(Path(folder)))])
