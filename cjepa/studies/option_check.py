"""Options of all stages are read before one runs: a misspelt one is told at once, not after hours or once per cell."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cjepa.errors import UserError
from cjepa.studies.definition import Stage
from cjepa.studies.executors import Executor
from cjepa.studies.stages import counted


def check_options(stages: Sequence[Stage], folders: Mapping[str, Path], executor: Executor) -> None:
    """Refuse stages with options that their commands do not take.

    Args:
        stages: that would run.
        folders: of all stages, by name.
        executor: would run them.

    Raises:
        UserError: the first such option, with the names of the stages that have it.
    """
    if not (differing := _differing(stages)):
        return
    lines = [stage.argv({**folders, "self": folders[stage.name]}) for stage in differing]
    found: dict[str, list[str]] = {}
    for stage, fault in zip(differing, executor.option_faults(lines), strict=True):
        if fault and not any(str(folders[name]) in fault for name in stage.depends_on()):  # a file yet to be made
            found.setdefault(fault, []).append(stage.name)
    for fault, names in found.items():
        raise UserError(f"{counted(names)}: {fault}")


def _differing(stages: Sequence[Stage]) -> list[Stage]:
    """Those with a command, a config or an option's value that none above them has: of seeds, the first."""
    seen: set[str] = set()
    found = []
    for stage in stages:
        options = [("", ""), *stage.args.items()]
        settings = {f"{stage.command} {stage.configs} {key} {value!r}" for key, value in options}
        if not settings <= seen:
            seen |= settings
            found.append(stage)
    return found
