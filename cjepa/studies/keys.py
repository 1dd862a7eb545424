"""What decides the outcome of a stage: its settings, its inputs, its code, and the stages that it reads."""

import functools
import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from cjepa.configuration.moved import current
from cjepa.configuration.run_config import TESTING_VERBS
from cjepa.configuration.yaml_files import read_yaml
from cjepa.errors import UserError
from cjepa.studies.code import CodeReader, command_module
from cjepa.studies.definition import Stage
from cjepa.studies.inputs import config_beside, described, fingerprint, run_checkpoint, texts

_YAML = (".yaml", ".yml")


class MadeFrom(NamedTuple):
    """Everything that a stage is made from; a change of any part makes another stage of it."""

    settings: str
    """Digest of its command, arguments and configs."""
    inputs: dict[str, str]
    """Fingerprints of files, folders and runs from outside of the study, as the settings name them."""
    code: dict[str, str]
    """Digests of the files of its code, by the names of their modules."""
    stages: dict[str, str]
    """Keys of the stages that it reads, by name."""

    @property
    def key(self) -> str:
        """Digest of all of it."""
        return _digest(self._asdict())

    def changes(self, before: Any) -> str:
        """What has changed, in a few words.

        Args:
            before: the same as plain values, of an earlier run; None of a stage that an older version has made.
        """
        parts = ("inputs", "code", "stages")
        if not isinstance(before, dict) or not all(isinstance(before.get(part), dict) for part in parts):
            return "made by an older version, which did not record its code"
        found = ["its settings"] if before.get("settings") != self.settings else []
        for part in parts:
            old, new = before[part], getattr(self, part)
            found += sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        return f"changed: {', '.join(found[:3])}{more}"


def all_made_from(stages: Sequence[Stage]) -> dict[str, MadeFrom]:
    """For each stage what it is made from, by name.

    Args:
        stages: every stage after those that it reads.

    Raises:
        UserError: a config is not YAML.
    """
    now = Now()
    found: dict[str, MadeFrom] = {}
    for stage in stages:
        found[stage.name] = now.made_from(stage, {name: found[name].key for name in stage.depends_on()})
    return found


class Now:
    """What files and code are at this moment; each is read once."""

    def __init__(self):
        self._reader, self._fingerprint = CodeReader(), functools.cache(fingerprint)

    def made_from(self, stage: Stage, upstream: dict[str, str]) -> MadeFrom:
        """All that decides what a stage makes.

        Args:
            stage: that would start now.
            upstream: keys of the stages that it reads, by name.

        Raises:
            UserError: a config is not YAML.
        """
        configs = [read_yaml(config) for config in stage.configs]
        parts = [stage.command, stage.positional, [_with_text_keys(config) for config in configs], stage.args]
        near = [_beside(config, said) for config, said in zip(stage.configs, configs, strict=True)]
        settings = _merged([*_tested_with(stage), *configs], stage.args)
        words, inputs = self._inputs([stage.positional, settings, near])
        runs = [checkpoint for word in inputs if (checkpoint := run_checkpoint(word)) is not None]
        named = texts(current([*words, *(entry for run in runs for entry in described(run))]))
        code = self._reader.code_of([command_module(stage.command, stage.positional)], named)
        return MadeFrom(_digest(parts), inputs, code, upstream)

    def _inputs(self, settings: Any) -> tuple[list[str], dict[str, str]]:
        """All texts of the settings and of the YAML files that they name, and the fingerprints of the files."""
        inputs: dict[str, str] = {}
        seen: set[str] = set()
        waiting = set(texts(settings))
        while waiting:
            word = waiting.pop()
            seen.add(word)
            if "${" in word or (mark := self._fingerprint(word)) is None:
                continue
            inputs[word] = mark
            if word.endswith(_YAML) and os.path.isfile(word):
                with suppress(UserError):  # it counts by its content; the stage will say what is wrong with it
                    said = read_yaml(Path(word))
                    waiting |= {*texts(said), *_beside(Path(word), said)} - seen
        words = sorted(word for word in seen if "${" not in word)
        return words, {word: inputs[word] for word in words if word in inputs}


def _tested_with(stage: Stage) -> list[Any]:
    """The config of the run that a stage tests, which names the data; of other commands nothing."""
    tested = stage.positional[:1] if stage.command in TESTING_VERBS else []
    return [read_yaml(path) for run in map(str, tested) if (path := config_beside(run)) is not None]


def _beside(file: Path, said: Any) -> list[str]:
    """YAML files that a YAML file names from its own folder, where the parser of commands looks for parts of it."""
    named = [file.parent / text for text in texts(said) if text.endswith(_YAML)]
    return [os.path.normpath(path) for path in named if os.path.isfile(path)]


def _merged(configs: Sequence[Any], args: dict[str, Any]) -> dict[str, Any]:
    """The settings that are left where later configs and arguments replace earlier ones."""
    merged: dict[str, Any] = {}
    for config in configs:
        _merge(merged, config if isinstance(config, dict) else {})
    for key, value in args.items():
        *parents, last = key.split(".")
        for parent in reversed(parents):
            value = {last: value}
            last = parent
        _merge(merged, {last: value})
    return merged


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = _merged([value], {}) if isinstance(value, dict) else value


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _with_text_keys(value: Any) -> Any:
    """Keys of different types cannot be sorted."""
    if isinstance(value, dict):
        return {f"{type(key).__name__} {key}": _with_text_keys(entry) for key, entry in value.items()}
    return [_with_text_keys(entry) for entry in value] if isinstance(value, list) else value
