"""Ends a training at what is not finite, without waiting for a GPU in every step."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from cjepa.data.clip_module import EpisodeClips
from cjepa.errors import TrainingFailed, UserError
from cjepa.optim import parts_of

_SHOWN = 8
"""Episodes in a message."""
_ADVICE = "the last checkpoint is from before that; try a lower learning rate, or look at the data with `cjepa verify`"


class FiniteTraining(Callback):
    """Ends a training whose loss or weights are not finite numbers, and keeps them out of checkpoints."""

    def __init__(self):
        self._latest: tuple[int, int, Tensor, dict[str, Tensor], Arriving] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what a checkpoint gave to optimizers and schedulers, which take it unseen.

        Raises:
            UserError: the state of a parameter is not of its shape or of the others' kind, or lacks what others have;
                a setting of an optimizer or a scheduler's count is not a number.
        """
        for optimizer in (part for whole in trainer.optimizers for part in parts_of(whole)):
            parameters = [p for group in optimizer.param_groups for p in group["params"] if p in optimizer.state]
            kinds = {(name, type(value)) for p in parameters for name, value in optimizer.state[p].items()}
            names = {name for name, _ in kinds}
            if not all(_is_like(optimizer.defaults, group) for group in optimizer.param_groups):
                raise UserError(f"{trainer.ckpt_path}: its optimizer_states are damaged; train it again")
            for parameter in parameters:
                state = optimizer.state[parameter]
                shapes = {value.shape for value in state.values() if isinstance(value, Tensor) and value.ndim}
                if len(kinds) > len(names) or set(state) != names or not shapes <= {parameter.shape}:
                    raise UserError(f"{trainer.ckpt_path}: its optimizer_states do not fit the model; train it again")
        for schedule in trainer.lr_scheduler_configs:
            state = vars(schedule.scheduler)
            counts = [state.get("last_epoch", 0), state.get("_step_count", 0)]
            rates = [state.get(name, []) for name in ("base_lrs", "_last_lr")]
            if not all(isinstance(count, int) for count in counts) or not all(map(_are_numbers, rates)):
                raise UserError(f"{trainer.ckpt_path}: its lr_schedulers are damaged; train it again")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._check(trainer)  # of the step before, which a GPU has finished by now
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor):
            terms = {k: v for k, v in trainer.callback_metrics.items() if k.startswith("train/")}
            batch_number = trainer.fit_loop.epoch_loop.batch_progress.total.processed - 1
            is_finite = Arriving(loss.detach().isfinite().all())
            self._latest = (trainer.global_step, batch_number, loss.detach(), terms, is_finite)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """See :class:`FiniteTraining`.

        Raises:
            TrainingFailed: a weight is not a finite number; the checkpoint is not written.
        """
        for name, values in pl_module.state_dict().items():
            if values.is_floating_point() and not bool(values.isfinite().all()):
                raise TrainingFailed(f"step {trainer.global_step}: the weights {name} are not finite; {_ADVICE}")

    def _check(self, trainer: Trainer) -> None:
        if self._latest is None:
            return
        (step, batch_number, loss, terms, is_finite), self._latest = self._latest, None
        if bool(is_finite.value()):
            return
        wrong = {name: float(value) for name, value in terms.items() if not bool(value.isfinite().all())}
        partial = {name: value for name, value in wrong.items() if name != "train/loss"} or wrong
        said = ", ".join(f"{name} is {value}" for name, value in partial.items()) or f"the loss is {float(loss)}"
        raise TrainingFailed(f"step {step}: {said}{_clips_of(trainer, batch_number)}; {_ADVICE}")


class Arriving:
    """A tensor on its way to the CPU; reading it waits for nothing that a GPU was told to do afterwards.

    Args:
        value: on any device.
    """

    def __init__(self, value: Tensor):
        self._event = torch.cuda.Event() if value.is_cuda else None
        self._value = value.to("cpu", non_blocking=value.is_cuda)
        if self._event is not None:
            self._event.record()

    def value(self) -> Tensor:
        """On the CPU."""
        if self._event is not None:
            self._event.synchronize()
        return self._value


def _clips_of(trainer: Trainer, batch_number: int) -> str:
    """The episodes of a training batch, if a data module of this project made it."""
    if not isinstance(trainer.datamodule, EpisodeClips):
        return ""
    episodes = trainer.datamodule.episodes_of_batch(batch_number)
    more = f" and {len(episodes) - _SHOWN} more" if len(episodes) > _SHOWN else ""
    return f", on clips of episodes {', '.join(map(str, episodes[:_SHOWN]))}{more} of {trainer.datamodule.path}"


def _is_like(defaults: dict[str, Any], group: dict[str, Any]) -> bool:
    """Whether a group of parameters has its optimizer's numbers, and pairs of numbers where those are pairs."""
    for name, default in defaults.items():
        value = group.get(name)
        if isinstance(default, tuple):
            if not isinstance(value, tuple | list) or len(value) != len(default) or not _are_numbers(list(value)):
                return False
        elif isinstance(default, int | float) and not _are_numbers([value]):
            return False
    return True


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, float | int | Tensor) for value in values)
