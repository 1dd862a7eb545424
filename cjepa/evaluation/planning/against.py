"""Another evaluation of the same trials, to compare success with, pair by pair."""

import csv
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cjepa.errors import UserError
from cjepa.evaluation.planning.pairs import Pairs
from cjepa.evaluation.planning.protocol import PlanningProtocol
from cjepa.files import read_json, read_text

_SHARED = ("published_protocol", "goal_state", "goal_text", "shift", "goal_env_steps", "budget_env_steps")
"""What both evaluations have to have alike; the default where an older record does not say."""


class Rival(NamedTuple):
    """What another agent made of the same trials."""

    model: str
    run: str
    """Name of the folder of its results."""
    success_N: np.ndarray
    """bool, in the order of the pairs."""


def check_rivals(protocol: PlanningProtocol) -> None:
    """Check what can be known of ``--against`` before the pairs are drawn.

    Raises:
        UserError: its folder has no trials, or they are of other goals or of another protocol.
    """
    if protocol.against is not None:
        _table(Path(protocol.against), protocol)


def read_rivals(folder: Path, pairs: Pairs, protocol: PlanningProtocol, fingerprint: str) -> list[Rival]:
    """The agents of an evaluation's ``trials.csv``.

    Args:
        folder: of the evaluation.
        pairs: that the trials have to be of.
        protocol: of this evaluation. Tables do not name goal and source of the pairs, but ``run.json`` does.
        fingerprint: of the episodes of this evaluation.

    Raises:
        UserError: the folder has no such table, the trials are of other episodes, pairs or goals or of another
            protocol, or their success is unknown.
    """
    path = _table(folder, protocol, fingerprint)
    expected = [(str(pair.episode), str(pair.start_row)) for pair in pairs.trials]
    found: dict[str, list[tuple[str | None, ...]]] = {}
    try:
        for row in csv.DictReader(StringIO(read_text(path), newline="")):
            found.setdefault(row.get("model") or "", []).append(
                tuple(row.get(name) for name in ("episode", "start_row", "success"))
            )
    except csv.Error as error:
        raise UserError(f"--against: {path}: not a table ({error})") from None
    if not found:
        raise UserError(f"--against: {path} has no trials")
    for model, trials in found.items():
        if [trial[:2] for trial in trials] != expected:
            raise UserError(
                f"--against: {path}: trials of {model} ({len(trials)}) are not the pairs of this evaluation "
                f"({len(expected)}); use the same episodes, split, --pairs, --goal_env_steps and --seed"
            )
        if any(success not in ("0", "1") for _, _, success in trials):
            raise UserError(f"--against: {path}: success of {model} is unknown, expected 0 or 1 in every trial")
    return [
        Rival(model, folder.resolve().name, np.array([success == "1" for _, _, success in trials]))
        for model, trials in found.items()
    ]


def _table(folder: Path, protocol: PlanningProtocol, fingerprint: str | None = None) -> Path:
    path = folder / "trials.csv"
    if not path.is_file():
        raise UserError(f"--against: {path} does not exist; give the --out folder of `cjepa plan` or `plan-baselines`")
    _check_record(folder / "run.json", protocol, fingerprint)
    return path


def _check_record(record: Path, protocol: PlanningProtocol, fingerprint: str | None) -> None:
    """The same starts may have had other goals or more time; a folder without a record is taken at its word."""
    if not record.is_file():
        return
    content = read_json(record)
    evaluation, data = (_mapping(content, name) for name in ("evaluation", "data"))
    for name in _SHARED:
        earlier, now = evaluation.get(name, getattr(PlanningProtocol, name)), getattr(protocol, name)
        if earlier != now:
            raise UserError(
                f"--against: {record}: {name} is {earlier}, but that of this evaluation is {now}; use the same --{name}"
            )
    earlier = data.get("fingerprint")
    if None not in (earlier, fingerprint) and earlier != fingerprint:
        raise UserError(
            f"--against: {record}: the fingerprint of its episodes is {earlier}, but {protocol.episodes} has "
            f"{fingerprint}; use the same --episodes"
        )


def _mapping(record: Any, name: str) -> dict[str, Any]:
    found = record.get(name) if isinstance(record, dict) else None
    return found if isinstance(found, dict) else {}
