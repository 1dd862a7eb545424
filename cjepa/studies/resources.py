"""What stages take of a machine: CPUs, GPUs and memory, as a study declares them and as machines have them."""

import os
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from cjepa.data.workers import default_workers
from cjepa.errors import UserError

_GIB = 2**30
_NVIDIA = Path("/proc/driver/nvidia/gpus")
_UNITS = {"cpus": ("CPU", "CPUs"), "gpus": ("GPU", "GPUs"), "memory_gb": ("GB", "GB")}


class Resources(NamedTuple):
    """What a stage declares; None: nothing."""

    cpus: int | None = None
    """CPUs that it is held to."""
    gpus: int | None = None
    """GPUs that it sees; 0 hides all."""
    memory_gb: float | None = None
    """Memory, in GiB, that its processes may take together."""

    def __str__(self) -> str:
        return _text(zip(self._fields, self, strict=True))


class Machine(NamedTuple):
    """What all stages together may take of a machine."""

    cpus: int
    gpus: int
    memory_gb: float
    """GiB."""

    def __str__(self) -> str:
        return _text([("cpus", self.cpus), ("gpus", self.gpus), ("memory_gb", round(self.memory_gb, 1))])


class Share(NamedTuple):
    """What a stage gets."""

    cores: int
    alone: bool
    """Whether no other stage runs until it ends."""
    declared: Resources = Resources()
    """Limits that it is held to."""


def this_machine() -> Machine:
    """CPUs that this process may use, GPUs that it sees, and all memory."""
    return Machine(default_workers(), len(visible_gpus()), all_memory_gb())


def all_memory_gb() -> float:
    """Memory of this machine, in GiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB


def visible_gpus() -> list[str]:
    """Names by which CUDA_VISIBLE_DEVICES knows the GPUs that this process sees."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        names = [name.strip() for name in named.split(",") if name.strip()]
        return list(takewhile(lambda name: name != "-1", names))  # which hides all behind it
    return [str(index) for index, _ in enumerate(_NVIDIA.iterdir())] if _NVIDIA.is_dir() else []


def share_beside(
    declared: Resources, default_cpus: int, used: Iterable[Share], machines: Sequence[Machine]
) -> Share | None:
    """What a stage gets beside others; None while there is no room for it.

    Args:
        declared: by the stage.
        default_cpus: for a stage that declares none; it takes fewer where fewer are free.
        used: by the stages that run.
        machines: all that there are.
    """
    used = list(used)
    free_cpus = sum(machine.cpus for machine in machines) - sum(share.cores for share in used)
    cores = declared.cpus or max(1, min(default_cpus, free_cpus))
    fits = cores <= free_cpus
    for name in ("gpus", "memory_gb"):
        free = sum(getattr(machine, name) for machine in machines)
        free -= sum(getattr(share.declared, name) or 0 for share in used)
        fits = fits and (getattr(declared, name) or 0) <= free
    return Share(cores, alone=False, declared=declared) if fits else None


def check_that_it_fits(stage: str, declared: Resources, machines: Sequence[Machine]) -> None:
    """Refuse what would wait forever.

    Raises:
        UserError: no machine has as much as the stage declares.
    """
    if any(all((need or 0) <= has for need, has in zip(declared, machine, strict=True)) for machine in machines):
        return
    where = "this machine has" if len(machines) == 1 else f"the largest of {len(machines)} machines has"
    mend = "lower its resources, or leave it out with --only"
    raise UserError(f"stage {stage} needs {declared}, but {where} {max(machines)}; {mend}")


def _text(amounts: Iterable[tuple[str, float | None]]) -> str:
    """``2 CPUs, 0 GPUs, 4 GB``."""
    return ", ".join(f"{amount:g} {_UNITS[name][amount != 1]}" for name, amount in amounts if amount is not None)
