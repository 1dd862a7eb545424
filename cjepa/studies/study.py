"""A study: a YAML of stages, each one ``cjepa`` command, cached by everything that decides its outcome."""

import argparse
import hashlib
import json
import re
import shutil
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from cjepa import __version__
from cjepa.command_result import CommandResult
from cjepa.data.store.parts import PARTS
from cjepa.errors import UserError
from cjepa.files import read_json, write_json
from cjepa.reporting.records import TEST_RESULTS, peak_memory_mb
from cjepa.reporting.report import build_report
from cjepa.reporting.tables import results_table
from cjepa.yaml_files import read_yaml

_REFERENCE = re.compile(r"\$\{([\w-]+)\}")
_STAGE_KEYS = {"command", "positional", "configs", "args"}


class Stage(NamedTuple):
    """One command with its configs and arguments; ``${name}`` in them is the folder of stage ``name``."""

    name: str
    command: str
    positional: list[str]
    configs: list[Path]
    args: dict[str, Any]

    def depends_on(self) -> list[str]:
        """Names of the stages that this one reads."""
        text = json.dumps([self.positional, self.args])
        return sorted(set(_REFERENCE.findall(text)) - {"self"})

    def argv(self, folders: dict[str, Path]) -> list[str]:
        """The command line, without the program's name."""

        def fill(value: Any) -> str:
            text = value if isinstance(value, str) else json.dumps(value)
            return _REFERENCE.sub(lambda match: str(folders[match[1]]), text)

        words = [self.command, *map(fill, self.positional)]
        for config in self.configs:
            words += ["-c", str(config)]
        for key, value in self.args.items():
            words += [f"--{key}", fill(value)]
        return words


class Study(NamedTuple):
    """What a study YAML says."""

    name: str
    description: str
    stages: list[Stage]


