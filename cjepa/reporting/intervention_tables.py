"""The section of a report on interventions, from rows alone: a report imports nothing that evaluates models."""

from collections.abc import Iterable

from cjepa.reporting.pivot import Table, pivot
from cjepa.reporting.tables import Row

_BY_HOPS, _HOPS = "Influence graphs, by hops", "_hops"
_TABLES = {
    "Influence graphs": ("influence_",),
    _BY_HOPS: (),
    "Removal test: error growth without the bodies that a graph calls irrelevant": ("removal_", "removed_"),
    "Counterfactuals: effects on the other bodies": ("effect_", "affected_"),
    "Counterfactuals: error of the other bodies": ("counterfactual_",),
    "Object permanence: error of the place of a body that the model does not see": ("hidden_",),
    "Violation of expectation: surprise when a body jumps, and when it changes colour": ("violation_", "surprise_"),
}
"""Caption of a table -> what the names of its metrics begin with."""
_HEADLINES = (
    "influence_auroc",
    "influence_shd",
    "influence_agent_auroc",
    "removal_growth",
    "effect_correlation",
    "counterfactual_error_affected",
    "hidden_error@20",
    "violation_auroc_places",
)
PREFIXES = tuple(prefix for prefixes in _TABLES.values() for prefix in prefixes)
"""Of the metrics of interventions."""


def intervention_tables(rows: Iterable[Row]) -> list[Table]:
    """The tables of a report's section on interventions; empty where none were measured."""
    found: dict[str, list[Row]] = {caption: [] for caption in _TABLES}
    for row in filter(is_intervention, rows):
        found[_caption(row["metric"])].append(row)
    return [
        pivot(of_table, *(list(dict.fromkeys(row[key] for row in of_table)) for key in ("model", "metric")), caption)
        for caption, of_table in found.items()
        if of_table
    ]


def _caption(metric: str) -> str:
    """Of the table that shows the metric."""
    if _HOPS in metric:
        return _BY_HOPS
    return next(caption for caption, prefixes in _TABLES.items() if metric.startswith(prefixes))


def headline_table(rows: Iterable[Row]) -> Table:
    """One number of every benchmark, for the command line; the report has all of them."""
    found = [row for row in rows if row["metric"] in _HEADLINES]
    metrics = [metric for metric in _HEADLINES if any(row["metric"] == metric for row in found)]
    return pivot(found, list(dict.fromkeys(row["model"] for row in found)), metrics, "")


def is_intervention(row: Row) -> bool:
    """Whether a row is shown by :func:`intervention_tables`."""
    return str(row.get("metric")).startswith(PREFIXES)
