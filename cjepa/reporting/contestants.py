"""What a comparison is of: the models of runs and studies, each with its rows, trials and training curves."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cjepa.errors import UserError
from cjepa.evaluation.trials import Trials, merged, read_trials
from cjepa.reporting.distances import named_by_distance
from cjepa.reporting.page import TrainingRun
from cjepa.reporting.reading import read_results, read_rows, read_study, record_of
from cjepa.reporting.staleness import Stale, stale
from cjepa.reporting.tables import Row

_OF_A_RUN = ("plan", "intervene")
"""Where `cjepa plan RUN` and `cjepa intervene RUN` write by default, inside of the run."""


class Source(NamedTuple):
    """What one RUN or STUDY of the command line holds."""

    path: Path
    rows: list[Row]
    trials: dict[tuple[str, str], Trials]
    """By model and split."""
    curves: list[TrainingRun]
    outdated: list[Stale]


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
    source = Source(path, [], {}, [], [])
    for name, folder in _folders(path):
        record, rows = record_of(folder), read_results(folder)
        source.rows.extend(named_by_distance(rows))
        for model, split, trials in _trials(folder, record, rows):
            earlier = source.trials.get((model, split))
            source.trials[model, split] = trials if earlier is None else merged(earlier, trials)
        if rows and (old := stale(str(folder), record)) is not None:
            source.outdated.append(old)
        if (folder / "metrics.csv").is_file():
            kind = (record.get("model") or {}).get("class") or name
            source.curves.append(TrainingRun(name, str(kind), folder / "metrics.csv"))
    if not source.rows:
        stages = " of its stages" if is_study(path) else ""
        raise UserError(f"{path}: no results.json{stages}; finish it first, or repeat its `cjepa test` or `cjepa plan`")
    return source


def _folders(path: Path) -> Iterator[tuple[str, Path]]:
    """Folders with results, each with the name of its run."""
    if not is_study(path):
        yield path.resolve().name, path
        yield from ((part, path / part) for part in _OF_A_RUN if (path / part).is_dir())
        return
    study = read_study(path / "study.json")
    if (path / "results.json").is_file() and any("goal_env_steps" in row for row in read_rows(path / "results.json")):
        yield path.resolve().name, path  # one evaluation at several distances: its rows say which
        return
    for stage in study["stages"]:
        yield stage["name"], path / (stage.get("folder") or stage["name"])


def _trials(folder: Path, record: dict, rows: list[Row]) -> Iterator[tuple[str, str, Trials]]:
    """Trials of a folder by model and split; those of several distances are in folders of their own."""
    split = next((row.get("split") or "" for row in rows if row["metric"] == "success"), "")
    yield from ((model, split, trials) for model, trials in read_trials(folder, record).items())
    for part in sorted(folder.glob("goal-*/trials.csv")):
        distance = part.parent.name.removeprefix("goal-")
        for model, trials in read_trials(part.parent, record_of(part.parent)).items():
            yield f"{model}, goal +{distance}", split, trials


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
