"""Result rows -> tables of text, the same for the terminal and for the HTML report."""

import csv
import math
from collections.abc import Iterable
from io import StringIO
from typing import Any

from cjepa.evaluation.intervals import Interval

Row = dict[str, Any]
"""One row of results.json."""

ERROR_PREFIX = "rollout_error@"


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Rows as CSV; None is an empty cell."""
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def interval_of(row: Row) -> Interval:
    """The value of a row with its interval; NaN bounds where it has none."""
    low, high = (math.nan if row.get(key) is None else row[key] for key in ("low", "high"))
    return Interval(row["value"], low, high, int(row.get("n") or 0))


def results_table(rows: Iterable[Row]) -> list[list[str]]:
    """The main table, header first: one row a model in order of appearance, only columns that have a value.

    Several seeds of a model are merged as in ``by_model``.
    """
    rows = [row for row in rows if is_main(row)]
    if not rows:
        return []
    success, seconds = by_model(rows, "success"), by_model(rows, "seconds_per_plan")
    errors = {f"error@{block}": by_model(rows, f"{ERROR_PREFIX}{block}") for block in error_blocks(rows)}
    models = list(dict.fromkeys(row["model"] for row in rows))
    columns: dict[str, list[str]] = {
        "model": models,
        "runs": _runs(models, [success, seconds, *errors.values()]),
        "tokens x dim": [_budget(rows, model) for model in models],
        "success % [95 %]": [success_text(success.get(model)) for model in models],
        "n": [_count(success.get(model)) for model in models],
        "s/plan": [_number(seconds[model]["value"]) if model in seconds else "" for model in models],
    }
    for name, found in errors.items():
        columns[name] = [value_with_interval(found.get(model)) for model in models]
    filled = {name: cells for name, cells in columns.items() if any(cells)}
    return [list(filled), *(list(cells) for cells in zip(*filled.values(), strict=True))]


def scores_table(rows: Iterable[Row]) -> list[list[str]]:
    """One model's scores, header first: one row a metric, three decimals."""

    def cells(row: Row) -> list[str]:
        value = "?" if row["value"] is None else f"{row['value']:.3f}"
        interval = "–" if row["low"] is None or row["high"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
        return [str(row["metric"]), value, _count(row), interval]

    return [["metric", "value", "n", "95 %"], *map(cells, rows)]


def is_main(row: Row) -> bool:
    """Whether the main table shows the row."""
    metric = str(row.get("metric"))
    return metric in ("success", "seconds_per_plan") or metric.startswith(ERROR_PREFIX)


def by_model(rows: Iterable[Row], metric: str) -> dict[str, Row]:
    """One row a model for a metric, in order of appearance; rows without a value are dropped.

    Where a model has rows of the test split, only they count. The same seed and run twice: the later row. Several
    seeds or runs: the mean of their values. Its interval goes from the mean of their ``low`` to the mean of their
    ``high`` for rates: runs may share their pairs, and then they are not independent trials. Otherwise it goes from the
    lowest ``low`` to the highest ``high``. ``runs`` of the row counts them.
    """
    groups: dict[str, dict[tuple, Row]] = {}
    for row in rows:
        if row.get("metric") == metric and row.get("value") is not None:
            group = groups.setdefault(row["model"], {})
            group[row.get("split"), row.get("seed"), row.get("run")] = row
    chosen = {model: _test_split(list(group.values())) for model, group in groups.items()}
    return {model: _merge(found) for model, found in chosen.items()}


def error_blocks(rows: Iterable[Row]) -> list[int]:
    """The k of every metric ``rollout_error@k``, ascending."""
    return numbers_of(rows, ERROR_PREFIX)


def numbers_of(rows: Iterable[Row], prefix: str) -> list[int]:
    """What follows the prefix in the names of metrics, ascending."""
    names = {str(row.get("metric")) for row in rows}
    return sorted(int(name.removeprefix(prefix)) for name in names if name.startswith(prefix))


def features(row: Row) -> int | None:
    """Numbers that the model holds per frame: tokens x dimension; None for models without tokens."""
    tokens, token_dim = row.get("tokens"), row.get("token_dim")
    return tokens * token_dim if tokens and token_dim else None


def seconds_text(value: float) -> str:
    """``12 ms``, ``0.85 s``, ``3 min 21 s``, ``2 h 5 min``."""
    if value < 0.1:
        return f"{1000 * value:.0f} ms" if value >= 0.01 else f"{1000 * value:.2g} ms"
    if value < 59.5:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def enumeration(words: Iterable[str]) -> str:
    """``a, b and c``."""
    *first, last = list(words) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def success_text(row: Row | None) -> str:
    """``32 [21, 46]``, percent; empty without a row."""
    if row is None:
        return ""
    value = f"{100 * row['value']:.0f}"
    return value if row.get("low") is None else f"{value} [{100 * row['low']:.0f}, {100 * row['high']:.0f}]"


def value_with_interval(row: Row | None) -> str:
    """``0.41 [0.38, 0.45]``; empty without a value."""
    if row is None or row.get("value") is None:
        return ""
    value = row["value"]
    if row.get("low") is not None:
        return f"{_number(value)} [{_number(row['low'])}, {_number(row.get('high'))}]"
    return f"{value:.0f}" if float(value).is_integer() else _number(value)


def difference_text(difference: Interval) -> str:
    """``+0.20 [+0.05, +0.34]``; without the bracket where there is no interval."""
    value, low, high = (_signed(bound) for bound in difference[:3])
    return f"{value} [{low}, {high}]" if None not in difference.bounds else value


def _signed(value: float) -> str:
    return f"+{_number(value)}" if value > 0 else _number(value)


def _test_split(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.get("split") == "test"] or rows


def _merge(rows: list[Row]) -> Row:
    if len(rows) == 1:
        return rows[0]
    merged = rows[-1] | {"seed": None, "run": "", "low": None, "high": None, "runs": len(rows)}
    counts = [row.get("n") for row in rows]
    merged["n"] = None if None in counts else sum(counts)
    weights = counts if rows[0].get("unit") == "rate" and merged["n"] else [1] * len(rows)
    merged["value"] = _mean(rows, "value", weights)
    if all(row.get("low") is not None and row.get("high") is not None for row in rows):
        if weights is counts:
            return merged | {bound: _mean(rows, bound, weights) for bound in ("low", "high")}
        merged |= {"low": min(row["low"] for row in rows), "high": max(row["high"] for row in rows)}
    return merged


def _mean(rows: list[Row], key: str, weights: list[int]) -> float:
    return sum(weight * row[key] for weight, row in zip(weights, rows, strict=True)) / sum(weights)


def _runs(models: list[str], measured: list[dict[str, Row]]) -> list[str]:
    """How many runs or seeds most values of each model are means of; empty where all models have one."""
    counts = [max((found[model].get("runs", 1) for found in measured if model in found), default=1) for model in models]
    return [str(count) if max(counts) > 1 else "" for count in counts]


def _budget(rows: list[Row], model: str) -> str:
    for row in rows:
        if row["model"] == model and features(row):
            return f"{row['tokens']} x {row['token_dim']} ({features(row):,})"
    return ""


def _count(row: Row | None) -> str:
    return "" if row is None or row.get("n") is None else str(row["n"])


def _number(value: float | None) -> str:
    if value is None:
        return "?"
    if value == 0 or 0.1 <= abs(value) < 10:
        return f"{value:.2f}"
    if abs(value) < 0.1:
        return f"{value:.2g}"
    return f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"
