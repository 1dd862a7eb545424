"""What a study's stages took: their table, and the time of all of them."""

from collections.abc import Sequence
from typing import Any

from cjepa.reporting.tables import seconds_text

NO_RESULT = "no result"


def elapsed_seconds(stages: Sequence[dict[str, Any]]) -> float:
    """The time in which any stage ran, in s: what ran side by side counts once, pauses between two starts not at all.

    Args:
        stages: of ``study.json``; those without ``started``, of an older version, ran one by one.
    """
    timed = sorted((s["started"], s["started"] + (s.get("seconds") or 0)) for s in stages if s.get("started"))
    total = sum(s.get("seconds") or 0 for s in stages if not s.get("started"))
    until = float("-inf")
    for begin, end in timed:
        total += max(end - max(begin, until), 0)
        until = max(until, end)
    return total


def stages_table(stages: Sequence[dict[str, Any]], missing: Sequence[dict[str, Any]] = ()) -> list[list[str]]:
    """Header and a row per stage; a column only where a stage has something for it.

    Args:
        stages: of ``study.json``.
        missing: of it, those that have no result.
    """
    stages = [*stages, *({"missing": True} | stage for stage in missing)]
    columns = {
        "stage": [stage["name"] for stage in stages],
        "command": [stage.get("command") or "" for stage in stages],
        "after": [", ".join(stage.get("depends_on") or []) for stage in stages],
        "time": [_time(stage) for stage in stages],
        "cores": [f"{stage['cores']:,}" if stage.get("cores") else "" for stage in stages],
        "at the same time as": [", ".join(stage.get("beside") or []) for stage in stages],
        "peak memory": [
            f"{stage['peak_memory_mb']:,.0f} MB" if stage.get("peak_memory_mb") else "" for stage in stages
        ],
    }
    filled = {name: values for name, values in columns.items() if any(values)}
    return [list(filled), *(list(row) for row in zip(*filled.values(), strict=True))]


def _time(stage: dict[str, Any]) -> str:
    if stage.get("missing"):
        return NO_RESULT
    seconds = stage.get("seconds")
    text = "" if seconds is None else seconds_text(seconds)
    return f"{text} (cached)" if stage.get("cached") else text
