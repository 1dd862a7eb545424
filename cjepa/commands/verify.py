"""`cjepa verify`: checksums and completeness."""

from pathlib import Path

from cjepa.artifacts.verify import verify_path
from cjepa.command_result import CommandResult
from cjepa.progress import ProgressBar


def verify_command(path: str) -> CommandResult:
    """Verify checksums and completeness; a fault is named and gives exit code 1.

    Checks every checksum, length, dtype and finite value of episodes and tokens, and every file of runs and studies.

    Args:
        path: episode or token file, folder or glob of several; checkpoint or zoo:NAME; run or study folder.
    """
    with ProgressBar("verify", 1.0, "files") as bar:
        fault = verify_path(Path(path), bar)
    return CommandResult([fault or f"{path}: complete and undamaged"], failed=fault is not None)
