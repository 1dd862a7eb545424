"""Numbers of Lightning's trainer that it takes unseen, and then divides by or ignores."""

from collections.abc import Mapping
from typing import Any

from cjepa.arguments import above, at_least

_AT_LEAST = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "log_every_n_steps": 0,
    "gradient_clip_val": 0,
    "min_steps": 0,
    "min_epochs": 0,
}


def check_trainer_options(options: Mapping[str, Any]) -> None:
    """Check the numbers among the trainer's options; what is not a number is Lightning's affair.

    Args:
        options: by name, without ``trainer.``.

    Raises:
        ValueError: one is out of its range; the line names it.
    """
    numbers = {name: value for name, value in options.items() if type(value) in (int, float)}
    for name, least in _AT_LEAST.items():
        if name in numbers:
            at_least(least, **{f"trainer.{name}": numbers[name]})
    if "val_check_interval" in numbers:
        above(0, **{"trainer.val_check_interval": numbers["val_check_interval"]})
