"""What a study YAML says: its schema, checked in one place, and the stages that it defines."""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cjepa.configuration.yaml_files import read_yaml
from cjepa.errors import UserError
from cjepa.studies.matrix import expand
from cjepa.studies.resources import Resources

STUDY_FILES = ("study.json", "results.json", "report.html")
"""What a study writes into its own folder, beside the folders of its stages."""
MAX_STAGES = 1000

_STUDY_KEYS = {"name", "description", "stages"}
_STAGE_KEYS = {"matrix", "command", "positional", "configs", "args", "resources"}
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_OPTION = re.compile(r"[A-Za-z_][\w.-]*\+?")
_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_HELP = {"help", "print_config", "print_shtab"}


class Stage(NamedTuple):
    """One command with its configs and arguments; ``${name}`` in them is the folder of stage ``name``."""

    name: str
    command: str
    positional: list[Any]
    configs: list[Path]
    args: dict[str, Any]
    resources: Resources = Resources()
    """They do not decide what the stage makes."""
    series: str = ""
    """See :class:`~cjepa.studies.matrix.Expanded`; it decides nothing either."""

    def references(self) -> list[str]:
        """Every name in ``${}``, in order of the alphabet."""
        return sorted({name for text in _texts([self.positional, self.args]) for name in _REFERENCE.findall(text)})

    def depends_on(self) -> list[str]:
        """Names of the stages that this one reads."""
        return [name for name in self.references() if name != "self"]

    def argv(self, folders: Mapping[str, Path]) -> list[str]:
        """The command line, without the program's name.

        Args:
            folders: of every stage that it refers to, and its own as ``self``.
        """
        words = [self.command, *(_word(value, folders) for value in self.positional)]
        for config in self.configs:
            words += ["-c", str(config)]
        for key, value in self.args.items():
            words += [f"--{key}", _word(value, folders)]
        return words


class Study(NamedTuple):
    """What a study YAML says."""

    name: str
    description: str
    stages: list[Stage]


def load_study(path: Path) -> Study:
    """Read and check a study YAML.

    Raises:
        UserError: missing file, not YAML, anything that is not as docs/studies.md says; one line with file, stage, key.
    """
    if not path.is_file():
        where = "the repository's are in experiments/studies/, which `cjepa init .` copies here"
        raise UserError(f"{path}: no such study; {where}")
    try:
        return _study(read_yaml(path), path.parent)
    except _Mistake as mistake:
        raise UserError(f"{path}: {mistake}") from None


class _Mistake(ValueError):
    """What is wrong, without the file."""


def _study(content: Any, home: Path) -> Study:
    _check_keys("study", content, _STUDY_KEYS, {"name", "stages"})
    name = content["name"]
    _check_word("name", name)
    description = content.get("description", "")
    _check_text("description", description)
    entries = content["stages"]
    if not isinstance(entries, dict) or not entries:
        raise _Mistake("stages is not a mapping of names to stages")
    stages: list[Stage] = []
    for template, entry in entries.items():
        for stage in _stages(template, entry, home):
            _check_against(stage, stages)
            stages.append(stage)
    return Study(name, description, stages)


def _stages(template: Any, entry: Any, home: Path) -> Iterator[Stage]:
    _check_text("the name of a stage", template)
    where = f"stage {template[:100]}"
    _check_keys(where, entry, _STAGE_KEYS, {"command"})
    _check_value(where, entry)
    try:
        expanded = expand(template, entry, MAX_STAGES)
    except ValueError as error:
        raise _Mistake(f"{where}: {error}") from None
    for name, series, content in expanded:
        yield _stage(name, content, home)._replace(series=series)


def _stage(name: str, entry: dict[str, Any], home: Path) -> Stage:
    where = f"stage {name}"
    _check_word("the name of a stage", name)
    if name == "self" or name in STUDY_FILES:
        raise _Mistake(f"{where}: {name} is a name that a study uses itself; choose another")
    _check_word(f"{where}: command", entry["command"])
    positional, configs, args = entry.get("positional", []), entry.get("configs", []), entry.get("args", {})
    for key, value in (("positional", positional), ("configs", configs)):
        if not isinstance(value, list):
            raise _Mistake(f"{where}: {key} is not a list")
    for value in positional:
        if not isinstance(value, str | int | float) or str(value).startswith("-"):
            raise _Mistake(f"{where}: {_short(value)} in positional is not a word; options belong into args")
    for value in configs:
        if not isinstance(value, str) or not (home / value).is_file():
            raise _Mistake(f"{where}: no such config {home / str(value)}")
    _check_args(where, args)
    resources = _resources(where, entry.get("resources", {}))
    return Stage(name, entry["command"], positional, [_short_path(home / value) for value in configs], args, resources)


