"""The rungs of evidence: what a number can be taken for, from the weakest to the strongest."""

from collections.abc import Iterable

from cjepa.evaluation.planning.protocol import SHIFT_SPLIT
from cjepa.reporting.tables import Row

REPRESENTATION = "representation"
"""Tokens hold what the frames show."""
PREDICTION = "prediction"
"""The model knows what comes next, or what would come of a change, on recorded or simulated episodes."""
PLANNING = "closed-loop planning"
"""An agent reaches goals with it."""
SHIFT = "under shift"
"""It still does where something differs from training."""
RUNGS = (REPRESENTATION, PREDICTION, PLANNING, SHIFT)

_PREFIXES = {
    REPRESENTATION: ("fg_ari", "ari", "mbo", "mean_iou", "slot_consistency", "clip_consistency", "psnr", "probe_"),
    PREDICTION: (
        *("rollout_error", "effect_", "affected_", "influence_", "counterfactual_", "hidden_", "violation_"),
        *("question_accuracy", "option_accuracy"),
    ),
    PLANNING: ("success", "env_steps_to_success", "final_error", "final_goal"),
}
_SHOWN = 3


def rung_of(row: Row) -> str | None:
    """The rung that a row is evidence on; None of times, losses and counts."""
    metric = str(row.get("metric"))
    rung = next((rung for rung, prefixes in _PREFIXES.items() if metric.startswith(prefixes)), None)
    return SHIFT if rung == PLANNING and is_shifted(row) else rung


def is_shifted(row: Row) -> bool:
    """Whether a row is of a shifted environment."""
    return str(row.get("split")).startswith(SHIFT_SPLIT)


def ladder(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Every rung, with the metrics that were measured on it and of how many models; empty without evidence on any."""
    found: dict[str, dict[str, set[str]]] = {rung: {} for rung in RUNGS}
    for row in rows:
        if (rung := rung_of(row)) is not None and row.get("value") is not None:
            found[rung].setdefault(row["metric"], set()).add(row["model"])
    if not any(found.values()):
        return []
    return [(rung, _listed(metrics)) for rung, metrics in found.items()]


def _listed(metrics: dict[str, set[str]]) -> str:
    if not metrics:
        return "not measured"
    shown = [f"{metric} of {_models(models)}" for metric, models in list(metrics.items())[:_SHOWN]]
    more = len(metrics) - _SHOWN
    return ", ".join(shown) + (f", {more} more" if more > 0 else "")


def _models(models: set[str]) -> str:
    return next(iter(models)) if len(models) == 1 else f"{len(models)} models"
