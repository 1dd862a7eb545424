"""The run folder of a `cjepa fit | validate | test | predict` call: which one is read, and which one is written."""

import itertools
import re
from datetime import datetime
from pathlib import Path

from cjepa.checkpoints import WEIGHTS, config_of, find_checkpoint
from cjepa.configuration.run_config import TESTING_VERBS
from cjepa.errors import UserError
from cjepa.locks import refuse_foreign
from cjepa.reporting.reading import TEST_RESULTS

_WRITTEN = ("config.yaml", "run.json", "metrics.csv", "results.json", TEST_RESULTS, "predictions.pt", "media")


def with_run(args: list[str]) -> list[str]:
    """``test RUN`` in full: its config and checkpoint, and that results go into a run's folder.

    Results of what was exported, or is in the zoo, go into a folder of their own. One process, however many have
    trained: several would look twice at some clips to have equally many each.

    Raises:
        UserError: RUN is no run folder, checkpoint or exported folder with a config.yaml, and no model of the zoo; or
            the call names neither a run nor a config nor a model.
    """
    if not any(re.match(r"(-c|--config|--model|--print_config|--help|-h)\b", word) for word in args[1:]):
        if args[0] not in TESTING_VERBS:
            raise UserError(f"it needs an experiment: cjepa {args[0]} -c experiments/pusht/cjepa.yaml")
        if len(args) < 2 or args[1].startswith("-"):
            raise UserError(f"it needs a run: cjepa {args[0]} RUN")
    if len(args) < 2 or args[0] not in TESTING_VERBS or args[1].startswith("-"):
        return args
    run = args[1].removesuffix(f"/{WEIGHTS}")
    checkpoint = find_checkpoint(run)
    config = config_of(checkpoint)
    exported = checkpoint.name == WEIGHTS
    of_run = ["-c", str(config), "--ckpt_path", run if exported else str(checkpoint)]
    of_run += ["--run_dir", "null" if exported else str(config.parent)]
    return [args[0], *of_run, "--trainer.devices", "1", "--trainer.strategy", "auto", *args[2:]]


def new_run_dir(experiment: str, seed: int) -> Path:
    """``runs/<experiment>/<time>_seed<seed>``, with a number behind it for another run in the same second.

    Raises:
        UserError: the experiment is not a name for a folder.
    """
    parts = Path(experiment).parts
    if not parts or ".." in parts or Path(experiment).is_absolute() or not experiment.isprintable():
        raise UserError(f"--experiment {experiment!r}: expected a name, which becomes a folder under runs/")
    first = Path("runs") / experiment / f"{datetime.now():%Y%m%d-%H%M%S}_seed{seed}"
    others = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([first], others) if not path.exists())


def check_run_folder(run_dir: Path, ckpt_path: str | None, trains: bool) -> None:
    """Refuse to write over another run, over results of another command, or over files of the user's.

    Args:
        run_dir: where the call would write.
        ckpt_path: the checkpoint that the call names.
        trains: whether the call would add checkpoints.

    Raises:
        UserError: ``run_dir`` holds checkpoints and this is not the continuation of one of them, or it has none but
            results, or files that no command of ours made.
    """
    folder = run_dir / "checkpoints"
    is_continued = ckpt_path is not None and Path(ckpt_path).resolve().parent == folder.resolve()
    found = sorted(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    if trains and found and not is_continued:
        raise UserError(
            f"{run_dir} already contains a run; choose another --run_dir, delete it first, or continue it "
            f"with --ckpt_path {found[-1]}"
        )
    if not found:
        refuse_foreign(run_dir, _WRITTEN, "--run_dir")
        results = ("results.json", TEST_RESULTS) if trains else ("results.json",)  # predictions may join a test
        if made := [name for name in results if (run_dir / name).exists()]:
            raise UserError(
                f"{run_dir / made[0]} is of another command; choose another --run_dir, or delete that folder first"
            )
