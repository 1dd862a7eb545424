"""`cjepa import-official`: weights of the published C-JEPA code."""

from pathlib import Path

from jsonargparse.typing import PositiveInt

from cjepa.artifacts.import_official import import_official
from cjepa.command_result import CommandResult
from cjepa.shell import as_typed


def import_official_command(
    ckpt: str,
    data: str,
    out: str,
    num_heads: PositiveInt = 16,
    predict_blocks: PositiveInt | None = None,
    frame_stride: PositiveInt | None = None,
) -> CommandResult:
    """Turn a released C-JEPA predictor into a model of ours; use the folder wherever a run is accepted.

    Args:
        ckpt: file of the published code: a state dict, a checkpoint, or a pickled module, of which nothing is run.
        data: token file whose tokens are as wide as the model's. Its training episodes give the scales of
            proprioception and actions, which the published files lack; its tokenizer becomes the model's.
        out: new folder.
        num_heads: attention heads, which weights do not tell.
        predict_blocks: blocks predicted in one pass; by default 1 of 4 (Push-T) and 10 of 16 (CLEVRER).
        frame_stride: env steps per block; by default from the width of an action, without actions 2 (CLEVRER).
    """
    counts = [None if value is None else int(value) for value in (predict_blocks, frame_stride)]  # for YAML
    official = import_official(Path(ckpt), data, Path(out), int(num_heads), *counts)
    sizes = ", ".join(f"{name} {value}" for name, value in official.sizes.items())
    values = sum(value.numel() for value in official.weights.values())
    return CommandResult([f"{out}: {values:,} weights ({sizes})"], next_command=as_typed("cjepa", "test", out))
