"""Options of Lightning's trainer that it takes unseen, and then divides by or ignores."""

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


def check_trains(trainer: "L.Trainer") -> None:
    """Refuse a training that ends before its first step: nothing could be done with what it leaves.

    Raises:
        UserError: it does.
    """
    for name in ("max_steps", "max_epochs", "limit_train_batches"):
        if getattr(trainer, name) == 0:
            raise UserError(f"trainer.{name} is 0, so nothing would be trained; set it to 1 or more")
