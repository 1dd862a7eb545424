"""Costs of scale: told apart where stages differ."""

import pytest
import update_scale as tool


def row(command: str, episodes: int, work: int, seconds: float, cores: int = 1) -> dict:
    measured = {"seconds": seconds, "cores": cores, "peak_memory_mb": 100 + episodes / 20, "bytes": 1000}
    return {"stage": command, "command": command, "episodes": episodes, "work": work} | measured


def test_costs_of_scale_are_told_apart_where_stages_differ():
    rows = [row("collect", 200, 0, 12), row("collect", 2000, 0, 51, 2), row("collect", 20000, 0, 1)]
    rows += [row("fit", 200, 200, 60.2), row("fit", 2000, 200, 62), row("fit", 2000, 400, 112)]
    assert tool.cost_of("collect", rows) == pytest.approx((2, 0, 0.05, 100, 0.05), abs=1e-6)
    assert tool.cost_of("fit", rows) == pytest.approx((10, 0.25, 0.001, 100, 0.05), abs=1e-6)
    assert tool.cost_of("fit", [row("fit", 2000, 400, 100)]) == pytest.approx((0, 0.25, 0, 200, 0), abs=1e-6)
    assert tool.elapsed(100, 8, "fit", 100, 2) == 7  # 8 fit into the memory of a machine: 7 rounds of an hour
    assert tool.elapsed(64, 1, "collect", 5, 2) == 2
