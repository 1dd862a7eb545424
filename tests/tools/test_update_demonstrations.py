"""Results of demonstrations: what is measured of them, and the page."""

import itertools

import numpy as np
import pytest
import update_demonstrations as tool
import update_results

from cjepa.files import read_json


def test_the_page_of_push_t_says_what_the_results_file_says():
    result = read_json(update_results.DOCS / "results" / "demonstrations.json")
    page = update_results.block_of(tool.PAGE, "demonstrations")
    assert page == tool.page_block(result)


def test_tables_of_demonstrations():
    """Each rate stands in the row of its training data and the column of its pairs."""
    rows = []
    data, model = tool.DATA, tool.MODEL
    for number, (trained, pairs) in enumerate(itertools.product(data, data)):
        name = f"{trained}-{model}-on-{pairs}"
        rows.append(
            {"metric": "success", "model": name, "run": name, "value": number / 10, "low": 0, "high": 1, "n": 9}
        )
    for model, pairs in itertools.product(("random", "simulator-cem"), data):
        run = f"baselines-on-{pairs}"
        rows.append({"metric": "success", "model": model, "run": run, "value": 0.9, "low": 0.8, "high": 1, "n": 9})
    facts = [{"what": "contact", "value": 0.25, "unit": "share"}, {"what": "path", "value": 1234.4, "unit": "px"}]
    reached = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 80}
    goals = {"reached": reached, "cpu_seconds_per_episode": 0.84}
    block = tool.page_block({"data": dict.fromkeys(data, facts), "goals": goals, "rows": rows})
    assert "| contact | 25.0% | 25.0% |\n| path, px | 1,234 | 1,234 |" in block
    assert "| goals reached, of those that ended | – | 50% [40%, 60%] of 80 |" in block
    assert "| cjepa-1 | purposeful | 20 [0, 100] | 30 [0, 100] |" in block
    assert block.endswith("| simulator-cem | – | 90 [80, 100] | 90 [80, 100] |") and "of 9 pairs each" in block


def test_evenness_of_a_grid():
    ranges = [(0.0, 8.0), (0.0, 8.0)]
    cells = np.stack(np.meshgrid(np.arange(8), np.arange(8)), axis=-1).reshape(-1, 2) + 0.5
    assert tool.even_share(cells, ranges) == pytest.approx(1.0)
    assert tool.even_share(cells[:16], ranges) == pytest.approx(16 / 64)
    outside = np.concatenate([cells[:16], np.full((50, 2), 9.0)])
    assert tool.even_share(outside, ranges) == pytest.approx(16 / 64)


def test_the_agent_as_seen_from_the_block():
    turned = np.array([[100.0 - 45.0, 100.0 + 20.0, 100.0, 100.0, np.pi / 2, 0.0, 0.0]])  # the T's foot points to -x
    np.testing.assert_allclose(tool.seen_from_block(turned), [[20.0, 0.0]], atol=1e-9)
