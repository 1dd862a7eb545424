"""A study: a YAML of stages, each one ``cjepa`` command, cached by everything that decides its outcome."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cjepa import __version__
from cjepa.command_result import CommandResult
from cjepa.errors import UserError
from cjepa.files import read_json, write_json
from cjepa.locks import only_process
from cjepa.reporting.reading import read_rows
from cjepa.reporting.records import TEST_RESULTS
from cjepa.reporting.report import build_report
from cjepa.reporting.stages import elapsed_seconds
from cjepa.reporting.tables import Row, results_table
from cjepa.studies.definition import STUDY_FILES, Stage, Study, load_study
from cjepa.studies.executors import Executor
from cjepa.studies.stage_folders import StageFolder, set_aside
from cjepa.studies.stages import StageRun
from cjepa.yaml_files import read_yaml

_FORMAT = "cjepa-study"


def run_study(
    path: Path, root: Path, executor: Executor, say: Callable[[str], None], jobs: int = 1, cores: int = 1
) -> CommandResult:
    """Run what is not done yet, gather the results, write the report.

    Args:
        path: study YAML.
        root: studies live in ``root/<name>/``.
        executor: runs the stages.
        say: shows a line of progress.
        jobs: most stages at a time.
        cores: of the machine.

    Raises:
        UserError: the YAML or one of its configs is wrong, the study already runs, or a stage failed; finished stages
            are kept, and the same command goes on from there.
    """
    study = load_study(path)
    keys = _stage_keys(study.stages)
    home = root / study.name
    with only_process(home, f"study {study.name}"):
        _claim(home, study, say)
        folders = {stage.name: StageFolder(home / stage.name, study.name, keys[stage.name]) for stage in study.stages}
        return _gather(home, study, StageRun(study.stages, folders, executor, say, jobs, cores).run())


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


def _gather(home: Path, study: Study, records: list[dict[str, Any]]) -> CommandResult:
    content = {"format": _FORMAT, "name": study.name, "description": study.description, "stages": records}
    write_json(home / "study.json", content)
    rows = [row for stage in study.stages for row in _rows(home / stage.name)]
    write_json(home / "results.json", rows)
    report = build_report(home)
    new = elapsed_seconds([record for record in records if not record["cached"]])
    lines = [
        f"{len(study.stages)} stages, {new:.0f} s of new work",
        f"results: {home / 'results.json'}",
        f"report: {report}",
    ]
    return CommandResult(lines, results_table(rows))


def _rows(folder: Path) -> list[Row]:
    paths = [path for path in (folder / "results.json", folder / TEST_RESULTS) if path.is_file()]
    return [row for path in paths for row in read_rows(path)]


def _stage_keys(stages: list[Stage]) -> dict[str, str]:
    """For each stage a digest of all that decides what it makes: its command, and the keys of what it reads."""
    keys: dict[str, str] = {}
    for stage in stages:
        configs = [_with_text_keys(read_yaml(config)) for config in stage.configs]
        upstream = [keys[name] for name in stage.depends_on()]
        parts = [__version__, stage.command, stage.positional, configs, stage.args, upstream]
        text = json.dumps(parts, sort_keys=True, default=str)
        keys[stage.name] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return keys


def _with_text_keys(value: Any) -> Any:
    """Keys of different types cannot be sorted."""
    if isinstance(value, dict):
        return {f"{type(key).__name__} {key}": _with_text_keys(entry) for key, entry in value.items()}
    return [_with_text_keys(entry) for entry in value] if isinstance(value, list) else value
