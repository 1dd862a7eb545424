"""`cjepa export`: a trained model to share."""

from pathlib import Path

from cjepa.artifacts.export import export_run
from cjepa.command_result import CommandResult
from cjepa.envs.collide.policy import CollideBehaviour  # noqa: F401  (what is imported can be given by its bare name)


def export_command(run: str, out: str) -> CommandResult:
    """Weights as safetensors, config and a model card, into a folder that is accepted wherever a run is.

    Args:
        run: run folder or checkpoint.
        out: folder to make.
    """
    return CommandResult([str(export_run(run, Path(out)))], next_command=f"cjepa inspect {out}")
