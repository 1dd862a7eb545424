"""What `cjepa fit` adds to Lightning's training: safe checkpoints, a complete config, a stop at what is not finite."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, Namespace, SaveConfigCallback
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from cjepa.checkpoints import check_finite, read_checkpoint
from cjepa.data.clip_module import EpisodeClips
from cjepa.errors import TrainingFailed, UserError
from cjepa.files import replacing, write_text
from cjepa.optim import parts_of
from cjepa.progress import ProgressBar
from cjepa.quiet import silence_lightning

_FROM_PROCESS_TO_PROCESS = ".temp.ckpt"  # as Lightning's launcher of spawned processes names it


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints beside their place and moves them: Lightning's own way leads through TMPDIR.

    From another file system a move is a copy, and a kill or a full disk leaves half of a checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write one checkpoint; addresses such as s3:// are left to Lightning."""
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with replacing(path) as partial:
            torch.save(checkpoint, partial)

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """One checkpoint, checked as everywhere and on the CPU.

        Addresses such as s3:// are left to Lightning, and so are bare weights that it hands from process to process.
        """
        if "://" in str(path) or Path(path).name == _FROM_PROCESS_TO_PROCESS:
            return super().load_checkpoint(path, *args, **kwargs)
        content = read_checkpoint(Path(path))
        check_finite(content, Path(path))
        if "pytorch-lightning_version" not in content:
            raise UserError(f"{path}: the key 'pytorch-lightning_version' is missing, so it cannot be continued")
        return content


class LastCheckpoint(ModelCheckpoint):
    """``last.ckpt`` at every validation and at the end; ``save_last=True`` would copy the best one."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.fast_dev_run:
            trainer.save_checkpoint(Path(self.dirpath) / "last.ckpt", weights_only=False)  # with the optimiser

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Log under the number of the step: Lightning counts one too many when it continues from the end of a run."""
        if pl_module.automatic_optimization:
            trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Begin a new epoch where training ended with one: Lightning would add one more batch to the old epoch."""
        loops = checkpoint.get("loops", {}).get("fit_loop", {})
        batches, epochs = loops.get("epoch_loop.batch_progress"), loops.get("epoch_progress")
        if batches and batches["is_last_batch"] and epochs["total"]["completed"] == epochs["total"]["ready"]:
            batches["current"] = dict.fromkeys(batches["current"], 0)


class SaveRunConfig(SaveConfigCallback):
    """Writes ``config.yaml`` when training begins, not before everything is checked; a test keeps that of its run.

    Args:
        parser: of the verb.
        config: as it was parsed.
        run_dir: the run's folder; Lightning itself would take that of the first logger.
    """

    def __init__(self, parser: LightningArgumentParser, config: Namespace, run_dir: Path):
        super().__init__(parser, config)
        self.run_dir = run_dir

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Too early."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self._write()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and not (self.run_dir / self.config_filename).exists():
            self._write()

    def _write(self) -> None:
        write_text(self.run_dir / self.config_filename, self.parser.dump(self.config, skip_none=False))


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


_SHOWN = 8
"""Episodes in a message."""
_ADVICE = "the last checkpoint is from before that; try a lower learning rate, or look at the data with `cjepa verify`"


class SameEpisodes(Callback):
    """Keeps a continued training on the episodes that it began with: others may be test episodes of its first part.

    Checkpoints of world models have always said which episodes; those of tokenizers do since 0.6.0.
    """

    def __init__(self):
        self._trained: dict[str, Any] = {}
        """Of :class:`~cjepa.data.splits.Lineage`, what decides which episodes are for training."""

    def state_dict(self) -> dict[str, Any]:
        return self._trained

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._trained = dict(state_dict)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        lineage = checkpoint.get("lineage") or {}
        self._trained |= {name: lineage[name] for name in _EPISODES if name in lineage}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See :class:`SameEpisodes`.

        Raises:
            UserError: the data are of other episodes, or another part of them is for training.
        """
        lineage = getattr(trainer.datamodule, "lineage", None)  # a DataModule of the user's own may not know
        if lineage is None:
            return
        found = {name: getattr(lineage, name) for name in _EPISODES}
        for name, what in _EPISODES.items():
            if name in self._trained and self._trained[name] != found[name]:
                raise UserError(
                    f"{trainer.datamodule.path}: {what} {found[name]}, but {trainer.ckpt_path} was trained with "
                    f"{self._trained[name]}; give the data of that training, or train a new run without --ckpt_path"
                )
        self._trained = found


_EPISODES = {
    "episodes_fingerprint": "the fingerprint of its episodes is",
    "split_seed": "data.init_args.split_seed is",
    "excluded": "the episodes that are left out are",
}


class Quiet(Callback):
    """Keeps Lightning's remarks out of the processes that a strategy spawns, too."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        silence_lightning()


class RunProgress(Callback):
    """The progress bar of the other commands: steps done of all steps with the time left; batches when not training.

    Args:
        verb: shown in front.
    """

    def __init__(self, verb: str):
        self.verb = verb
        self._bar: ProgressBar | None = None
        self._done = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open(trainer, trainer.estimated_stepping_batches, "steps")
        self._done = trainer.global_step
        if self._bar and self._done:
            self._bar.advance(self._done, new=False)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self._bar and trainer.global_step > self._done:
            self._bar.advance(trainer.global_step - self._done, note=f"step {trainer.global_step:,}")
            self._done = trainer.global_step

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._open(trainer, sum(trainer.num_val_batches), "batches")

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self._bar and trainer.state.fn == TrainerFn.VALIDATING:
            self._bar.advance(1)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open(trainer, sum(trainer.num_test_batches), "batches")

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self._bar:
            self._bar.advance(1)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open(trainer, sum(trainer.num_predict_batches), "batches")

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self._bar:
            self._bar.advance(1)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._close(None)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close(exception)

    def _open(self, trainer: Trainer, total: float, unit: str) -> None:
        if trainer.is_global_zero:
            self._bar = ProgressBar(self.verb, None if total == float("inf") else total, unit)
            self._bar.__enter__()

    def _close(self, error: BaseException | None) -> None:
        bar, self._bar = self._bar, None
        if bar:
            bar.__exit__(type(error) if error else None, error, None)


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
