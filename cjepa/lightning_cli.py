"""``cjepa fit | validate | test | predict``: LightningCLI with one folder a run."""

import time
from argparse import ArgumentError
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cjepa.checkpoints import WEIGHTS, check_finite, find_checkpoint, read_checkpoint
from cjepa.command_result import CommandResult
from cjepa.configuration.moved import teach_parsers
from cjepa.configuration.parser_messages import named
from cjepa.data.store.shards import open_episodes
from cjepa.errors import UserError
from cjepa.files import FolderBefore, read_json
from cjepa.locks import only_process, refuse_busy
from cjepa.reporting.fit import MetricsFile, PredictionsFile, RunRecord, write_test_results
from cjepa.reporting.reading import TEST_RESULTS
from cjepa.reporting.tables import scores_table
from cjepa.running import refusals
from cjepa.running.callbacks import (
    LastCheckpoint,
    Quiet,
    RunProgress,
    SameEpisodes,
    SaveRunConfig,
    WholeCheckpoints,
)
from cjepa.running.finite_training import FiniteTraining
from cjepa.running.resuming import check_model_kept, check_training_kept
from cjepa.running.run_folders import check_run_folder, new_run_dir, with_run
from cjepa.running.trainer_options import check_trainer_options, check_trains, nothing_trained, refusal
from cjepa.shell import as_typed


