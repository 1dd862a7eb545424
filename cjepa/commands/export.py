"""`cjepa export`: a trained model to share."""

from pathlib import Path

from cjepa.artifacts.export import export_run
from cjepa.command_result import CommandResult
from cjepa.shell import as_typed


def export_command(run: str, out: str, half: bool = False) -> CommandResult:
    """Write weights (safetensors), config and a model card to a folder; use it wherever a run is accepted.

    Args:
        run: run folder or checkpoint.
        out: new folder.
        half: store weights as float16, half the size; they are float32 again when loaded. A tokenizer then has another
            fingerprint, so tokens made before do not fit it.
    """
    return CommandResult([str(export_run(run, Path(out), half))], next_command=as_typed("cjepa", "inspect", out))
