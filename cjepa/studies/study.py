"""A study: a YAML of stages, each one ``cjepa`` command, cached by everything that decides its outcome."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cjepa.command_result import CommandResult
from cjepa.counts import number_of
from cjepa.errors import UserError
from cjepa.files import read_json, write_json
from cjepa.locks import only_process
from cjepa.reporting.reading import TEST_RESULTS, read_rows
from cjepa.reporting.records import repeatable
from cjepa.reporting.report import build_report
from cjepa.reporting.series import in_series
from cjepa.reporting.stages import elapsed_seconds
from cjepa.reporting.tables import Row, results_table
from cjepa.studies.definition import STUDY_FILES, Stage, Study, load_study
from cjepa.studies.dispatch import default_jobs
from cjepa.studies.elsewhere import finished_elsewhere
from cjepa.studies.executors import Executor
from cjepa.studies.keys import all_made_from
from cjepa.studies.option_check import check_options
from cjepa.studies.outlook import outlook
from cjepa.studies.resources import check_that_it_fits
from cjepa.studies.selection import Selection
from cjepa.studies.stage_folders import StageFolder, set_aside
from cjepa.studies.stages import StageRun

DEFAULT_ROOT = "runs/studies"
_FORMAT = "cjepa-study"
_EVERYTHING = Selection()


def run_study(
    path: Path,
    root: Path,
    executor: Executor,
    say: Callable[[str], None],
    jobs: int | None = None,
    selection: Selection = _EVERYTHING,
) -> CommandResult:
    """Run what is not done yet, gather the results, write the report.

    A stage that fails stops only the stages that read it; the same study, run again, goes on from there.

    Args:
        path: study YAML.
        root: studies live in ``root/<name>/``.
        executor: runs the stages.
        say: shows a line of progress.
        jobs: most stages at a time; None: :func:`~cjepa.studies.dispatch.default_jobs`.
        selection: the stages that are asked for.

    Raises:
        UserError: the YAML, one of its configs or an option of a stage is wrong, no stage matches the selection, a
            stage needs more than any machine has, or the study already runs.
    """
    study = load_study(path)
    jobs = jobs or default_jobs(study.stages, executor.machines())
    chosen, forced = selection.chosen(study.stages), selection.forced(study.stages)
    home = root / study.name
    folders = _folders(study, home)
    _check(chosen, forced, folders, executor)
    with only_process(home, f"study {study.name}"):
        _claim(home, study, say)
        for stage in reversed(forced):  # readers first: after a kill in between, none counts as done on an older input
            folders[stage.name].replace()
        run = StageRun(study.stages, chosen, folders, executor, say, jobs)
        run.run()
        typed = repeatable("cjepa", "study", path, *([] if root == Path(DEFAULT_ROOT) else ["--root", root]))
        return _gather(home, study, run, typed, say)


def preview_study(
    path: Path, root: Path, executor: Executor, selection: Selection, jobs: int | None = None
) -> CommandResult:
    """What :func:`run_study` would do on this machine, with estimates of time and memory; nothing is written.

    The arguments are those of :func:`run_study`.

    Raises:
        UserError: the YAML, one of its configs or an option of a stage is wrong, no stage matches the selection, or a
            stage needs more than this machine has.
    """
    study = load_study(path)
    chosen, forced = selection.chosen(study.stages), selection.forced(study.stages)
    folders, machines = _folders(study, root / study.name), executor.machines()
    _check(chosen, forced, folders, executor)
    names, jobs = {stage.name for stage in forced}, jobs or default_jobs(study.stages, machines)
    others = finished_elsewhere(root, study.name)
    return outlook(chosen, folders, names, study.stages, jobs, machines, others)


def _check(
    chosen: Sequence[Stage], forced: Sequence[Stage], folders: Mapping[str, StageFolder], executor: Executor
) -> None:
    """Whether the stages that would run fit a machine, and have options that their commands take."""
    to_run = [stage for stage in chosen if stage in forced or not folders[stage.name].finished()]
    machines = executor.machines()
    for stage in to_run:
        check_that_it_fits(stage.name, stage.resources, machines)
    check_options(to_run, {name: folder.path for name, folder in folders.items()}, executor)


def _folders(study: Study, home: Path) -> dict[str, StageFolder]:
    made_from = all_made_from(study.stages)
    return {name: StageFolder(home / name, study.name, parts) for name, parts in made_from.items()}


def _claim(home: Path, study: Study, say: Callable[[str], None]) -> None:
    """Mark the folder as this study's; files of the names that a study writes, if another made them, are renamed."""
    mark = {"format": _FORMAT, "name": study.name}
    try:
        found = read_json(home / "study.json")
    except UserError:
        found = None
    if isinstance(found, dict) and mark.items() <= found.items():
        return
    for name in STUDY_FILES:
        if (home / name).exists():
            say(f"{home / name} was not made by this study; it is now {set_aside(home / name, 'set-aside').name}")
    write_json(home / "study.json", {**mark, "description": study.description, "stages": []})


def _gather(home: Path, study: Study, run: StageRun, typed: str, say: Callable[[str], None]) -> CommandResult:
    done = [run.records[stage.name] for stage in study.stages if stage.name in run.records]
    missing = [run.about(stage) for stage in study.stages if stage.name not in run.records]
    content = {"format": _FORMAT, "name": study.name, "description": study.description}
    content |= {"typed": typed, "stages": done, "missing": missing}
    write_json(home / "study.json", content)
    if not done:
        for path in (home / "results.json", home / "report.html"):
            if path.exists():
                say(f"{path} is of earlier stages; it is now {set_aside(path, 'replaced').name}")
        return CommandResult(run.failures, failed=True)
    rows = [row for record in done for row in _rows(home / record["name"])]
    write_json(home / "results.json", rows)
    report = build_report(home)
    new = elapsed_seconds([record for record in done if not record["cached"]])
    of_all = f"{len(done)} of " if len(done) < len(study.stages) else ""
    lines = [
        f"{of_all}{number_of(len(study.stages), 'stage')}, {new:.0f} s of new work",
        f"results: {home / 'results.json'}",
        f"report: {report}",
    ]
    return CommandResult(lines + run.failures, results_table(in_series(rows, done)), failed=bool(run.failures))


def _rows(folder: Path) -> list[Row]:
    paths = [path for path in (folder / "results.json", folder / TEST_RESULTS) if path.is_file()]
    return [row for path in paths for row in read_rows(path)]
