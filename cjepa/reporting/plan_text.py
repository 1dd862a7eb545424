"""What the command line says of a planning evaluation besides its table: times, errors, fallbacks, trivial pairs."""

from collections.abc import Sequence

from cjepa.counts import number_of
from cjepa.reporting.tables import Row, by_model, seconds_text, value_with_interval

_ERROR = "final_error_"
_TRIVIAL = {"skipped_trivial_pairs": "left out", "solved_at_start": "included"}


def outcome_text(rows: Sequence[Row]) -> list[str]:
    """A line for every agent.

    Args:
        rows: of all agents, each distance and shift under a name of its own.
    """
    said: dict[str, list[str]] = {}
    for metric in dict.fromkeys(row["metric"] for row in rows):
        for model, row in by_model(rows, metric).items():
            if words := _said(metric, row):
                said.setdefault(model, []).append(words)
    return [f"{model}: {', '.join(words)}" for model, words in said.items()]


def _said(metric: str, row: Row) -> str:
    """One row in words; nothing for what other lines say."""
    if metric == "seconds_per_env_step":
        return f"{seconds_text(row['value'])} per env step"
    if metric.startswith(_ERROR):
        return f"{metric.removeprefix(_ERROR)} error {value_with_interval(row)} {row['unit']}"
    if metric == "final_goal_distance":
        return f"final distance to the goal's tokens {value_with_interval(row)} of that at the start"
    if metric == "fallbacks":
        return f"fallback instead of {100 * row['value']:.0f} % of the plans"
    if metric in _TRIVIAL:
        return f"{number_of(round(row['value']), 'pair')} solved at the start {_TRIVIAL[metric]}"
    return ""


def differences_text(rows: Sequence[Row]) -> list[str]:
    """A line for every difference to another evaluation."""
    return [
        f"{row['model']}: success {100 * row['value']:+.0f} points [{100 * row['low']:+.0f}, {100 * row['high']:+.0f}] "
        f"({row['unit'].partition(', ')[2]}, {number_of(row['n'], 'trial')})"
        for row in rows
        if row["metric"] == "success_difference"
    ]
