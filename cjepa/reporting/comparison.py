"""Models side by side: every metric that two of them share, and its difference to one of them."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cjepa.counts import number_of
from cjepa.errors import UserError
from cjepa.evaluation.intervals import Interval, unpaired_difference
from cjepa.evaluation.planning.trials import Trials, difference_by_pair
from cjepa.reporting.contestants import Source, is_study
from cjepa.reporting.tables import Row, by_model, csv_text, difference_text, interval_of, is_main, value_with_interval

_NO_SCORES = ("success_difference", "skipped_trivial_pairs", "solved_at_start")
"""Metrics that say nothing of the model alone."""
_INSTEAD_OF_SUCCESS = "final_goal_distance"
_UNPAIRED = "unpaired"
_COLUMNS = ("metric", "split", "unit", "model", "value", "low", "high", "n")
_OF_DIFFERENCES = ("against", "difference", "difference_low", "difference_high", "difference_n", "over")


class Difference(NamedTuple):
    """A value minus that of the reference."""

    interval: Interval
    over: str
    """``50 pairs``, or ``unpaired`` and why."""

    @property
    def is_paired(self) -> bool:
        """Whether both values are of the same trials."""
        return not self.over.startswith(_UNPAIRED)

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval is on one side of 0; 0 where it is not, or there is none."""
        low, high = self.interval.bounds
        return 0 if low is None or low <= 0 <= high else int(math.copysign(1, self.interval.value))


class Entry(NamedTuple):
    """One metric of one model."""

    metric: str
    split: str
    row: Row
    difference: Difference | None
    """None for the reference itself, and where the reference has no value."""

    @property
    def is_main(self) -> bool:
        """Whether it decides: a main metric, or what is reported instead of success where a goal is only a picture."""
        return is_main(self.row) or self.metric == _INSTEAD_OF_SUCCESS


class Comparison(NamedTuple):
    """All metrics that several models share."""

    reference: str
    entries: list[Entry]
    """By metric, in order of appearance."""

    @property
    def main(self) -> list[Entry]:
        """Entries of the main metrics; all where there are none."""
        return [entry for entry in self.entries if entry.is_main] or self.entries


def compare(sources: Sequence[Source], against: str | None = None) -> Comparison:
    """The metrics that at least two models share, with differences to one model.

    Args:
        sources: of the models.
        against: the model, or the path of a source with one model; default the first model that shares a metric.

    Raises:
        UserError: there is no such model, nothing is shared, or a run shares no metric with the others.
    """
    rows = [row for source in sources for row in source.rows if row["metric"] not in _NO_SCORES]
    trials = {key: found for source in sources for key, found in source.trials.items()}
    shared = list(_shared(rows))
    _check_kinds(sources, {model for _, _, found in shared for model in found})
    models = list(dict.fromkeys(row["model"] for row in rows if any(row["model"] in found for *_, found in shared)))
    reference = models[0] if against is None else _named(against, sources, models)
    entries = [
        Entry(metric, split, row, _difference(metric, split, row, found.get(reference), trials))
        for metric, split, found in shared
        for row in found.values()
    ]
    return Comparison(reference, entries)


def table(entries: Sequence[Entry], reference: str) -> list[list[str]]:
    """The entries as text, header first."""
    splits = {entry.split for entry in entries}
    header = ["metric", "model", "value [95 %]", "n", f"minus {reference} [95 %]", "over"]
    body = []
    for entry in entries:
        change = entry.difference
        differs = ["", ""] if change is None else [difference_text(change.interval), change.over]
        metric = f"{entry.metric} ({entry.split})" if len(splits) > 1 and entry.split else entry.metric
        n = entry.row.get("n")
        body.append([metric, entry.row["model"], value_with_interval(entry.row), "" if n is None else str(n), *differs])
    return [header, *body]


def to_markdown(cells: Sequence[Sequence[str]]) -> str:
    """A table of text, header first, as Markdown."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") or "–" for cell in row) + " |" for row in cells]
    return "\n".join([lines[0], "| " + " | ".join("---" for _ in cells[0]) + " |", *lines[1:]]) + "\n"


def to_csv(comparison: Comparison) -> str:
    """One line per entry with all digits, for programs."""
    lines = [[*_COLUMNS, *_OF_DIFFERENCES]]
    for entry in comparison.entries:
        values = [entry.row.get(name) for name in _COLUMNS]
        differs: list = [None] * len(_OF_DIFFERENCES)
        if entry.difference is not None:
            interval, over = entry.difference
            differs = [comparison.reference, interval.value, *interval.bounds, interval.n, over]
        lines.append([*values, *differs])
    return csv_text(lines)


def _shared(rows: Sequence[Row]) -> Iterator[tuple[str, str, dict[str, Row]]]:
    """Metric, split, and the rows of the models that have both."""
    for metric, split in dict.fromkeys((row["metric"], row.get("split") or "") for row in rows):
        found = by_model((row for row in rows if (row.get("split") or "") == split), metric)
        if len(found) > 1:
            yield metric, split, found


def _check_kinds(sources: Sequence[Source], sharing: set[str]) -> None:
    if not sharing:
        if len(sources) == 1:
            raise UserError(f"{sources[0].path}: no two models share a metric; give another run to compare with")
        names = " and ".join(f"{source.path} ({_metrics(source)})" for source in sources[:2])
        raise UserError(f"no metric in common: {names}; compare runs of one kind, evaluated on the same split")
    for source in sources:
        if not is_study(source.path) and not any(row["model"] in sharing for row in source.rows):
            raise UserError(
                f"{source.path} ({_metrics(source)}): no metric in common with the other runs; compare runs of one "
                "kind, evaluated on the same split"
            )


def _metrics(source: Source) -> str:
    """The first metrics of a source, with their split."""
    named = list(dict.fromkeys(f"{row['metric']} of {row.get('split') or 'no split'}" for row in source.rows))
    return ", ".join(named[:2]) + (", ..." if len(named) > 2 else "")


def _named(against: str, sources: Sequence[Source], models: Sequence[str]) -> str:
    if against in models:
        return against
    for source in sources:
        own = list(dict.fromkeys(row["model"] for row in source.rows if row["model"] in models))
        if source.path == Path(against) and own:
            if len(own) > 1:
                raise UserError(f"--against {against}: it has several models; give one of {', '.join(own)}")
            return own[0]
    raise UserError(f"--against {against}: not one of the models that are compared: {', '.join(models)}")


def _difference(
    metric: str, split: str, row: Row, reference: Row | None, trials: dict[tuple[str, str], Trials]
) -> Difference | None:
    if reference is None or row["model"] == reference["model"]:
        return None
    mine, theirs = (trials.get((one["model"], split)) for one in (row, reference))
    if mine is None or theirs is None:
        return Difference(unpaired_difference(interval_of(row), interval_of(reference)), _UNPAIRED)
    found = difference_by_pair(mine, theirs, metric)
    if isinstance(found, Interval):
        return Difference(found, number_of(found.n, "pair"))
    reason = f"{_UNPAIRED}: {found}" if metric in mine.values or metric in theirs.values else _UNPAIRED
    return Difference(unpaired_difference(interval_of(row), interval_of(reference)), reason)
