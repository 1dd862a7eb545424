"""``cjepa fit | validate | test | predict``: LightningCLI with one folder a run."""

import time
from datetime import datetime
from pathlib import Path

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from cjepa.reporting.fit import FitRecord


class CJEPACLI(LightningCLI):
    """LightningCLI whose runs live in ``runs/<experiment>/<time>_seed<k>/`` (or ``--run_dir``).

    Everything of a run is in that folder: ``config.yaml``, ``metrics.csv``, TensorBoard events, ``checkpoints/``,
    ``media/``, ``run.json``, ``results.json``.
    """

    def __init__(self, args: list[str], run: bool = True):
        super().__init__(
            LightningModule,
            LightningDataModule,
            args=args,
            run=run,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"prog": "cjepa"},
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Where the run goes and how it is called."""
        parser.add_argument("--experiment", type=str, default="unnamed", help="names the folder under runs/")
        parser.add_argument("--run_dir", type=str | None, default=None, help="the run's folder, instead of a new one")

    def instantiate_trainer(self, **kwargs) -> Trainer:
        """The trainer with our loggers, checkpoints and record; the config's callbacks come on top."""
        config = self.config[self.subcommand] if self.subcommand else self.config
        self.run_dir = Path(config["run_dir"] or _new_run_dir(config["experiment"], config["seed_everything"]))
        trainer_config = {**self._get(self.config_init, "trainer", default={}), **kwargs}
        trainer_config["logger"] = [
            CSVLogger(self.run_dir, name="", version=""),
            TensorBoardLogger(self.run_dir, name="", version="", default_hp_metric=False),
        ]
        trainer_config["default_root_dir"] = str(self.run_dir)
        return self._instantiate_trainer(trainer_config, self._standard_callbacks())

    def _standard_callbacks(self) -> list[Callback]:
        checkpoint = ModelCheckpoint(
            dirpath=self.run_dir / "checkpoints",
            filename="best",
            monitor="val/loss",
            save_last=True,
            enable_version_counter=False,
        )
        return [
            checkpoint,
            LearningRateMonitor(logging_interval="step"),
            TQDMProgressBar(refresh_rate=20),
            FitRecord(self.run_dir, started=time.time()),
        ]


def _new_run_dir(experiment: str, seed: int) -> Path:
    return Path("runs") / experiment / f"{datetime.now():%Y%m%d-%H%M%S}_seed{seed}"
