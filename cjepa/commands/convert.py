"""`cjepa convert`: other projects' data."""

from pathlib import Path

from jsonargparse.typing import NonNegativeInt

from cjepa.command_result import CommandResult
from cjepa.counts import number_of
from cjepa.data.converters.base import convert, open_source
from cjepa.data.store.attributes import from_json
from cjepa.progress import ProgressBar
from cjepa.shell import as_typed


def convert_command(
    src: str, dst: str, from_: str, image_size: NonNegativeInt = 0, camera: str = "", skip_short: bool = False
) -> CommandResult:
    """Convert another project's data into an episode file, or its tokens into a token file.

    An interrupted conversion goes on with the same command.

    Args:
        src: file or folder of the source.
        dst: file to make; an existing file is never replaced.
        from_: format of the source. clevrer: a folder with CLEVRER's videos, annotations and questions.
            cjepa-slots: the pickle of slots of the official C-JEPA code, or a folder with it and its *_meta.pkl files.
            dino-wm: the train or val folder of DINO-WM's Push-T. lerobot: a LeRobot dataset, version 2.x or 3.0.
            swm-hdf5, swm-lance, swm-video: a dataset of stable-worldmodel in one of its formats.
        image_size: side of the square frames in pixels; 0 keeps the source's size.
        camera: for lerobot: the camera that becomes pixels, if there are several; none leaves all cameras out.
        skip_short: for clevrer: leave out videos of fewer than 128 frames, and damaged ones, and list them at the end.
    """
    out = Path(dst)
    source = open_source(from_, Path(src), {"image_size": image_size, "camera": camera, "skip_short": skip_short})
    with ProgressBar("convert", source.total_frames, "frames") as bar:
        file = convert(source, out, bar)
    size = f"{number_of(len(file), 'episode')}, {number_of(file.env_steps, 'frame')}"
    lines = [f"{out}: {size}, fingerprint {file.fingerprint} ({bar.rate})"]
    if extra := source.extra_file(out):
        lines.append(str(extra.path))
    if "left_out" in file.attributes:
        lines.append(f"left out: {', '.join(from_json(out, file.attributes, 'left_out'))}")
    if "tokens" not in file.columns:
        return CommandResult(lines, next_command=as_typed("cjepa", "inspect", out))
    width = ["--model.init_args.predictor.init_args.token_dim", file.attributes["token_dim"]]
    fit = ["cjepa", "fit", "-c", "experiments/pusht/cjepa.yaml", "--data.init_args.path", out]
    return CommandResult(lines, next_command=as_typed(*fit, *width))
