"""What commands that evaluate a model share: the run that they read, and the folder of their results.

A module of its own: what it imports would otherwise count as code of `collect` and `tokenize` in a study.
"""

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from cjepa import __version__
from cjepa.checkpoints import find_checkpoint, read_checkpoint
from cjepa.errors import UserError
from cjepa.evaluation.contents import NotComparable, contents_text
from cjepa.evaluation.planning.kept_plans import PlanFiles
from cjepa.files import FolderBefore
from cjepa.locks import only_process, refuse_foreign
from cjepa.policies.lessons import LESSONS_FILE
from cjepa.reporting.reading import TEST_RESULTS

_log = logging.getLogger(__name__)

_RESULT_FILES = ("results.json", "run.json", "trials.csv", "steps.csv", "pairs.csv", "effects.csv", "media")
_RESULT_FILES += ("report.html", LESSONS_FILE)
_DECIDES_NOTHING = ("num_videos", "model_name", "out", "workers", "resume", "certify", "certify_margin")
KEPT_PLANS = "plan.parts"
"""Plans of an unfinished evaluation, beside its results; a study keeps what ends so when a stage starts again."""


def evaluated_run(run: str, model_name: str | None, out: str | None, verb: str) -> tuple[Path, str, Path]:
    """The checkpoint of a run, the model's name in results, and the folder of an evaluation, RUN/VERB by default.

    Raises:
        UserError: there is no checkpoint; or it is a file on its own, beside which no results belong.
    """
    checkpoint = find_checkpoint(run)
    name = model_name or model_name_of(checkpoint)
    if out is None and not Path(run).is_dir():
        read_checkpoint(checkpoint)  # what is no checkpoint is told first
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
    before = FolderBefore.of(folder)
    with only_process(folder, f"cjepa {verb}"):
        if any((folder / name).exists() for name in ("results.json", TEST_RESULTS, "checkpoints")):
            raise UserError(f"{folder} already contains results or a run; choose another --out or delete it first")
        if not resume:
            shutil.rmtree(folder / KEPT_PLANS, ignore_errors=True)
        try:
            yield folder
        except Exception:
            if not any(folder.rglob("results.json")) and not (folder / KEPT_PLANS).exists():
                before.restore()
            raise
        shutil.rmtree(folder / KEPT_PLANS, ignore_errors=True)


def kept_plans(folder: Path, asked: Mapping[str, Any], files: Iterable[Path | None]) -> PlanFiles | None:
    """Where an evaluation keeps its plans until :func:`new_results_folder` has its results.

    Args:
        folder: of the results.
        asked: all arguments of the command, ``protocol`` among them; those that decide plans tell evaluations apart.
        files: that decide plans too: another size or time of change makes another evaluation.

    Returns:
        None, and a warning is logged, where an argument is of a kind that cannot be compared with that of another run.

    Raises:
        UserError: a file that an argument names is gone.
    """
    protocol = replace(asked["protocol"], against=None)
    stamps = [
        (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
        for path in (Path(protocol.episodes), *files)
        if path is not None and path.exists() and (stat := path.stat())
    ]
    decides = {name: value for name, value in asked.items() if name not in _DECIDES_NOTHING} | {"protocol": protocol}
    try:
        job = contents_text([__version__, stamps, decides])
    except NotComparable as error:
        _log.warning("%s: the plans of an interrupted run cannot be reused", error)
        return None
    return PlanFiles(folder / KEPT_PLANS, job)
