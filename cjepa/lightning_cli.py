"""``cjepa fit | validate | test | predict``: LightningCLI with one folder a run."""

import atexit
import shutil
import tempfile
import time
from datetime import datetime
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cjepa.checkpoints import WEIGHTS, config_of, find_checkpoint, read_checkpoint
from cjepa.data.store.shards import open_episodes
from cjepa.errors import UserError
from cjepa.files import read_json
from cjepa.moved import teach_parsers
from cjepa.reporting.fit import MetricsFile, PredictionsFile, RunRecord, write_test_results
from cjepa.reporting.records import TEST_RESULTS
from cjepa.reporting.tables import scores_table

_TESTING_VERBS = ("validate", "test", "predict")


class SaveRunConfig(SaveConfigCallback):
    """Writes ``config.yaml`` when training begins, not before everything is checked; a test keeps that of its run."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Too early."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().setup(trainer, pl_module, "fit")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not Path(trainer.log_dir, self.config_filename).exists():
            super().setup(trainer, pl_module, "test")


class LastCheckpoint(ModelCheckpoint):
    """``last.ckpt`` at every validation and at the end; ``save_last=True`` would copy the best one."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.fast_dev_run:
            trainer.save_checkpoint(Path(self.dirpath) / "last.ckpt", weights_only=False)  # with the optimiser


class CJEPACLI(LightningCLI):
    """LightningCLI whose runs live in ``runs/<experiment>/<time>_seed<k>/`` (or ``--run_dir``).

    Everything of a run is in that folder: ``config.yaml``, ``metrics.csv``, TensorBoard events, ``checkpoints/``,
    ``media/``, ``run.json``, ``results.json``.
    """

    table: list[list[str]] | None = None
    """What there is to show when the verb is done."""

    def __init__(self, args: list[str], run: bool = True):
        teach_parsers()
        errors = {"exit_on_error": False}  # raise: the command line turns errors into one line
        super().__init__(
            LightningModule,
            LightningDataModule,
            args=_with_run(args),
            run=run,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"prog": "cjepa", **errors, **{verb: dict(errors) for verb in self.subcommands()}},
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Where the run goes and how it is called."""
        parser.add_argument("--experiment", type=str, default="unnamed", help="names the folder under runs/")
        parser.add_argument("--run_dir", type=str | None, default=None, help="the run's folder, instead of a new one")

    def parse_arguments(self, parser: LightningArgumentParser, args: list[str]) -> None:
        """Parse, then look at the checkpoint: Lightning would take the model from it, whatever the config says.

        Raises:
            UserError: the checkpoint is missing, unreadable or another model's.
        """
        super().parse_arguments(parser, args)
        config = self.config.get(self.config.get("subcommand") or "", self.config)
        if config.get("weights_only") is None:
            config["weights_only"] = True  # Lightning's own default would unpickle anything
        path = config.get("ckpt_path")
        if path is None:
            return
        checkpoint = find_checkpoint(path)
        if checkpoint.name == WEIGHTS and self.config["subcommand"] == "fit":
            raise UserError(f"{path} is an exported model without optimizer state; continue training from a last.ckpt")
        found = read_checkpoint(checkpoint).get("hyper_parameters", {}).get("_class_path")
        if found != config.model.class_path:
            raise UserError(f"{path} is a checkpoint of {found}, but the config names {config.model.class_path}")

    def _parse_ckpt_path(self) -> None:
        """As Lightning's, for checkpoints of before a class moved too: the model is the checkpoint's."""
        config = self.config.get(self.config.get("subcommand") or "", {})
        path = config.get("ckpt_path")
        if not path or not Path(path).is_file():
            return
        hparams = {k: v for k, v in read_checkpoint(Path(path))["hyper_parameters"].items() if k != "_instantiator"}
        model = {"class_path": hparams.pop("_class_path"), "dict_kwargs": hparams}
        self.config = self.parser.parse_object({self.config.subcommand: {"model": model}}, self.config)

    def instantiate_classes(self) -> None:
        """Build model, data and trainer; an argument that a constructor refuses is an error of the user."""
        try:
            super().instantiate_classes()
        except (ValueError, MisconfigurationException) as error:
            raise UserError(str(_refusal(error))) from error
        config = self.config_init.get(self.config_init.get("subcommand") or "", {})
        if config.get("ckpt_path"):  # what config.yaml says stays what the user said
            config["ckpt_path"] = str(_as_lightning(find_checkpoint(config["ckpt_path"])))

    def before_fit(self) -> None:
        """Refuse to train over another run.

        Raises:
            UserError: ``--run_dir`` holds checkpoints and this is not the continuation of one of them.
        """
        folder = self.run_dir / "checkpoints"
        ckpt_path = self.config["fit"]["ckpt_path"]
        continued = ckpt_path is not None and Path(ckpt_path).resolve().parent == folder.resolve()
        if folder.is_dir() and any(folder.iterdir()) and not continued:
            raise UserError(
                f"{self.run_dir} already contains a run; choose another --run_dir, delete it first, or continue it "
                f"with --ckpt_path {folder / 'last.ckpt'}"
            )

    def before_test(self) -> None:
        """Refuse to replace results; ours are shown instead of Lightning's.

        Raises:
            UserError: the run was tested before.
        """
        path = self.run_dir / TEST_RESULTS
        if path.exists():
            raise UserError(f"{path} already exists, from an earlier test; delete it or give another --run_dir")
        self.config_init["test"]["verbose"] = False

    def after_test(self) -> None:
        """Measure what a table needs that Lightning's means do not have: intervals, and probes of tokens."""
        if self.trainer.is_global_zero and not self.trainer.fast_dev_run:
            self.model.to(self.trainer.strategy.root_device)
            path = write_test_results(self.model, self.datamodule, self.run_dir)
            self.table = scores_table(read_json(path))

    def _run_subcommand(self, subcommand: str) -> None:
        """Run the verb; Lightning turns an interrupt into exit code 1, here it is an interrupt again.

        Raises:
            UserError: something is missing or does not fit; a folder that was made for the run is gone again, unless
                training has begun.
        """
        is_new = not self.run_dir.exists()
        try:
            _look_at(self.datamodule)
            super()._run_subcommand(subcommand)
        except SystemExit:
            if self.trainer.state.status == TrainerStatus.INTERRUPTED:
                raise KeyboardInterrupt from None
            raise
        except (UserError, MisconfigurationException) as error:
            if is_new and not (self.run_dir / "config.yaml").exists():
                shutil.rmtree(self.run_dir, ignore_errors=True)
            raise UserError(str(error)) from error

    def instantiate_trainer(self, **kwargs) -> Trainer:
        """The trainer with our loggers, checkpoints and record; the config's callbacks come on top."""
        config = self.config[self.subcommand] if self.subcommand else self.config
        self.run_dir = Path(config["run_dir"] or _new_run_dir(config["experiment"], config["seed_everything"]))
        trainer_config = {**self._get(self.config_init, "trainer", default={}), **kwargs}
        if trainer_config.get("enable_model_summary") is None:
            trainer_config["enable_model_summary"] = False  # run.json counts the parameters
        trainer_config["logger"] = [
            MetricsFile(self.run_dir, name="", version=""),
            TensorBoardLogger(self.run_dir, name="", version="", default_hp_metric=False),
        ]
        trainer_config["default_root_dir"] = str(self.run_dir)
        return self._instantiate_trainer(trainer_config, self._standard_callbacks())

    def _standard_callbacks(self) -> list[Callback]:
        hidden = self._get(self.config, "trainer").get("enable_progress_bar") is False
        files = {"dirpath": self.run_dir / "checkpoints", "enable_version_counter": False}
        return [
            ModelCheckpoint(filename="best", monitor="val/loss", **files),
            LastCheckpoint(filename="last", **files),
            LearningRateMonitor(logging_interval="step"),
            RunRecord(self.run_dir, started=time.time()),
            PredictionsFile(self.run_dir),
            *([] if hidden else [TQDMProgressBar(refresh_rate=20)]),
        ]


