"""What several verbs ask of their options."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cjepa.errors import UserError

if TYPE_CHECKING:  # collect and convert start without torch
    import torch

_EXPERIMENTS = {"cjepa/PushT-v0": "experiments/pusht", "cjepa/Collide-v0": "experiments/collide"}


def next_fit(attributes: Mapping[str, Any], config: str, data: str) -> str | None:
    """The `cjepa fit` that comes next; None where this project has no YAMLs for the environment.

    Args:
        attributes: of the episodes, or of what made them.
        config: name of the YAML.
        data: file to train on.
    """
    folder = _EXPERIMENTS.get(attributes.get("env_id", ""))
    return folder and f"cjepa fit -c {folder}/{config} --data.init_args.path {data}"


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
