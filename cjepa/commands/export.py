"""`cjepa export`: a trained model to share."""

from pathlib import Path

from cjepa.artifacts.export import export_run
from cjepa.command_result import CommandResult


def export_command(run: str, out: str) -> CommandResult:
    """Write weights (safetensors), config and a model card to a folder; use it wherever a run is accepted.

    Args:
        run: run folder or checkpoint.
        out: new folder.
    """
    return CommandResult([str(export_run(run, Path(out)))], next_command=f"cjepa inspect {out}")
