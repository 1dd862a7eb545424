"""What a comparison is of: the models of runs and studies, each with its rows, trials and training curves."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cjepa.errors import UserError
from cjepa.evaluation.planning.trials import Trials, merged, read_trials
from cjepa.reporting.distances import named_by_distance
from cjepa.reporting.page import TrainingRun, training_run
from cjepa.reporting.reading import read_results, read_study, record_of
from cjepa.reporting.staleness import Stale, stale
from cjepa.reporting.tables import Row

_OF_A_RUN = ("plan", "intervene")
"""Where `cjepa plan RUN` and `cjepa intervene RUN` write by default, inside of the run."""
_DISTANCE = re.compile(r"(?:^|-)goal-(\d+)$")
"""Ends the name of the folder of one of several distances."""


class Source(NamedTuple):
    """What one RUN or STUDY of the command line holds."""

    path: Path
    rows: list[Row]
    trials: dict[tuple[str, str], Trials]
    """By model and split."""
    curves: list[TrainingRun]
    outdated: list[Stale]
    folders: list[Path]
    """Of all trainings and evaluations."""


def read_sources(paths: Iterable[Path]) -> list[Source]:
    """Read everything that is to be compared; models that two sources both measured carry the source in their name.

    Raises:
        UserError: a folder is missing, given twice, holds no results, or one of its files is damaged.
    """
    paths = list(paths)
    twice = [path for path, count in Counter(path.resolve() for path in paths).items() if count > 1]
    if twice:
        raise UserError(f"{twice[0]}: given twice; compare different runs")
    sources = [_read(path) for path in paths]
    seen = Counter(key for source in sources for key in {_measured(row) for row in source.rows})
    clashing = {model for (model, *_), count in seen.items() if count > 1}
    labels = labels_of(paths)
    return [_renamed(source, clashing, label) for source, label in zip(sources, labels, strict=True)]


def is_study(path: Path) -> bool:
    """Whether a folder is that of a study."""
    return (path / "study.json").is_file()


def _read(path: Path) -> Source:
    if not path.is_dir():
        raise UserError(f"{path}: no such run or study folder")
    source = Source(path, [], {}, [], [], [])
    for name, folder in _folders(path):
        source.rows.extend(named_by_distance(read_results(folder)))
        for part in _parts(folder):
            _add_part(source, part, _DISTANCE.search(part.name) if part != folder else None)
        if (training := training_run(name, name, record_of(folder), folder)) is not None:
            source.curves.append(training)
    if not source.rows:
        stages = " of its stages" if is_study(path) else ""
        raise UserError(f"{path}: no results.json{stages}; finish it first, or repeat its `cjepa test` or `cjepa plan`")
    return source


def _add_part(source: Source, folder: Path, distance: re.Match | None) -> None:
    """Add the trials of one evaluation or training, and whether it is out of date."""
    record, rows = record_of(folder), read_results(folder)
    source.folders.append(folder)
    split = next((row.get("split") or "" for row in rows if row["metric"] == "success"), "")
    for model, trials in read_trials(folder, record).items():
        key = (f"{model}, goal +{distance[1]}" if distance else model), split
        source.trials[key] = merged(source.trials[key], trials) if key in source.trials else trials
    if rows and (old := stale(str(folder), record)) is not None:
        source.outdated.append(old)


def _folders(path: Path) -> Iterator[tuple[str, Path]]:
    """Folders with results, each with the name of its run."""
    if not is_study(path):
        yield path.resolve().name, path
        yield from ((part, path / part) for part in _OF_A_RUN if (path / part).is_dir())
        return
    if "format" not in read_study(path / "study.json") and (path / "results.json").is_file():
        yield path.resolve().name, path  # one evaluation in several parts: its own rows are those of all of them
        return
    yield from _stages(path)


def _parts(folder: Path) -> list[Path]:
    """Where the trials of a run are: evaluations of several shifts, seeds or distances have a folder for each."""
    return [part for _, part in _stages(folder)] if is_study(folder) else [folder]


def _stages(path: Path) -> Iterator[tuple[str, Path]]:
    for stage in read_study(path / "study.json")["stages"]:
        yield stage["name"], path / (stage.get("folder") or stage["name"])


def _measured(row: Row) -> tuple[str, str, str]:
    return row["model"], row["metric"], row.get("split") or ""


def labels_of(paths: list[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    parts = [path.resolve().parts for path in paths]
    length = 1
    while len({part[-length:] for part in parts}) < len(parts):
        length += 1
    return ["/".join(part[-length:]) for part in parts]


def _renamed(source: Source, clashing: set[str], label: str) -> Source:
    """With names that no other source has."""
    own, folder = {row["model"] for row in source.rows}, source.path.resolve().name
    names = {
        model: label if len(own) == 1 or model == folder else f"{model} ({label})" for model in own if model in clashing
    }
    rows = [row | {"model": names.get(row["model"], row["model"])} for row in source.rows]
    trials = {(names.get(model, model), split): found for (model, split), found in source.trials.items()}
    curves = [run._replace(name=names.get(run.name, run.name)) for run in source.curves]
    return source._replace(rows=rows, trials=trials, curves=curves)
