"""The tool that says which numbers of the model card go with success."""

import importlib
from pathlib import Path

import pytest

from cjepa.errors import UserError
from cjepa.files import read_json, write_json

TOOLS = Path(__file__).parents[1] / "tools"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("card_against_success")


def write_model(study: Path, name: str, card: dict, success: float, execute_blocks: int = 5, plan: str = "plan"):
    """A run with a card, and a plan beside it whose record names the checkpoint from where the study was started."""
    write_json(study / name / "results_test.json", [{"metric": k, "value": v} for k, v in card.items()])
    write_json(study / name / "run.json", {"evaluation": {"split": "val"}})
    checkpoint = f"{study.name}/{name}/checkpoints/last.ckpt"
    folder = study / f"{plan}-{name}"
    record = {"model": {"checkpoint": checkpoint}, "evaluation": {"execute_blocks": execute_blocks}}
    write_json(folder / "run.json", record)
    write_json(folder / "results.json", [{"metric": "success", "value": success, "n": 100}])


def test_correlations_by_hand(tool, tmp_path):
    """Ranks of the successes are 1, 2, 3, 4, 5; of the picks 5, 4, 3, 1, 2; of the ranks 2, 1, 3, 4, 5."""
    study = tmp_path / "study"
    picks, ranks, successes = (9, 8, 7, 1, 2), (2, 1, 3, 4, 5), (0.1, 0.2, 0.3, 0.4, 0.5)
    for index in range(5):
        card = {"pick_error": picks[index], "recorded_rank": ranks[index], "same": 1.0, "unknown": None}
        card |= {"rare": 1.0 * index} if index < 3 else {}
        write_model(study, f"m-{index}", card, successes[index])
    write_model(study, "other", {"pick_error": 0.0}, 0.0, execute_blocks=1)  # replanned, so not counted
    write_json(study / "plan-random" / "run.json", {"model": None, "evaluation": {"execute_blocks": 5}})
    write_json(study / "plan-random" / "results.json", [{"metric": "success", "value": 0.9, "n": 100}])
    models = tool.find_models([tmp_path], 5)
    assert [model.success for model in models] == [0.1, 0.2, 0.3, 0.4, 0.5]
    rows = tool.correlations(models)
    # 1 - 6 * sum of squared differences / (n (n^2 - 1)): 38 of ranks turned over for the picks, 2 for the ranks
    assert [(row["metric"], row["n"]) for row in rows] == [("pick_error", 5), ("recorded_rank", 5)]
    assert [row["value"] for row in rows] == pytest.approx([-0.9, 0.9])
    assert all(-1 <= row["low"] <= row["value"] <= row["high"] <= 1 for row in rows)
    assert rows[0]["low"] < rows[0]["high"]


def test_the_file_and_the_table(tool, tmp_path, monkeypatch, capsys):
    for index in range(4):
        write_model(tmp_path / "study", f"m-{index}", {"pick_error": -index}, index / 10)
    monkeypatch.setattr(tool, "RESULTS", tmp_path / "card_success.json")
    monkeypatch.setattr("sys.argv", ["card_against_success.py", str(tmp_path / "study")])
    tool.main()
    result = read_json(tmp_path / "card_success.json")
    assert [model["folder"] for model in result["models"]] == ["m-0", "m-1", "m-2", "m-3"]
    assert result["rows"][0]["value"] == pytest.approx(-1.0)
    assert "| pick_error | -1.00 [-1.00, -1.00] | 4 |" in capsys.readouterr().out


def test_too_few_models_and_two_plans_of_one(tool, tmp_path):
    write_model(tmp_path / "study", "m", {"pick_error": 1.0}, 0.5)
    with pytest.raises(UserError, match="1 models have both.*cjepa test RUN"):
        tool.find_models([tmp_path], 5)
    write_model(tmp_path / "study", "m", {"pick_error": 1.0}, 0.5, plan="again")
    with pytest.raises(UserError, match="several plans, .*again-m and .*plan-m"):
        tool.find_models([tmp_path], 5)
