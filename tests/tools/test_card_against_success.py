"""The tool that says which numbers of the model card go with success."""

import card_against_success as tool
import pytest

from cjepa.errors import UserError
from cjepa.files import read_json


def model(success: float | None = None, **card: float | None) -> dict:
    planned = {} if success is None else {"success, plan": {"value": success}, "seconds_per_plan, plan": {"value": 1.0}}
    return {"scores": {name: {"value": value} for name, value in card.items()} | planned}


def test_correlations_by_hand():
    """Ranks of the successes are 1, 2, 3, 4, 5; of the picks 5, 4, 3, 1, 2; of the ranks 2, 1, 3, 4, 5."""
    picks, ranks, successes = (9, 8, 7, 1, 2), (2, 1, 3, 4, 5), (0.1, 0.2, 0.3, 0.4, 0.5)
    models = [model(pick_error=0.0, recorded_rank=9.0)]  # not planned with, so not counted
    for index in range(5):
        rare = {"rare": 1.0 * index} if index < 3 else {}
        card = {"pick_error": picks[index], "recorded_rank": ranks[index], "same": 1.0, "unknown": None} | rare
        models.append(model(successes[index], **card))
    rows = tool.correlations(models, "plan")
    # 1 - 6 * sum of squared differences / (n (n^2 - 1)): 38 of ranks turned over for the picks, 2 for the ranks
    assert [(row["metric"], row["n"]) for row in rows] == [("pick_error", 5), ("recorded_rank", 5)]
    assert [row["value"] for row in rows] == pytest.approx([-0.9, 0.9])
    assert all(-1 <= row["low"] <= row["value"] <= row["high"] <= 1 for row in rows)
    assert rows[0]["low"] < rows[0]["high"]
    assert "| `pick_error` | -0.90 [" in tool.page_block({"plan": rows})


def test_too_few_models():
    with pytest.raises(UserError, match="3 models have a card and plans, expected 4 or more"):
        tool.correlations([model(0.1 * index, pick_error=index) for index in range(3)], "plan")


def test_models_of_other_episodes_do_not_count(monkeypatch):
    asked = {kind: [] for kind in tool.KINDS}
    monkeypatch.setattr(tool, "correlations", lambda rows, kind: asked[kind].extend(rows))
    about = {"model": "none", "optimiser": "Muon", "seed": 0}
    rows = [model(0.5) | about | {"environment": name} for name in ("pusht", "pusht-hard")]
    found = {tool.update_world_models.RESULTS: rows}
    monkeypatch.setattr(tool, "read_json", lambda file: {"rows": found.get(file, [])})
    tool.from_results()
    assert [row["environment"] for row in asked["plan"]] == ["pusht"]


def test_the_page_is_of_the_results_of_today():
    found, written = tool.from_results(), read_json(tool.RESULTS)
    for kind, rows in found.items():
        assert [row["metric"] for row in rows] == [row["metric"] for row in written[kind]]
        for row, kept in zip(rows, written[kind], strict=True):
            assert row == pytest.approx(kept)
    page = tool.PAGE.read_text()
    assert f"<!-- card-success:begin -->\n{tool.page_block(written)}\n<!-- card-success:end -->" in page
