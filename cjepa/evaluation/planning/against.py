"""Another evaluation of the same trials, to compare success with, pair by pair."""

import csv
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cjepa.errors import UserError
from cjepa.evaluation.planning.pairs import Pairs
from cjepa.evaluation.planning.protocol import PlanningProtocol
from cjepa.files import read_json, read_text


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


def read_rivals(folder: Path, pairs: Pairs, protocol: PlanningProtocol) -> list[Rival]:
    """The agents of an evaluation's ``trials.csv``.

    Args:
        folder: of the evaluation.
        pairs: that the trials have to be of.
        protocol: of this evaluation. Tables do not name goal and source of the pairs, but ``run.json`` does.

    Raises:
        UserError: the folder has no such table, the trials are of other pairs or goals or of another
            protocol, or their success is unknown.
    """
    path = _table(folder, protocol)
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
                f"--against: {path}: the {len(trials)} trials of {model} are not the {len(expected)} pairs of this "
                "evaluation; use the same episodes, split, --pairs, --goal_env_steps and --seed"
            )
        if any(success not in ("0", "1") for _, _, success in trials):
            raise UserError(f"--against: {path}: success of {model} is unknown, expected 0 or 1 in every trial")
    return [
        Rival(model, folder.resolve().name, np.array([success == "1" for _, _, success in trials]))
        for model, trials in found.items()
    ]


def _table(folder: Path, protocol: PlanningProtocol) -> Path:
    path = folder / "trials.csv"
    if not path.is_file():
        raise UserError(f"--against: {path} does not exist; give the --out folder of `cjepa plan` or `plan-baselines`")
    _check_record(folder / "run.json", protocol)
    return path


def _check_record(record: Path, protocol: PlanningProtocol) -> None:
    """The same starts may have had other goals; a folder without a record is taken at its word."""
    if not record.is_file():
        return
    content = read_json(record)
    evaluation = content.get("evaluation") if isinstance(content, dict) else None
    for name, default in (("published_protocol", False), ("goal_state", None), ("goal_text", None), ("shift", None)):
        earlier = evaluation.get(name, default) if isinstance(evaluation, dict) else default
        now = getattr(protocol, name)
        if earlier != now:
            raise UserError(
                f"--against: {record}: {name} is {earlier}, but that of this evaluation is {now}; use the same --{name}"
            )