class CJEPACLI(LightningCLI):
    """LightningCLI whose runs live in ``runs/<experiment>/<time>_seed<k>/`` (or ``--run_dir``).

    Everything of a run is in that folder: ``config.yaml``, ``metrics.csv``, TensorBoard events, ``checkpoints/``,
    ``media/``, ``run.json``, ``results.json``.
    """

    _table: list[list[str]] | None = None
    _checkpoint: tuple[Path, dict] | None = None
    """The one that the call names, and what it holds."""

    def __init__(self, args: list[str]):
        teach_parsers()
        self._verb = args[0]
        errors = {"exit_on_error": False}  # raise: the command line turns errors into one line
        super().__init__(
            LightningModule,
            LightningDataModule,
            args=with_run(args),
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            save_config_callback=SaveRunConfig,
            parser_kwargs={"prog": "cjepa", **errors, self._verb: dict(errors)},
        )

    def subcommands(self) -> dict[str, set[str]]:
        """Only the verb of the call: to build a parser takes a tenth of a second."""
        return {self._verb: super().subcommands()[self._verb]}

    def result(self) -> CommandResult:
        """What the verb made, and what to type next; of several processes one speaks."""
        if not self.trainer.is_global_zero:
            return CommandResult([])
        if self.trainer.fast_dev_run:
            return CommandResult(["fast_dev_run: it runs; nothing was written"])
        made = self.run_dir / "predictions.pt" if self.subcommand == "predict" else self.run_dir
        following = as_typed("cjepa", "report", self.run_dir) if self.subcommand in ("fit", "test") else None
        return CommandResult([str(made), *filter(None, [self._nothing_trained()])], self._table, following)

    def _nothing_trained(self) -> str | None:
        if self.subcommand != "fit" or self._checkpoint is None or self.trainer.fast_dev_run:
            return None
        return nothing_trained(self.trainer, self._checkpoint[1].get("global_step", 0))

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Where the run goes and how it is called."""
        parser.add_argument("--experiment", type=str, default="unnamed", help="names the folder under runs/")
        parser.add_argument("--run_dir", type=str | None, default=None, help="the run's folder, instead of a new one")

    def parse_arguments(self, parser: LightningArgumentParser, args: list[str]) -> None:
        """Parse, then look at the checkpoint: Lightning would take the model from it, whatever the config says.

        Raises:
            UserError: the seed is out of its range; the checkpoint is missing, unreadable or another model's, or a
                weight is not finite.
        """
        self.read_options(parser, args)
        config = self.config[self._verb]
        seed = config.get("seed_everything")
        if seed is not None and not 0 <= seed < 2**32:
            raise UserError(f"seed_everything is {seed}, expected 0 to 2^32 - 1")
        if config.get("weights_only") is None:
            config["weights_only"] = True  # Lightning's own default would unpickle anything
        path = config.get("ckpt_path")
        if path is None:
            return
        checkpoint = find_checkpoint(path)
        if checkpoint.name == WEIGHTS and self.config["subcommand"] == "fit":
            raise UserError(f"{path} is an exported model without optimizer state; continue training from a last.ckpt")
        content = read_checkpoint(checkpoint)
        found = content["hyper_parameters"]["_class_path"]
        if found != config.model.class_path:
            raise UserError(f"{path} is a checkpoint of {found}, but the config names {config.model.class_path}")
        check_finite(content, checkpoint)  # here, before anything is written into the run's folder
        self._checkpoint = checkpoint, content

    def read_options(self, parser: LightningArgumentParser, args: list[str]) -> None:
        """What Lightning does, with errors in the words of our other commands."""
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            raise named(error, self._parser(self._verb).get_defaults().keys(), words=args) from error.__cause__

    def _parse_ckpt_path(self) -> None:
        """As Lightning's, for checkpoints of before a class moved too: the model is the checkpoint's.

        Raises:
            UserError: the call has another model, or continues a training with other data or another seed.
        """
        if self._checkpoint is None:
            return
        verb, (path, content) = self.config.subcommand, self._checkpoint
        hparams = {name: value for name, value in content["hyper_parameters"].items() if name != "_instantiator"}
        text = self._parser(verb).dump(self.config[verb], skip_none=False, skip_validation=True)  # it was just parsed
        given = yaml.safe_load(text)
        check_model_kept(given["model"], hparams, path)
        if verb == "fit":
            check_training_kept(given, path)
        model = {"class_path": hparams.pop("_class_path"), "dict_kwargs": hparams}
        self.config = self.parser.parse_object({verb: {"model": model}}, self.config)

    def instantiate_classes(self) -> None:
        """Build model, data and trainer; an argument that a constructor refuses is an error of the user."""
        with refusals.built(self.config[self._verb]):
            super().instantiate_classes()
        config = self.config_init[self._verb]
        if config.get("ckpt_path"):  # what config.yaml says stays what the user said; WholeCheckpoints reads the file
            config["ckpt_path"] = str(find_checkpoint(config["ckpt_path"]))

    def after_fit(self) -> None:
        """Write results and record of a run that was killed between its last checkpoint and its results.

        Raises:
            UserError: nothing was trained in a new folder, which would have results of another run and no checkpoint.
        """
        if (line := self._nothing_trained()) and not (self.run_dir / "checkpoints").exists():
            raise UserError(line)
        if self.trainer.fast_dev_run or self.record.is_complete or self.record.has_trained:
            return
        self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False)
        if self.trainer.is_global_zero:
            self.model.to(self.trainer.strategy.root_device)
            self.record.write_fit(self.trainer, self.model)

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
            self._table = scores_table(read_json(path))

    def _run_subcommand(self, subcommand: str) -> None:
        """Run the verb, alone in its folder; an interrupt that Lightning made exit code 1 is an interrupt again.

        Raises:
            UserError: something is missing or does not fit.
            KeyboardInterrupt: with the command that continues the run.
        """
        try:
            with refusals.run(self.config[subcommand].get("ckpt_path")):
                _look_at(self.datamodule)
                if subcommand == "fit":
                    check_trains(self.trainer)
                with self._alone_in_folder(subcommand):
                    super()._run_subcommand(subcommand)
        except (SystemExit, KeyboardInterrupt) as end:
            if isinstance(end, KeyboardInterrupt) or self.trainer.state.status == TrainerStatus.INTERRUPTED:
                raise KeyboardInterrupt(self._resume_command(subcommand)) from None
            raise

    @contextmanager
    def _alone_in_folder(self, subcommand: str) -> Iterator[None]:
        """After an error, remove what was made for the run, unless training has begun or left a checkpoint."""
        if not self.trainer.is_global_zero or self.trainer.fast_dev_run:
            yield
            return
        refuse_busy(self.run_dir, f"cjepa {subcommand}")
        check_run_folder(self.run_dir, self.config[subcommand].get("ckpt_path"), trains=subcommand == "fit")
        before = FolderBefore.of(self.run_dir)
        with only_process(self.run_dir, f"cjepa {subcommand}"):
            try:
                yield
            except BaseException:  # also those of the user's own callbacks, and interrupts
                if not (self.record.has_trained or any(self.run_dir.glob("checkpoints/*.ckpt"))):
                    before.restore()
                raise

    def _resume_command(self, subcommand: str) -> str:
        last = self.run_dir / "checkpoints" / "last.ckpt"
        if subcommand != "fit" or not last.is_file():
            return ""
        words = ["-c", self.run_dir / "config.yaml", "--run_dir", self.run_dir, "--ckpt_path", last]
        return as_typed("cjepa", "fit", *words)

    def instantiate_trainer(self, **kwargs) -> Trainer:
        """The trainer with our loggers, checkpoints and record; those of the config come on top."""
        config = self.config[self._verb]
        self.run_dir = Path(config["run_dir"] or new_run_dir(config["experiment"], config["seed_everything"]))
        self.record = RunRecord(self.run_dir, started=time.time())
        self.save_config_kwargs = {"run_dir": self.run_dir}
        trainer_config = {**self._get(self.config_init, "trainer", default={}), **kwargs}
        check_trainer_options(trainer_config)
        if trainer_config.get("enable_model_summary") is None:
            trainer_config["enable_model_summary"] = False  # run.json counts the parameters
        is_hidden = trainer_config.get("enable_progress_bar") is False
        trainer_config["enable_progress_bar"] = False  # Lightning's own
        trainer_config["logger"] = self._loggers(trainer_config.get("logger"))
        trainer_config["default_root_dir"] = trainer_config.get("default_root_dir") or str(self.run_dir)
        trainer_config["plugins"] = _with_whole_checkpoints(trainer_config.get("plugins"))
        try:
            return self._instantiate_trainer(trainer_config, self._standard_callbacks(is_hidden))
        except (TypeError, ValueError, ImportError, MisconfigurationException) as error:  # all are ways to refuse one
            raise UserError(refusal(str(error), trainer_config)) from error

    def _loggers(self, others: Logger | Iterable[Logger] | bool | None) -> list[Logger]:
        """``metrics.csv`` first; then TensorBoard, unless the config says false; then those of the config.

        A later validation writes to neither of ours: it would add a point at step 0 to the curves of the training.
        """
        files = {"save_dir": self.run_dir, "name": "", "version": ""}
        ours = [] if self.subcommand == "validate" else [MetricsFile(**files)]
        if ours and others is not False:
            ours.append(TensorBoardLogger(**files, default_hp_metric=False))
        return [*ours, *([] if isinstance(others, bool | None) else _as_list(others))]

    def _standard_callbacks(self, is_hidden: bool) -> list[Callback]:
        return [
            FiniteTraining(),
            SameEpisodes(),
            LastCheckpoint(self.run_dir / "checkpoints", filename="last", enable_version_counter=False),
            LearningRateMonitor(logging_interval="step"),
            self.record,
            PredictionsFile(self.run_dir),
            Quiet(),
            *([] if is_hidden else [RunProgress(self._verb)]),
        ]


def _with_whole_checkpoints(plugins: Any) -> list[Any]:
    """The config's plugins, and our way to write checkpoints unless they have another."""
    plugins = [] if plugins is None else _as_list(plugins)
    return plugins if any(isinstance(one, CheckpointIO) for one in plugins) else [*plugins, WholeCheckpoints()]


def _as_list(values: Any) -> list[Any]:
    return list(values) if isinstance(values, list | tuple) else [values]


def _look_at(data: LightningDataModule) -> None:
    if (path := getattr(data, "path", None)) is None:  # not one of ours
        return
    try:
        open_episodes(path)
    except UserError as error:
        raise UserError(f"{error}; give other data with --data.init_args.path") from None
