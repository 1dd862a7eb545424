"""What `cjepa fit` adds to Lightning's training: safe checkpoints, a complete config, a progress bar."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, Namespace, SaveConfigCallback
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn

from cjepa.checkpoints import check_finite, read_checkpoint
from cjepa.errors import UserError
from cjepa.files import write_text
from cjepa.progress import ProgressBar
from cjepa.quiet import silence_lightning
from cjepa.tensor_files import write_tensors

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
        write_tensors(Path(path), checkpoint)

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """One checkpoint, checked as everywhere and on the CPU.

        Addresses such as s3:// are left to Lightning, and so are bare weights that it hands from process to process.

        Raises:
            UserError: it is not a checkpoint that training can continue from.
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
        text = self.parser.dump(self.config, skip_none=False, skip_validation=True)  # it was parsed
        write_text(self.run_dir / self.config_filename, text)


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
