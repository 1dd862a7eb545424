"""What several verbs ask of their options."""

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cjepa.errors import UserError
from cjepa.files import missing_folders, remove_made
from cjepa.locks import only_process, refuse_foreign

if TYPE_CHECKING:  # collect and convert start without torch
    import torch

    from cjepa.evaluation.kept_plans import PlanFiles

_log = logging.getLogger(__name__)

_EXPERIMENTS = {"cjepa/PushT-v0": "experiments/pusht", "cjepa/Collide-v0": "experiments/collide"}
_RESULT_FILES = ("results.json", "run.json", "trials.csv", "steps.csv", "pairs.csv", "effects.csv", "media")
_RESULT_FILES += ("report.html",)
_DECIDES_NOTHING = ("num_videos", "model_name", "out", "workers", "resume")
KEPT_PLANS = "plan.parts"
"""Plans of an unfinished evaluation, beside its results; a study keeps what ends so when a stage starts again."""


def next_fit(attributes: Mapping[str, Any], config: str, data: str) -> str | None:
    """The `cjepa fit` that comes next; None where this project has no YAMLs for the environment.

    Args:
        attributes: of the episodes, or of what made them.
        config: name of the YAML.
        data: file to train on.
    """
    folder = _EXPERIMENTS.get(attributes.get("env_id", ""))
    return folder and f"cjepa fit -c {folder}/{config} --data.init_args.path {data}"


def chosen_device(name: str) -> "torch.device":
    """The device that ``--device`` names; auto is cuda where there is a GPU, else cpu.

    Raises:
        UserError: there is no such device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        one = torch.ones(1, device=name)
        one.item()
    except (RuntimeError, AssertionError, ImportError):
        raise UserError(f"--device {name}: no such device on this machine; expected auto, cpu or cuda") from None
    return one.device


def evaluated_run(run: str, model_name: str | None, out: str | None, verb: str) -> tuple[Path, str, Path]:
    """The checkpoint of a run, the model's name in results, and the folder of an evaluation, RUN/VERB by default.

    Raises:
        UserError: there is no checkpoint; or it is a file on its own, beside which no results belong.
    """
    from cjepa.checkpoints import find_checkpoint

    checkpoint = find_checkpoint(run)
    name = model_name or model_name_of(checkpoint)
    if out is None and not Path(run).is_dir():
        raise UserError(f"{run} is not a run folder; give --out")
    return checkpoint, name, Path(out or f"{run}/{verb}")


def model_name_of(checkpoint: Path) -> str:
    """The name of the folder that a run or an exported model is in."""
    return checkpoint.parent.parent.name if checkpoint.suffix == ".ckpt" else checkpoint.parent.name


@contextmanager
def new_results_folder(folder: Path, verb: str, resume: bool = True, parts: Sequence[str] = ()) -> Iterator[Path]:
    """``folder`` for the results of one evaluation, held by this process; gone again if it fails before its first plan.

    Args:
        folder: to make, or of an interrupted evaluation.
        verb: of the command.
        resume: leave the plans of an interrupted evaluation.
        parts: names of the folders for results within ``folder``.

    Raises:
        UserError: the folder holds results, a training run or files of the user's, or another process works there.
    """
    refuse_foreign(folder, (*_RESULT_FILES, *parts), "--out")
    missing = missing_folders(folder)
    with only_process(folder, f"cjepa {verb}"):
        if (folder / "results.json").exists() or (folder / "checkpoints").exists():
            raise UserError(f"{folder} already contains results or a run; choose another --out or delete it first")
        if not resume:
            shutil.rmtree(folder / KEPT_PLANS, ignore_errors=True)
        try:
            yield folder
        except Exception:
            if not (folder / "results.json").exists() and not (folder / KEPT_PLANS).exists():
                remove_made(missing)
            raise
        shutil.rmtree(folder / KEPT_PLANS, ignore_errors=True)


def kept_plans(folder: Path, asked: Mapping[str, Any], files: Iterable[Path | None]) -> "PlanFiles | None":
    """Where an evaluation keeps its plans until :func:`new_results_folder` has its results.

    Args:
        folder: of the results.
        asked: all arguments of the command, ``protocol`` among them; those that decide plans tell evaluations apart.
        files: that decide plans too: another size or time of change makes another evaluation.

    Returns:
        None, and a warning is logged, where an argument is of a kind that cannot be compared with that of another run.
    """
    from cjepa import __version__
    from cjepa.evaluation.contents import contents_text
    from cjepa.evaluation.kept_plans import PlanFiles

    protocol = replace(asked["protocol"], against=None)
    stamps = [
        (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
        for path in (Path(protocol.episodes), *files)
        if path is not None and path.exists() and (stat := path.stat())
    ]
    decides = {name: value for name, value in asked.items() if name not in _DECIDES_NOTHING} | {"protocol": protocol}
    try:
        job = contents_text([__version__, stamps, decides])
    except UserError as error:
        _log.warning("%s: the plans of an interrupted run cannot be reused", error)
        return None
    return PlanFiles(folder / KEPT_PLANS, job)
