"""`cjepa info`: what a bug report needs."""

import torch

from cjepa.command_result import CommandResult
from cjepa.counts import number_of
from cjepa.data.workers import default_workers
from cjepa.reporting.records import versions


def info_command(bug: bool = False) -> CommandResult:
    """Versions and devices: what a bug report needs.

    Args:
        bug: print the text of an issue, ready to be pasted and filled in.
    """
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    cores, threads = number_of(default_workers(), "core"), number_of(torch.get_num_threads(), "torch thread")
    lines = [f"device {device}, {cores}, {threads}"]
    lines += [f"{name} {version}" for name, version in versions().items()]
    return CommandResult(_bug_report(lines) if bug else lines)


def _bug_report(about: list[str]) -> list[str]:
    return [
        "### What I typed",
        "",
        "```bash",
        "cjepa ...",
        "```",
        "",
        "### What happened",
        "",
        "(the last lines of the output; if a report or a folder is wrong, its run.json too)",
        "",
        "### What I expected",
        "",
        "",
        "### Versions",
        "",
        "```text",
        *about,
        "```",
    ]
