"""`cjepa preview`: pictures and a video."""

from pathlib import Path

from jsonargparse.typing import NonNegativeInt, PositiveInt

from cjepa.artifacts.inspect import kind_of
from cjepa.artifacts.preview import preview_path
from cjepa.checkpoints import find_checkpoint, home_of
from cjepa.command_result import CommandResult
from cjepa.progress import ProgressBar


def preview_command(
    path: str,
    episodes: PositiveInt = 8,
    seed: NonNegativeInt = 0,
    data: str | None = None,
    out: str | None = None,
) -> CommandResult:
    """Draw a few random episodes: a contact sheet and a video, with masks or slots if there are any.

    Args:
        path: episode or token file, folder or glob of several; run folder or checkpoint of a tokenizer, or zoo:NAME.
            For other runs and studies, their own pictures and videos are listed.
        episodes: number of episodes; for a tokenizer, of held-out clips.
        seed: seed of the choice.
        data: episodes for a tokenizer; default: the episodes that it was trained on.
        out: folder for the pictures; default: runs/previews/NAME. An earlier preview in it is replaced.
    """
    folder = Path(out or Path("runs", "previews", _name_of(Path(path))))
    with ProgressBar("preview", episodes, "episodes") as bar:
        files = preview_path(Path(path), folder, episodes, seed, bar, data)
    return CommandResult([str(file) for file in files])


def _name_of(path: Path) -> str:
    if kind_of(path) == "checkpoint":
        return home_of(find_checkpoint(str(path))).name
    return path.resolve().stem.replace("*", "")
