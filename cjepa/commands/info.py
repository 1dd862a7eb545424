"""`cjepa info`: what a bug report needs."""

import torch

from cjepa.command_result import CommandResult
from cjepa.data.workers import default_workers
from cjepa.reporting.records import versions


def info_command() -> CommandResult:
    """Versions and devices: what a bug report needs."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    lines = [
        f"device {device}, {default_workers()} cores, {torch.get_num_threads()} torch threads",
    ]
    return CommandResult(lines + [f"{name} {version}" for name, version in versions().items()])
