"""Results of the family of JEPAs: what is read from a study, and the page."""

import shutil

import update_family as tool
import update_results

from cjepa.files import read_json, write_json


def test_the_page_of_the_family_says_what_the_results_file_says():
    result = read_json(tool.RESULTS)
    assert update_results.block_of(tool.PAGE, "family") == tool.systems_block(result)
    assert update_results.block_of(tool.PAGE, "words") == tool.words_block(result)
    assert update_results.block_of(tool.PAGE, "guards") == tool.guards_block(result)


def test_when_tokens_have_collapsed():
    """A small spread at the start is no collapse, nor is one that the training gets over."""
    guard = {"steps": [1, 2, 3, 4], "effective_rank": [9.0, 1.5, 8.0, 7.0], "deviation": [0.01, 1.0, 1.0, 1.0]}
    assert tool.collapsed_from(guard) is None
    assert tool.collapsed_from(guard | {"effective_rank": [9.0, 8.0, 1.9, 1.0]}) == 3
    assert tool.collapsed_from(guard | {"deviation": [1.0, 1.0, 1.0, 0.04]}) == 4


def test_rows_of_the_family_are_read_from_a_study(tmp_path):
    record = {"model": {"parameters": 1234, "optimizer_steps": 9}, "seconds": 61.0}
    write_json(tmp_path / "fit-ijepa-0" / "run.json", record | {"git": {"commit": "abc", "dirty": True}})
    score = {"low": 0.5, "high": 0.75, "n": 9, "model": "ijepa-0", "tokens": 64, "token_dim": 128}
    write_json(tmp_path / "ijepa-0" / "results_test.json", [score | {"metric": "mlp_r2@block_x", "value": 0.625}])
    plan = [score | {"metric": "success", "value": 0.7}, score | {"metric": "success", "value": 0.0, "model": "random"}]
    write_json(tmp_path / "plan-ijepa-0" / "results.json", plan)
    write_json(tmp_path / "fit-vjepa-0" / "run.json", {})  # trained, not measured yet
    rows = tool.measured(tmp_path)
    cells = tool.systems_block({"rows": rows, "machine": "m"}).splitlines()[2].split("|")
    assert [cell.strip() for cell in cells[1:]] == (
        ["I-JEPA", "Push-T", "1", "64 x 128", "0.625 [0.5, 0.75]", "0.7 [0.5, 0.75]", "1,234", "1 min 1 s, 9 steps", ""]
    )
    assert rows[0]["commit"] == "abc-dirty"


def test_goals_in_words_are_read_from_a_study(tmp_path):
    score = {"metric": "success", "low": 0.25, "high": 0.5, "n": 9, "git": "abc"}
    plan = [score | {"value": 0.375, "model": "by-text"}]
    plan.append(plan[0] | {"metric": "success_difference", "value": 0.125, "low": -0.5})
    write_json(tmp_path / "plan-language-text-0" / "results.json", plan)
    for stage in ("plan-language-random-0", "plan-language-collide-random-0"):
        write_json(tmp_path / stage / "results.json", [score | {"value": 0.0625, "model": "random"}])
    rows = tool.told(tmp_path)
    assert [(row["seed"], row["commit"]) for row in rows] == [(0, "abc")] * 3
    assert tool.words_block({"words": rows}).splitlines()[2:] == [
        "| the embedding of the sentence, by its cosine | Push-T | 0.375 [0.25, 0.5] | 0.125 [-0.5, 0.5] | – |",
        "| nothing: random actions | Push-T | 0.0625 [0.25, 0.5] | – | – |",
        "| nothing: random actions | Collide | 0.0625 [0.25, 0.5] | – | – |",
    ]


def test_the_table_of_guards(tmp_path, monkeypatch):
    (tmp_path / "none-0").mkdir()
    lines = [
        "step,train/loss,val/effective_rank,val/deviation,val/error@1",
        "3,1,,,",
        "4,,8.0,0.5,0.1",
        "9,,1.0,0.5,0.1",
    ]
    (tmp_path / "none-0" / "metrics.csv").write_text("\n".join(lines) + "\n")
    record = {"model": {"parameters": 1, "optimizer_steps": 10}, "seconds": 5.0}
    write_json(tmp_path / "none-0" / "run.json", record | {"git": {"commit": "abc", "dirty": False}})
    shutil.copytree(tmp_path / "none-0", tmp_path / "none-2")
    (tmp_path / "none-2" / "metrics.csv").write_text("\n".join([*lines[:-1], "9,,7.0,0.25,0.1"]) + "\n")
    rows = tool.guards(tmp_path)
    assert [row["seed"] for row in rows] == [0, 2]
    table = tool.guards_block({"guards": rows, "machine": "m"}).splitlines()
    assert table[0].startswith("| guard | rank, step 5 | rank, step 10 | deviation at the end |")
    assert table[2] == "| none | 8.0 / 8.0 | 1.0 / 7.0 | 0.5 / 0.25 | 10 / – | 5 s / 5 s |"
    monkeypatch.setattr(tool, "FIGURE", tmp_path / "guards.png")
    tool.draw_guards(rows)
    assert (tmp_path / "guards.png").read_bytes().startswith(b"\x89PNG")
