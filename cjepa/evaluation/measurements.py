"""How a trained module is evaluated, and what comes back: numbers that reporting/ turns into rows.

A LightningModule names its evaluation in a class attribute, as an entry point with the signature of
:class:`Evaluation`: ``evaluation = "package.module:function"``. The package may be the user's own.
"""

import pkgutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple, Protocol

import lightning as L

from cjepa.errors import UserError
from cjepa.evaluation.intervals import Interval
from cjepa.progress import Progress

_DEFAULT = "cjepa.evaluation.measurements:logged"


class Measurement(NamedTuple):
    """One number of a model on a split; None if it is undefined."""

    metric: str
    value: float
    low: float | None = None
    """Lower end of the 95 % interval."""
    high: float | None = None
    n: int | None = None
    """Trials behind the number."""
    unit: str = ""
    tokens: int | None = None
    """Of a frame (S)."""
    token_dim: int | None = None
    """D."""

    @classmethod
    def of(
        cls, metric: str, interval: Interval, unit: str = "", tokens: int | None = None, token_dim: int | None = None
    ):
        """From a value with its interval."""
        return cls(metric, interval.value, interval.low, interval.high, interval.n, unit, tokens, token_dim)


OpenProgress = Callable[[str, float, str], AbstractContextManager[Progress]]
"""Begins a part of the work: its title, its total, and the unit of that total."""


class Evaluation(Protocol):
    """Measures a trained module on held-out episodes."""

    def __call__(
        self,
        module: L.LightningModule,
        data: L.LightningDataModule,
        split: Literal["val", "test"],
        progress: OpenProgress,
    ) -> list[Measurement]:
        """All that there is to say of a split.

        Args:
            module: trained, on the device to use; its trainer is still there. It keeps its mode.
            data: set up for the split.
            split: ``val`` at the end of training, which should take seconds; ``test`` for `cjepa test`.
            progress: begins one part of the work.
        """


def evaluation_of(module: L.LightningModule) -> Evaluation:
    """The evaluation that a module names; :func:`logged` if it names none.

    Raises:
        UserError: the name leads to nothing.
    """
    name = getattr(module, "evaluation", _DEFAULT)
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(
            f"{type(module).__name__}.evaluation is {name!r}, expected an entry point package.module:function ({error})"
        ) from None


def logged(
    module: L.LightningModule, data: L.LightningDataModule, split: Literal["val", "test"], progress: OpenProgress
) -> list[Measurement]:
    """What the last pass over the split logged as ``SPLIT/NAME``, without intervals; see :class:`Evaluation`."""
    metrics = module.trainer.callback_metrics
    return [
        Measurement(name[len(split) + 1 :], float(v)) for name, v in metrics.items() if name.startswith(f"{split}/")
    ]
