"""What training, testing and predicting leave behind besides checkpoints and pictures: records and results."""

import csv
import os
import time
from pathlib import Path
from typing import Literal

import lightning as L
import torch
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.callbacks import BasePredictionWriter, Callback
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from cjepa.evaluation.measurements import evaluation_of
from cjepa.files import replacing, write_json
from cjepa.progress import ProgressBar
from cjepa.reporting.reading import TEST_RESULTS
from cjepa.reporting.records import read_metrics, result_row, write_run_record
from cjepa.tensor_files import write_tensors


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
            _drop_torn_line(path)
            with path.open(newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        """As Lightning's, but a kill leaves the old file or the new one."""
        with open(self.metrics_file_path, newline="") as file:
            rows = list(csv.DictReader(file))
        _write_table(Path(self.metrics_file_path), fieldnames, rows)


def _drop_torn_line(path: Path) -> None:
    """Cut off what a kill or a full disk left of a last line: the next one would be appended to it."""
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        with replacing(path) as partial:
            partial.write_bytes(content[: content.rfind(b"\n") + 1])


def tidy_metrics(path: Path) -> None:
    """Rewrite a ``metrics.csv`` as :func:`~cjepa.reporting.records.read_metrics` reads it; columns keep their order."""
    if not path.is_file():
        return
    with path.open(newline="") as file:
        header = next(csv.reader(file), [])
    _write_table(path, header, read_metrics(path))


def _write_table(path: Path, header: list[str], rows: list[dict[str, str]]) -> None:
    with replacing(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(rows)


class RunRecord(Callback):
    """Writes ``run.json``, and ``results.json`` when training ends.

    Checkpoints carry the seconds of training so far, so that a continued run has the time of all its parts.

    Args:
        run_dir: the run's folder.
        started: wall-clock time at which the command began, seconds since the epoch.
    """

    def __init__(self, run_dir: Path, started: float):
        self.run_dir = Path(run_dir)
        self.started = started
        self.has_trained = False
        self._earlier_seconds = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether all that training leaves is there and nothing was trained since."""
        return not self.has_trained and all((self.run_dir / name).is_file() for name in ("run.json", "results.json"))

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self._seconds}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self._earlier_seconds = state_dict["seconds"]

    def on_train_batch_end(self, *_) -> None:
        self.has_trained = True

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Here and not after the command: of processes that a strategy has spawned, nothing comes back."""
        if self.has_trained and trainer.is_global_zero and not trainer.fast_dev_run:
            self.write_fit(trainer, module)

    def write_fit(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """After training and its last validation."""
        self.has_trained = False
        tidy_metrics(self.run_dir / "metrics.csv")
        write_json(self.run_dir / "results.json", _rows(module, trainer.datamodule, "val", self.run_dir.name))
        self._write(
            trainer,
            module,
            model={
                "checkpoint": "checkpoints/last.ckpt",
                "optimizer_steps": trainer.global_step,
                "processes": trainer.world_size,
            },
            objective=getattr(module, "describe_objective", dict)(),
            evaluation={"split": "val", "held_out": "by episode"},
        )

    def on_test_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        of_training = (self.run_dir / "run.json").exists()
        if of_training or not trainer.is_global_zero or trainer.fast_dev_run:
            return
        self._write(trainer, module, model={}, objective={}, evaluation={"split": "test", "held_out": "by episode"})

    @property
    def _seconds(self) -> float:
        return self._earlier_seconds + time.time() - self.started

    def _write(self, trainer: L.Trainer, module: L.LightningModule, model: dict, objective: dict, evaluation: dict):
        data = trainer.datamodule
        write_run_record(
            self.run_dir,
            model={"class": type(module).__name__, "parameters": num_parameters(module), **model},
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
            uncertainty=getattr(module, "describe_uncertainty", list)(),
            seconds=self._seconds,
        )


def num_parameters(module: torch.nn.Module) -> int:
    """Parameters that training changes, so none of a moving average or a frozen encoder; all of a frozen module."""
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return trained or sum(p.numel() for p in module.parameters())


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
        fields = zip(kind._fields, zip(*predictions, strict=True), strict=True)
        joined = {name: torch.cat(values).cpu() for name, values in fields if values[0] is not None}
        write_tensors(self.run_dir / "predictions.pt", joined)


def _seed() -> int | None:
    """What ``seed_everything`` was given."""
    seed = os.environ.get("PL_GLOBAL_SEED")
    return None if seed is None else int(seed)


def write_test_results(module: L.LightningModule, data: L.LightningDataModule, run_dir: Path) -> Path:
    """Measure a trained module on the test episodes and write ``results_test.json``.

    Args:
        module: names its evaluation, see :mod:`cjepa.evaluation.measurements`.
        data: set up.
        run_dir: the run's folder.
    """
    return write_json(run_dir / TEST_RESULTS, _rows(module, data, "test", run_dir.name))


def _rows(
    module: L.LightningModule, data: L.LightningDataModule, split: Literal["val", "test"], run: str
) -> list[dict]:
    measured = evaluation_of(module)(module, data, split, ProgressBar)
    return [result_row(**one._asdict(), model=run, run=run, split=split, seed=_seed()) for one in measured]
