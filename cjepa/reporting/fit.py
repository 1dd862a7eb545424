"""What training, testing and predicting leave behind besides checkpoints and pictures: records and results."""

import csv
import os
import time
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.callbacks import BasePredictionWriter, Callback
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from torch.utils.data import DataLoader

from cjepa.data.video_clips import VideoClips
from cjepa.evaluation.hiding import measure_hiding, num_hiding_frames
from cjepa.evaluation.intervals import bootstrap
from cjepa.evaluation.metrics import SlotConsistency, every_metric
from cjepa.evaluation.probes import questions, read_bodies, run_probes
from cjepa.evaluation.rollouts import rollout_errors
from cjepa.evaluation.tokens import measure, num_frames
from cjepa.files import replacing, write_json
from cjepa.progress import ProgressBar
from cjepa.reporting.records import TEST_RESULTS, describe, interval_row, result_row, write_run_record
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.scoring import ScoredTokenizer
from cjepa.world_models.training import WorldModel


class MetricsFile(CSVLogger):
    """``metrics.csv`` that a continued run, or a later test of it, adds to; Lightning's own would delete it."""

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer behind it."""
        if self._experiment is None:
            self._experiment = _AppendingWriter(log_dir=self.log_dir)
        return self._experiment


class _AppendingWriter(ExperimentWriter):
    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])


class RunRecord(Callback):
    """Writes ``run.json``, and ``results.json`` when training ends.

    Args:
        run_dir: the run's folder.
        started: wall-clock time at which the command began, seconds since the epoch.
    """

    def __init__(self, run_dir: Path, started: float):
        self.run_dir = Path(run_dir)
        self.started = started

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        write_json(self.run_dir / "results.json", _result_rows(trainer, module, self.run_dir.name))
        self._write(
            trainer,
            module,
            model={
                "checkpoint": "checkpoints/last.ckpt",
                "optimizer_steps": trainer.global_step,
                "processes": trainer.world_size,
            },
            objective=_objective(module),
            evaluation={"split": "val", "held_out": "by episode"},
        )

    def on_test_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        of_training = (self.run_dir / "run.json").exists()
        if of_training or not trainer.is_global_zero or trainer.fast_dev_run:
            return
        self._write(trainer, module, model={}, objective={}, evaluation={"split": "test", "held_out": "by episode"})

    def _write(self, trainer: L.Trainer, module: L.LightningModule, model: dict, objective: dict, evaluation: dict):
        data = trainer.datamodule
        parameters = sum(p.numel() for p in module.parameters())
        write_run_record(
            self.run_dir,
            model={"class": type(module).__name__, "parameters": parameters, **model},
            objective=objective,
            data={
                "path": data.path,
                "fingerprint": data.file.fingerprint,
                "split_seed": data.split_seed,
                "episodes": {name: len(part) for name, part in data.splits.items()},
                "excluded_episodes": data.excluded,
            },
            evaluation=evaluation,
            actions={},
            uncertainty=[],
            seconds=time.time() - self.started,
        )


class PredictionsFile(BasePredictionWriter):
    """``predictions.pt`` of ``cjepa predict``: a dict of tensors over all test rows, loadable with ``weights_only``.

    Args:
        run_dir: the run's folder.
    """

    def __init__(self, run_dir: Path):
        super().__init__(write_interval="epoch")
        self.run_dir = Path(run_dir)

    def write_on_epoch_end(self, trainer, pl_module, predictions, batch_indices) -> None:
        kind = type(predictions[0])
        joined = kind(*(torch.cat(values).cpu() for values in zip(*predictions, strict=True)))._asdict()
        with replacing(self.run_dir / "predictions.pt") as path:
            torch.save(joined, path)


def _objective(module: L.LightningModule) -> dict:
    if isinstance(module, WorldModel):
        return {
            "terms": {"future": 1.0, "masked": module.masked_weight, "proprio": module.proprio_weight},
            "mask": describe(module.mask),
            "against_collapse": "targets are fixed tokens of a frozen tokenizer",
        }
    return {
        "terms": dict(module.loss_weights),
        "against_collapse": "targets are the frames, or features of a frozen encoder",
    }


def _seed() -> int | None:
    """What ``seed_everything`` was given."""
    seed = os.environ.get("PL_GLOBAL_SEED")
    return None if seed is None else int(seed)


def write_test_results(module: L.LightningModule, data: L.LightningDataModule, run_dir: Path) -> Path:
    """Measure a trained module on the test episodes, every value with its 95 % interval, into ``results_test.json``.

    Args:
        module: a tokenizer with its scores, or a world model.
        data: set up.
        run_dir: the run's folder.
    """
    common = {"model": run_dir.name, "run": run_dir.name, "split": "test", "seed": _seed()}
    if isinstance(module, ScoredTokenizer):
        rows = _tokenizer_rows(module, data, common)
    else:
        rows = _rollout_rows(module, data.test_dataloader(), common)
    return write_json(run_dir / TEST_RESULTS, rows)


def _tokenizer_rows(module: ScoredTokenizer, data: VideoClips, common: dict) -> list[dict]:
    bodies = read_bodies(data.file)
    metrics = {metric.name: metric for metric in every_metric(module.tokenizer.num_slots)}
    for metric in module.scores["test"].values():
        metrics.setdefault(metric.name, metric.clone().cpu())
    if bodies and bodies.exchangeable:
        del metrics[SlotConsistency.name]  # a label of one episode has nothing to do with the same one of another
    with ProgressBar("encode", num_frames(data), "frames") as bar:
        quality = measure(module, list(metrics.values()), data, bar.advance)
    intervals = quality.intervals
    if frames := num_hiding_frames(data):
        with ProgressBar("hide", frames, "frames") as bar:
            intervals = intervals | measure_hiding(module, data, bar.advance)
    if quality.samples:
        with ProgressBar("probe", len(questions(bodies)), "probes") as bar:
            intervals = intervals | run_probes(**quality.samples, bodies=bodies, on_progress=bar.advance)
    return [interval_row(name, value, **_size(module.tokenizer), **common) for name, value in intervals.items()]


def _rollout_rows(module: WorldModel, loader: DataLoader, common: dict) -> list[dict]:
    errors = rollout_errors(module, loader)
    size = {"tokens": errors.num_slots, "token_dim": module.predictor.token_dim}
    rows = []
    for block in sorted({1, errors.error_NH.shape[1]}):
        interval = bootstrap(errors.error_NH[:, block - 1], errors.copy_NH[:, block - 1])
        rows.append(interval_row(f"rollout_error@{block}", interval, unit="of copying", **size, **common))
    return rows


def _size(tokenizer: Tokenizer) -> dict[str, int]:
    return {"tokens": tokenizer.num_slots, "token_dim": tokenizer.slot_dim}


def _result_rows(trainer: L.Trainer, module: L.LightningModule, run: str) -> list[dict]:
    common = {"model": run, "run": run, "split": "val", "seed": _seed()}
    if isinstance(module, WorldModel):
        return _rollout_rows(module, trainer.datamodule.val_dataloader(), common)
    metrics = {k.split("/", 1)[1]: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
    return [result_row(name, value, **_size(module.tokenizer), **common) for name, value in metrics.items()]
