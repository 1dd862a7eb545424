"""The verbs that look at what others made: inspect, verify, preview."""

from pathlib import Path

from jsonargparse.typing import NonNegativeInt, PositiveInt

from cjepa.artifacts.inspect import column_table, inspect_path, kind_of
from cjepa.artifacts.preview import preview_path
from cjepa.artifacts.verify import verify_path
from cjepa.checkpoints import find_checkpoint, home_of
from cjepa.command_result import CommandResult
from cjepa.progress import ProgressBar
from cjepa.reporting.records import json_text


def inspect_command(path: str, json: bool = False) -> CommandResult:
    """Say what a file or folder is: episodes, tokens, a checkpoint, a run, a study.

    Args:
        path: episode or token file, folder or glob of several; checkpoint or zoo:NAME; run or study folder.
        json: print one JSON object, for programs.
    """
    facts, columns = inspect_path(Path(path))
    if json:
        return CommandResult([json_text({**facts, "columns": columns})])
    return CommandResult([f"{key}: {value}" for key, value in facts.items()], column_table(columns))


def verify_command(path: str) -> CommandResult:
    """Check that everything is as it was written; the first fault is named, exit code 1.

    Of episodes and tokens every checksum, length, dtype and finite value, of runs and studies every file.

    Args:
        path: episode or token file, folder or glob of several; checkpoint or zoo:NAME; run or study folder.
    """
    with ProgressBar("verify", 1.0, "files") as bar:
        fault = verify_path(Path(path), bar.advance)
    return CommandResult([fault or f"{path}: as it was written"], failed=fault is not None)


def preview_command(
    path: str,
    episodes: PositiveInt = 8,
    seed: NonNegativeInt = 0,
    data: str | None = None,
    out: str | None = None,
) -> CommandResult:
    """Draw a few random episodes: a sheet of frames and a video, with masks or slots where there are any.

    Args:
        path: episode or token file, folder or glob of several; run folder or checkpoint of a tokenizer, or zoo:NAME. Of
            other runs and of studies the pictures and videos that they made themselves are listed.
        episodes: how many; of a tokenizer's run, as many held-out clips.
        seed: which.
        data: episodes that a tokenizer is shown; default those that it was trained on.
        out: folder for the pictures, default runs/previews/NAME; an earlier preview in it is replaced.
    """
    folder = Path(out or Path("runs", "previews", _name_of(Path(path))))
    with ProgressBar("preview", episodes, "episodes") as bar:
        files = preview_path(Path(path), folder, episodes, seed, bar.advance, data)
    return CommandResult([str(file) for file in files])


def _name_of(path: Path) -> str:
    if kind_of(path) == "checkpoint":
        return home_of(find_checkpoint(str(path))).name
    return path.resolve().stem.replace("*", "")
