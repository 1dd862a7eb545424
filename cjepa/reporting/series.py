"""Stages of a study that only their seeds tell apart, as one model."""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from cjepa.reporting.tables import Row


def series_of(stages: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Name of a stage -> what it is called together with those that only their seeds tell apart.

    Args:
        stages: of a ``study.json``; ``series`` is the name of a stage without its seed. It is not used where another
            stage has that name, because these are two models.
    """
    stages = {stage["name"]: stage.get("series") for stage in stages}
    return {name: own if own and own not in stages else name for name, own in stages.items()}


def in_series(rows: Iterable[Row], stages: Iterable[dict[str, Any]]) -> list[Row]:
    """Rows whose models are named without the seeds of the stages that trained them, so that tables average them.

    Args:
        rows: of a study.
        stages: of its ``study.json``.
    """
    series = series_of(stages)
    longest_first = "|".join(re.escape(name) for name in sorted(series, key=len, reverse=True))
    stage_in = re.compile(rf"({longest_first})(?![\w.])")

    @cache
    def named(model: str) -> str:
        found = stage_in.match(model) if series else None
        return f"{series[found[1]]}{model[found.end() :]}" if found else model

    return [row | {"model": named(row["model"])} for row in rows]
