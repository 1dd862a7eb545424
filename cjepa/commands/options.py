"""What several verbs ask of their options."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cjepa.errors import UserError

if TYPE_CHECKING:  # collect and convert start without torch
    import torch


def experiments_of(attributes: Mapping[str, Any]) -> str:
    """The folder of YAMLs for episodes: ``experiments/collide`` for ``cjepa/Collide-v0``, else Push-T's."""
    namespace, _, name = str(attributes.get("env_id", "")).partition("/")
    return f"experiments/{name.partition('-')[0].lower() if namespace == 'cjepa' else 'pusht'}"


def chosen_device(name: str) -> "torch.device":
    """The device that ``--device`` names; auto is cuda where there is a GPU, else cpu.

    Raises:
        UserError: there is no such device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        one = torch.ones(1, device=name)
        one.item()
    except (RuntimeError, AssertionError, ImportError):
        raise UserError(f"--device {name}: no such device on this machine; expected auto, cpu or cuda") from None
    return one.device


def new_results_folder(folder: Path) -> Path:
    """``folder``, if it holds no results yet.

    Raises:
        UserError: it does.
    """
    if (folder / "results.json").exists():
        raise UserError(f"{folder} already contains results; choose another --out or delete it first")
    return folder