def _with_run(args: list[str]) -> list[str]:
    """``test RUN`` in full: its config and checkpoint, and that results go into a run's folder.

    Results of what was exported, or is in the zoo, go into a folder of their own. One process, however many have
    trained: several would look twice at some clips to have equally many each.

    Raises:
        UserError: RUN is no run folder, checkpoint or exported folder with a config.yaml, and no model of the zoo.
    """
    if len(args) < 2 or args[0] not in _TESTING_VERBS or args[1].startswith("-"):
        return args
    run = args[1].removesuffix(f"/{WEIGHTS}")
    checkpoint = find_checkpoint(run)
    config = config_of(checkpoint)
    exported = checkpoint.name == WEIGHTS
    of_run = ["-c", str(config), "--ckpt_path", run if exported else str(checkpoint)]
    of_run += ["--run_dir", "null" if exported else str(config.parent)]
    return [args[0], *of_run, "--trainer.devices", "1", "--trainer.strategy", "auto", *args[2:]]


def _as_lightning(checkpoint: Path) -> Path:
    """An exported checkpoint in Lightning's format, until this process ends: Lightning reads no other."""
    if checkpoint.name != WEIGHTS:
        return checkpoint
    folder = Path(tempfile.mkdtemp(prefix="cjepa-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    torch.save(read_checkpoint(checkpoint), folder / "last.ckpt")
    return folder / "last.ckpt"


def _look_at(data: LightningDataModule) -> None:
    if (path := getattr(data, "path", None)) is None:  # not one of ours
        return
    try:
        open_episodes(path)
    except UserError as error:
        raise UserError(f"{error}; give other data with --data.init_args.path") from None


def _new_run_dir(experiment: str, seed: int) -> Path:
    return Path("runs") / experiment / f"{datetime.now():%Y%m%d-%H%M%S}_seed{seed}"


def _refusal(error: BaseException) -> BaseException:
    """What a constructor said, beneath what the parser made of it."""
    while error.__cause__ is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error
