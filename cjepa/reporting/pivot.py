"""Result rows -> tables that are read across models: one row a model, one column a metric."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from cjepa.evaluation.planning.published import PUBLISHED_SPLIT
from cjepa.reporting.tables import Row, by_model, is_main, value_with_interval

_MOST_METRICS = 7  # of one table; more would not fit a page
_SPLITS = {"test": "test split", "val": "validation split", PUBLISHED_SPLIT: "pairs of training episodes, as published"}


class Cell(NamedTuple):
    """Text, and what belongs below it in small letters."""

    text: str
    note: str = ""


class Table(NamedTuple):
    """A table of a report."""

    caption: str
    header: list[Cell]
    rows: list[list[Cell]]


def plain_table(cells: Sequence[Sequence[str]], caption: str = "") -> Table | None:
    """A table of text, header first; None without rows."""
    if not cells:
        return None
    header, *rows = ([Cell(text) for text in row] for row in cells)
    return Table(caption, header, rows)


def measure_tables(rows: Iterable[Row]) -> list[Table]:
    """Every metric that the main table leaves out.

    Each split has tables of its own, and so have models that share no metric with the others. A model that stands
    alone has one row a metric.
    """
    tables = []
    for split, measured in _by_split(row for row in rows if not is_main(row)).items():
        for models in _related(measured):
            found = [row for row in measured if row["model"] in models]
            tables += _across(found, models, split) if len(models) > 1 else [_alone(found, models[0], split)]
    return tables


def _by_split(rows: Iterable[Row]) -> dict[str, list[Row]]:
    splits: dict[str, list[Row]] = {}
    for row in rows:
        name = row.get("split") or ""
        splits.setdefault(_SPLITS.get(name, name), []).append(row)
    return splits


def _related(rows: list[Row]) -> list[list[str]]:
    """Models in groups: whoever shares a metric with one of a group belongs to it; all in order of appearance."""
    groups: list[tuple[list[str], set[str]]] = []
    for model in dict.fromkeys(row["model"] for row in rows):
        metrics = {row["metric"] for row in rows if row["model"] == model}
        near = [group for group in groups if group[1] & metrics]
        groups = [group for group in groups if not group[1] & metrics]
        models = [name for names, _ in near for name in names]
        groups.append(([*models, model], metrics.union(*(shared for _, shared in near))))
    order = {model: place for place, model in enumerate(dict.fromkeys(row["model"] for row in rows))}
    return sorted((sorted(models, key=order.get) for models, _ in groups), key=lambda models: order[models[0]])


def _across(rows: list[Row], models: list[str], split: str) -> list[Table]:
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    parts = [metrics[first : first + _MOST_METRICS] for first in range(0, len(metrics), _MOST_METRICS)]
    return [pivot([row for row in rows if row["metric"] in part], models, part, split) for part in parts]


def as_text(table: Table) -> list[list[str]]:
    """The cells without their notes, header first, as the command line shows them."""
    return [[cell.text for cell in row] for row in [table.header, *table.rows]]


def pivot(rows: list[Row], models: list[str], metrics: list[str], caption: str) -> Table:
    """One row a model, one column a metric.

    Args:
        rows: of these metrics.
        models: in this order.
        metrics: in this order.
        caption: of the table; the number of trials is added where all share it.
    """
    values = {metric: by_model(rows, metric) for metric in metrics}
    units = {metric: _only(row.get("unit") for row in rows if row["metric"] == metric) for metric in metrics}
    count = _only(row.get("n") for found in values.values() for row in found.values())
    body = []
    for model in models:
        cells = []
        for metric in metrics:
            row = values[metric].get(model)
            unit = "" if row is None or units[metric] is not None else str(row.get("unit") or "")
            notes = [unit, _runs(row), "" if count is not None else _trials(row)]
            cells.append(Cell(value_with_interval(row), ", ".join(filter(None, notes))))
        body.append([Cell(model), *cells])
    header = [Cell("model"), *(Cell(metric, units[metric] or "") for metric in metrics)]
    return Table(", ".join(filter(None, [caption, f"n = {count}" if count else ""])), header, body)


def _alone(rows: list[Row], model: str, split: str) -> Table:
    body = []
    for metric in dict.fromkeys(row["metric"] for row in rows):
        row = by_model(rows, metric).get(model)
        unit = "" if row is None else str(row.get("unit") or "")
        cells = [Cell(metric), Cell(value_with_interval(row), _runs(row)), Cell(unit)]
        body.append([*cells, Cell(_trials(row).removeprefix("n = "))])
    header = [Cell("metric"), Cell("value [95 %]"), Cell("unit"), Cell("n")]
    kept = [place for place in range(len(header)) if any(row[place].text for row in body)]
    caption = ", ".join(filter(None, [model, split]))
    return Table(caption, [header[place] for place in kept], [[row[place] for place in kept] for row in body])


def _only(values: Iterable[Any]) -> Any:
    """The value that all share, or None."""
    found = set(values)
    return found.pop() if len(found) == 1 else None


def _trials(row: Row | None) -> str:
    return "" if row is None or row.get("n") is None else f"n = {row['n']}"


def _runs(row: Row | None) -> str:
    """How many runs or seeds a value is the mean of."""
    return f"{row['runs']} runs" if row and "runs" in row else ""