def load_study(path: Path) -> Study:
    """Read and check a study YAML.

    Raises:
        UserError: missing file, not YAML, unknown or missing keys, missing configs, references to stages that do
            not stand above.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such study; the repository's are in experiments/studies/")
    content = read_yaml(path)
    _check_keys(path, "study", content, {"name", "description", "stages"}, {"name", "stages"})
    _check_keys(path, "stages", content["stages"])
    stages: list[Stage] = []
    for name, entry in content["stages"].items():
        _check_keys(path, f"stage {name}", entry, _STAGE_KEYS, {"command"})
        configs = [path.parent / config for config in entry.get("configs", [])]
        for config in configs:
            if not config.is_file():
                raise UserError(f"{path}: stage {name}: no such config {config}")
        stage = Stage(name, entry["command"], entry.get("positional", []), configs, entry.get("args", {}))
        known = {above.name for above in stages}
        if unknown := [other for other in stage.depends_on() if other not in known]:
            raise UserError(f"{path}: stage {name} refers to ${{{unknown[0]}}}, which is not a stage above it")
        stages.append(stage)
    return Study(content["name"], content.get("description", ""), stages)


def run_study(
    path: Path, root: Path, execute: Callable[[list[str]], CommandResult], say: Callable[[str], None]
) -> CommandResult:
    """Run what is not done yet, gather the results, write the report.

    Args:
        path: study YAML.
        root: studies live in ``root/<name>/``.
        execute: runs one command line.
        say: shows a line of progress.

    Raises:
        UserError: a stage failed; finished stages are kept, and the same command goes on from there.
    """
    study = load_study(path)
    home = root / study.name
    folders = {stage.name: home / stage.name for stage in study.stages}
    keys: dict[str, str] = {}
    records: list[dict] = []
    for number, stage in enumerate(study.stages, 1):
        folder = folders[stage.name]
        argv = stage.argv(folders | {"self": folder})
        keys[stage.name] = _stage_key(stage, keys)
        title = f"[{number}/{len(study.stages)}] {stage.name}"
        record = _finished(folder, keys[stage.name])
        if record is not None:
            say(f"{title}: done before, in {record['seconds']:.0f} s")
            record["cached"] = True
        else:
            say(f"{title}: cjepa {' '.join(argv)}")
            record = _run_stage(stage, folder, keys[stage.name], argv, execute)
            say(f"{title}: {record['seconds']:.0f} s")
        records.append(record)
    write_json(home / "study.json", {"name": study.name, "description": study.description, "stages": records})
    rows = [row for folder in folders.values() for row in _rows(folder)]
    write_json(home / "results.json", rows)
    report = build_report(home)
    new = sum(record["seconds"] for record in records if not record["cached"])
    lines = [
        f"{len(study.stages)} stages, {new:.0f} s of new work",
        f"results: {home / 'results.json'}",
        f"report: {report}",
    ]
    return CommandResult(lines, results_table(rows))


def _run_stage(
    stage: Stage, folder: Path, key: str, argv: list[str], execute: Callable[[list[str]], CommandResult]
) -> dict:
    _prepare(folder, key)
    started = time.time()
    try:
        execute(argv)
    except (UserError, argparse.ArgumentError) as error:
        raise UserError(f"stage {stage.name} failed: {error}") from error
    except Exception as error:  # a bug, or a machine that gave up: the study's user gets one line, the rest a file
        (folder / "traceback.txt").write_text(traceback.format_exc())
        what = f"{type(error).__name__}: {error}; see {folder / 'traceback.txt'}"
        raise UserError(f"stage {stage.name} failed: {what}") from error
    record = {
        "name": stage.name,
        "command": stage.command,
        "seconds": round(time.time() - started, 1),
        "peak_memory_mb": round(peak_memory_mb()),
        "folder": stage.name,
        "depends_on": stage.depends_on(),
        "cached": False,
        "key": key,
    }
    write_json(folder / "stage.json", record)
    return record


def _finished(folder: Path, key: str) -> dict | None:
    path = folder / "stage.json"
    record = read_json(path) if path.is_file() else {}
    return record if record.get("key") == key and "seconds" in record else None


def _prepare(folder: Path, key: str) -> None:
    """A folder to work in: what another configuration finished is set aside, what a kill left half done goes."""
    path = folder / "stage.json"
    before = read_json(path) if path.is_file() else {}
    if "seconds" in before:
        aside = folder.with_name(f"{folder.name}.{before['key'][:8]}")
        if aside.exists():  # the same configuration, set aside before
            shutil.rmtree(aside)
        folder.rename(aside)
    elif folder.exists() and before.get("key") != key:
        shutil.rmtree(folder)
    elif folder.exists():
        for child in folder.iterdir():
            if child.suffix != PARTS:  # finished parts of a collection are used again
                shutil.rmtree(child) if child.is_dir() else child.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {"key": key})


def _stage_key(stage: Stage, keys: dict[str, str]) -> str:
    configs = [read_yaml(config) for config in stage.configs]
    upstream = [keys[name] for name in stage.depends_on()]
    parts = [__version__, stage.command, stage.positional, configs, stage.args, upstream]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _rows(folder: Path) -> list[dict]:
    return [
        row for name in ("results.json", TEST_RESULTS) if (folder / name).is_file() for row in read_json(folder / name)
    ]


def _check_keys(
    path: Path, where: str, content: Any, allowed: set[str] | None = None, required: set[str] = frozenset()
) -> None:
    if not isinstance(content, dict):
        raise UserError(f"{path}: {where} is not a mapping" + (f" of {sorted(allowed)}" if allowed else ""))
    if allowed and (unknown := sorted(set(content) - allowed)):
        raise UserError(f"{path}: {where}: unknown key {unknown[0]!r}, expected some of {sorted(allowed)}")
    if missing := sorted(required - set(content)):
        raise UserError(f"{path}: {where}: the key {missing[0]!r} is missing")
