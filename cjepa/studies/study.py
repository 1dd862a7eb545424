"""A study: a YAML of stages, each one ``cjepa`` command, cached by everything that decides its outcome."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cjepa import __version__
from cjepa.command_result import CommandResult
from cjepa.errors import UserError
from cjepa.files import read_json, write_json, write_text
from cjepa.locks import only_process
from cjepa.reporting.reading import read_rows
from cjepa.reporting.records import TEST_RESULTS
from cjepa.reporting.report import build_report
from cjepa.reporting.tables import Row, results_table
from cjepa.studies.definition import STUDY_FILES, Stage, Study, load_study
from cjepa.studies.executors import Executor
from cjepa.studies.stage_folders import TRACEBACK, StageFolder, set_aside
from cjepa.yaml_files import read_yaml

_FORMAT = "cjepa-study"


def run_study(path: Path, root: Path, executor: Executor, say: Callable[[str], None]) -> CommandResult:
    """Run what is not done yet, gather the results, write the report.

    Args:
        path: study YAML.
        root: studies live in ``root/<name>/``.
        executor: runs the stages.
        say: shows a line of progress.

    Raises:
        UserError: the YAML or one of its configs is wrong, the study already runs, or a stage failed; finished stages
            are kept, and the same command goes on from there.
    """
    study = load_study(path)
    keys = _stage_keys(study.stages)
    home = root / study.name
    with only_process(home, f"study {study.name}"):
        _claim(home, study, say)
        records = []
        for number, stage in enumerate(study.stages, 1):
            folder = StageFolder(home / stage.name, study.name, keys[stage.name])
            title = f"[{number}/{len(study.stages)}] {stage.name}"
            records.append(_reused(stage, folder, title, say) or _run_stage(stage, folder, title, executor, say))
        return _gather(home, study, records)


def _reused(stage: Stage, folder: StageFolder, title: str, say: Callable[[str], None]) -> dict[str, Any] | None:
    found = folder.finished()
    if found is None:
        return None
    say(f"{title}: done before, in {found['seconds']:.0f} s")
    return _record(stage, folder.key, found["seconds"], found.get("peak_memory_mb", 0), cached=True)


def _run_stage(
    stage: Stage, folder: StageFolder, title: str, executor: Executor, say: Callable[[str], None]
) -> dict[str, Any]:
    if aside := folder.begin():
        say(f"{title}: what was in its folder is now in {aside}")
    home = folder.path.parent
    argv = stage.argv({name: home / name for name in stage.depends_on()} | {"self": folder.path})
    say(f"{title}: cjepa {' '.join(argv)}")
    outcome = executor.run(argv)
    if outcome.error:
        see = ""
        if outcome.traceback:
            see = f"; see {write_text(folder.path / TRACEBACK, outcome.traceback)}"
        raise UserError(f"stage {stage.name} failed: {outcome.error}{see}")
    record = _record(stage, folder.key, round(outcome.seconds, 1), round(outcome.peak_memory_mb), cached=False)
    folder.finish(record)
    say(f"{title}: {outcome.seconds:.0f} s")
    return record


def _record(stage: Stage, key: str, seconds: float, peak_memory_mb: float, cached: bool) -> dict[str, Any]:
    return {
        "name": stage.name,
        "command": stage.command,
        "seconds": seconds,
        "peak_memory_mb": peak_memory_mb,
        "folder": stage.name,
        "depends_on": stage.depends_on(),
        "cached": cached,
        "key": key,
    }


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
    new = sum(record["seconds"] for record in records if not record["cached"])
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
