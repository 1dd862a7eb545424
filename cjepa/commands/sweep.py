"""`cjepa sweep`: one experiment over values of its options and over seeds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse.typing import NonNegativeInt, PositiveInt

from cjepa.command_result import CommandResult
from cjepa.configuration.plain_values import finite_number
from cjepa.configuration.yaml_files import read_yaml
from cjepa.errors import UserError
from cjepa.files import FolderBefore, read_json, write_text
from cjepa.locks import only_process, refuse_foreign
from cjepa.reporting.reading import read_results
from cjepa.reporting.records import command_here
from cjepa.reporting.sweep import Cell, Score, ranked, score_table, target_of, to_csv, verdict
from cjepa.reporting.sweep_page import sweep_page
from cjepa.shell import as_typed
from cjepa.studies.executors import LocalProcesses
from cjepa.studies.study import run_study
from cjepa.studies.sweep import Experiment, Values, cells_of, command_of, stage_name, sweep_study

_FILES = ("sweep.yaml", "sweep.html", "sweep.csv")


def sweep_command(
    experiment: list[str],
    over: dict[str, Any],
    options: dict[str, Any] | None = None,
    run: str | None = None,
    samples: PositiveInt | None = None,
    seeds: list[NonNegativeInt] | None = None,
    metric: str | None = None,
    best: Literal["highest", "lowest"] | None = None,
    name: str | None = None,
    root: str = "runs/sweeps",
    jobs: PositiveInt = 1,
    *,
    say: Callable[[str], None],
) -> CommandResult:
    """Run an experiment over a grid or random draws of its options, and rank the cells by validation values.

    The sweep is a study, ROOT/NAME/sweep.yaml: repeat the command after an interrupt or a failure, or with more values,
    samples or seeds; finished cells are reused.

    Args:
        experiment: YAML files of a training, or with --run of planning.
        over: options to vary, --over.NAME: a list of values, or {low, high, log: true, steps}; a grid needs steps of a
            range, random draws do not.
        options: options that all cells share, --options.NAME VALUE.
        run: world model to plan with; the cells then plan validation pairs.
        samples: number of random draws; default: the grid of all combinations.
        seeds: of training or planning, each for every cell; default [0]. Random draws always begin at seed 0.
        metric: of the validation results; default success, or the rollout error furthest ahead, or fg_ari.
        best: whether its highest or its lowest value is the best; known for the usual metrics.
        name: of the sweep; default: that of the first YAML.
        root: folder of all sweeps.
        jobs: most cells to train at the same time.
        say: shows a line of progress.
    """
    chosen = Experiment([_config(path) for path in experiment], options or {}, run)
    _check_kind(chosen, over)
    seeds = [0] if seeds is None else [int(seed) for seed in seeds]  # the parser has an int of its own
    cells = cells_of(over, samples, 0)
    name = Path(experiment[0]).stem if name is None else name
    home = Path(root) / name
    study = sweep_study(name, chosen, cells, seeds, home)
    refuse_foreign(home, _FILES, "--name")
    before = FolderBefore.of(home)
    with only_process(home, f"sweep {name}"):
        path = write_text(home / "sweep.yaml", yaml.safe_dump(study, sort_keys=False, width=120))
    try:
        failure = _run(path, Path(root), say, jobs)
    except UserError:
        if not (home / "study.json").exists():  # no cell has run
            before.restore()
        raise
    done = {stage["name"] for stage in read_json(home / "study.json")["stages"]}
    found = [_read(cell, seeds, home, done) for cell in cells]
    if failure and not any(cell.rows for cell in found):
        raise UserError(failure)
    winner, shown = _shown(found, len(seeds), metric, best, home, failure)
    return shown._replace(next_command=_next(chosen, winner, home))


def _config(path: str) -> Path:
    if not Path(path).is_file():
        if finite_number(path) is not None:
            raise UserError(f"{path}: not a YAML file; type brackets around several values, as in --over.KEY '[1, 2]'")
        raise UserError(f"{path}: no such experiment; give a YAML file, for example experiments/pusht/cjepa.yaml")
    return Path(path)


def _check_kind(experiment: Experiment, over: Values) -> None:
    """Whether the YAMLs are of a training, or of planning: otherwise, every cell would fail with its own message.

    Cells of several distances would all run, and then have no one value to be ranked by.
    """
    contents = [content for config in experiment.configs if isinstance(content := read_yaml(config), dict)]
    keys = {key.partition(".")[0] for content in (*contents, experiment.options) for key in content}
    first = experiment.configs[0]
    if "stages" in keys:
        raise UserError(f"{first}: a study; give a YAML file of a training, or one of planning with --run RUN")
    if experiment.run is None and "model" not in keys:
        raise UserError(f"{first}: not a training, it has no model; to sweep planning, add --run RUN")
    if experiment.run is not None and "model" in keys:
        raise UserError(f"{first}: a training, which --run {experiment.run} does not plan with; leave --run out")
    if experiment.run is not None and any(given.get("goal_offsets") for given in (*contents, experiment.options, over)):
        raise UserError("goal_offsets: a sweep ranks cells by goals of one distance; give goal_env_steps instead")


def _run(path: Path, root: Path, say: Callable[[str], None], jobs: int) -> str:
    """Run the study; what failed, in one line. The cells beside a failed one are done."""
    done = run_study(path, root, LocalProcesses(), say, jobs)
    return "; ".join(line for line in done.lines if line.startswith(("stage ", "stages "))) if done.failed else ""


def _read(cell: Values, seeds: Sequence[int], home: Path, done: set[str]) -> Cell:
    """A cell with the results of its stages that are done; one that failed may have written some, too."""
    rows = {seed: read_results(home / name) for seed in seeds if (name := stage_name(cell, seed)) in done}
    return Cell(cell, {seed: found for seed, found in rows.items() if found})


def _shown(
    cells: Sequence[Cell], seeds: int, metric: str | None, best: str | None, home: Path, failure: str
) -> tuple[Score, CommandResult]:
    """The best cell, and what the command shows but for what to type next."""
    target = target_of(cells, metric, best)
    scores = ranked(cells, target)
    missing = len(cells) * seeds - sum(len(score.seeds) for score in scores)
    notes = [f"{missing} of {len(cells) * seeds} runs have no value of {target.metric}"] if missing else []
    page = write_text(home / "sweep.html", sweep_page(home.name, scores, target, command_here(), notes))
    table = write_text(home / "sweep.csv", to_csv(scores, target))
    lines = [*verdict(scores, target), *notes, str(page), str(table), *([failure] if failure else [])]
    return scores[0], CommandResult(lines, score_table(scores, target), failed=bool(failure))


def _next(experiment: Experiment, winner: Score, home: Path) -> str:
    """What measures the best cell on test episodes."""
    if experiment.run is None:
        return as_typed("cjepa", "test", home / stage_name(winner.values, winner.seeds[0]))
    return f"{command_of(experiment, winner.values)} {as_typed('--out', home / 'test')}"