def _short_path(path: Path) -> Path:
    """Without ``folder/..`` where that leads to the same file: a folder may be a link."""
    short = Path(os.path.normpath(path))
    return short if short.is_file() and short.samefile(path) else path


def _resources(where: str, declared: Any) -> Resources:
    _check_keys(f"{where}: resources", declared, set(Resources._fields), set())
    for key, value in declared.items():
        what = {"cpus": "a whole number from 1", "gpus": "a whole number from 0", "memory_gb": "a number above 0"}[key]
        is_number = type(value) is int or (key == "memory_gb" and type(value) is float)
        if not is_number or value < 0 or (value == 0 and key != "gpus"):
            raise _Mistake(f"{where}: {key} in resources is {_short(value)}, expected {what}")
    return Resources(**declared)


def _check_args(where: str, args: Any) -> None:
    if not isinstance(args, dict):
        raise _Mistake(f"{where}: args is not a mapping of options to values")
    for key, value in args.items():
        if not _OPTION.fullmatch(key):
            raise _Mistake(f"{where}: {_short(key)} in args is not the name of an option, without -- in front")
        if key.rpartition(".")[2] in _HELP or value in ("-h", "--help"):
            raise _Mistake(f"{where}: {key} in args shows something and does no work; a stage has to do its work")


def _check_against(stage: Stage, above: list[Stage]) -> None:
    names = {other.name for other in above}
    if stage.name in names:
        raise _Mistake(f"two stages are named {stage.name}; with a matrix, put ${{matrix.KEY}} into the name")
    if len(above) == MAX_STAGES:
        raise _Mistake(f"more than {MAX_STAGES:,} stages")
    if unknown := [other for other in stage.depends_on() if other not in names]:
        raise _Mistake(f"stage {stage.name} refers to ${{{unknown[0]}}}, which is not a stage above it")


def _check_keys(where: str, content: Any, allowed: set[str], required: set[str]) -> None:
    if not isinstance(content, dict):
        raise _Mistake(f"{where} is not a mapping of {sorted(allowed)}")
    if unknown := [key for key in content if key not in allowed]:
        raise _Mistake(f"{where}: unknown key {_short(unknown[0])}, expected some of {sorted(allowed)}")
    if missing := sorted(required - set(content)):
        raise _Mistake(f"{where}: the key {missing[0]!r} is missing")


def _check_word(where: str, value: Any) -> None:
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        what = "a plain word: letters, digits, - _ . (100 at most, the first a letter, a digit or _)"
        raise _Mistake(f"{where} is {_short(value)}, expected {what}")


def _check_text(where: str, value: Any) -> None:
    if not isinstance(value, str):
        raise _Mistake(f"{where} is {_short(value)}, expected text; put it in quotes")
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded:  # neither a file nor a command line can hold it
        raise _Mistake(f"{where}: {_short(value)} has characters that are not text")


def _check_value(where: str, value: Any) -> None:
    """Text, numbers, true, false and null, in lists and in mappings with text for keys; dates and others are not."""
    if isinstance(value, dict):
        for key, entry in value.items():
            _check_text(f"{where}: a key", key)
            _check_value(f"{where}: {key}", entry)
    elif isinstance(value, list):
        for entry in value:
            _check_value(where, entry)
    elif isinstance(value, str):
        _check_text(where, value)
    elif not isinstance(value, bool | int | float | None) or (isinstance(value, float) and not math.isfinite(value)):
        raise _Mistake(f"{where} is {_short(value)}, expected text or a finite number; put dates in quotes")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts([*value.keys(), *value.values()])
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _word(value: Any, folders: Mapping[str, Path]) -> str:
    filled = _filled(value, folders)
    return filled if isinstance(filled, str) else json.dumps(filled)


def _filled(value: Any, folders: Mapping[str, Path]) -> Any:
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: str(folders[match[1]]), value)
    if isinstance(value, dict):
        return {_filled(key, folders): _filled(entry, folders) for key, entry in value.items()}
    return [_filled(entry, folders) for entry in value] if isinstance(value, list) else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
