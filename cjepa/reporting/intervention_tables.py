"""The section of a report on interventions, from rows alone: a report imports nothing that evaluates models."""

from collections.abc import Iterable

from cjepa.reporting.pivot import Table, pivot
from cjepa.reporting.tables import Row

_TABLES = {
    "Influence graphs": ("influence_",),
    "Removal test: error growth without the bodies that a graph calls irrelevant": ("removal_", "removed_"),
    "Counterfactuals: effects on the other bodies": ("effect_", "affected_"),
    "Counterfactuals: error of the other bodies": ("counterfactual_",),
    "Object permanence: error of the place of a body that the model does not see": ("hidden_",),
    "Violation of expectation: surprise when a body jumps, and when it changes colour": ("violation_", "surprise_"),
}
PREFIXES = tuple(prefix for prefixes in _TABLES.values() for prefix in prefixes)
"""Of the metrics of interventions."""


def intervention_tables(rows: Iterable[Row]) -> list[Table]:
    """The tables of a report's section on interventions; empty where none were measured."""
    rows = [row for row in rows if is_intervention(row)]
    tables = []
    for caption, prefixes in _TABLES.items():
        found = [row for row in rows if row["metric"].startswith(prefixes)]
        models = list(dict.fromkeys(row["model"] for row in found))
        metrics = list(dict.fromkeys(row["metric"] for row in found))
        if found:
            tables.append(pivot(found, models, metrics, caption))
    return tables


def is_intervention(row: Row) -> bool:
    """Whether a row is shown by :func:`intervention_tables`."""
    return str(row.get("metric")).startswith(PREFIXES)
