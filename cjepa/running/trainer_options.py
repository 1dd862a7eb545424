"""Options of Lightning's trainer that it takes unseen, and then divides by or ignores."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cjepa.arguments import above, at_least
from cjepa.errors import UserError

if TYPE_CHECKING:
    import lightning as L

_AT_LEAST = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "log_every_n_steps": 0,
    "gradient_clip_val": 0,
    "min_steps": 0,
    "min_epochs": 0,
}

_NO_SUCH_DEVICE = re.compile(r"No supported gpu backend|Accelerator` can not run|invalid accelerator name|torch_xla")
_NOT_SO_MANY = re.compile(r"Trainer\(devices=|`devices` selected|your machine only has")


def check_trainer_options(options: Mapping[str, Any]) -> None:
    """Check the numbers among the trainer's options, and that it writes checkpoints; the rest is Lightning's affair.

    Args:
        options: by name, without ``trainer.``.

    Raises:
        ValueError: one is out of its range; the line names it.
        UserError: no checkpoints would be written.
    """
    if options.get("enable_checkpointing") is False:
        raise UserError("trainer.enable_checkpointing is false, but all that follows needs a checkpoint; remove it")
    numbers = {name: value for name, value in options.items() if type(value) in (int, float)}
    for name, least in _AT_LEAST.items():
        if name in numbers:
            at_least(least, **{f"trainer.{name}": numbers[name]})
    if "val_check_interval" in numbers:
        above(0, **{"trainer.val_check_interval": numbers["val_check_interval"]})


def refusal(said: str, options: Mapping[str, Any]) -> str:
    """Lightning's words against an option of its trainer, with the key and what to type where they have neither.

    Args:
        said: by Lightning.
        options: by name, without ``trainer.``.
    """
    if _NO_SUCH_DEVICE.search(said):
        return (
            f"trainer.accelerator is {options['accelerator']}, which this machine does not have; "
            "type --trainer.accelerator auto, or cpu"
        )
    if _NOT_SO_MANY.search(said):
        return (
            f"trainer.devices is {options['devices']}, expected a number of devices that this machine has, "
            "1 or more; type --trainer.devices 1"
        )
    return f"trainer: {said}"


def nothing_trained(trainer: "L.Trainer", first_step: int) -> str | None:
    """Why a continued training has not made a step, and what to type; None if it has.

    Args:
        trainer: after training.
        first_step: of the checkpoint that was continued.
    """
    if trainer.global_step != first_step:
        return None
    said = f"nothing was trained: the checkpoint is at step {first_step}"
    for name, done in {"max_steps": first_step, "max_epochs": trainer.current_epoch}.items():
        limit = getattr(trainer, name)
        if limit is not None and 0 <= limit <= done:
            return f"{said} and trainer.{name} is {limit}; to train further, type a larger --trainer.{name}"
    return said


def check_trains(trainer: "L.Trainer") -> None:
    """Refuse a training that ends before its first step: nothing could be done with what it leaves.

    Raises:
        UserError: it does.
    """
    for name in ("max_steps", "max_epochs", "limit_train_batches"):
        if getattr(trainer, name) == 0:
            raise UserError(f"trainer.{name} is 0, so nothing would be trained; set it to 1 or more")
