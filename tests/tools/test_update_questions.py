"""Results of questions: what is read from a study, and the page."""

import update_questions as tool
import update_results

from cjepa.files import read_json, write_json


def test_the_page_of_questions_says_what_the_results_file_says():
    result = read_json(update_results.DOCS / "results" / "questions.json")
    assert update_results.block_of(tool.PAGE, "questions") == tool.page_block(result)
    assert {"text only", "tokens, constant velocity", "collide-best"} <= {row["reader"] for row in result["rows"]}
    scores = [score for row in result["rows"] for score in row["scores"].values()]
    assert all(score["low"] <= score["value"] <= score["high"] and score["n"] >= 50 for score in scores)
    assert len({tuple(row["scores"][metric]["n"] for metric in row["scores"]) for row in result["rows"]}) == 1


def test_answers_are_collected_by_reader(tmp_path):
    """Readers that need no model stand in several results of a study, and in one row of the page."""
    score = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 12}
    for name in ("aloe-none", "collide-best"):
        metrics = ("question_accuracy@descriptive", "question_accuracy@predictive", "option_accuracy@predictive")
        rows = [score | {"metric": metric, "model": model} for model in (name, "text only") for metric in metrics]
        (tmp_path / f"answer-{name}").mkdir()
        write_json(tmp_path / f"answer-{name}" / "results.json", rows)
    (tmp_path / "aloe-none").mkdir()
    write_json(tmp_path / "aloe-none" / "run.json", {"model": {"optimizer_steps": 1500}})
    rows = tool.measured(tmp_path)
    assert [(row["reader"], row.get("steps")) for row in rows] == [
        ("text only", None),
        ("aloe-none", 1500),
        ("collide-best", None),
    ]
    lines = tool.page_block({"command": "c", "machine": "m", "rows": rows}).splitlines()
    assert lines[3].startswith("| ALOE without a world model | 0.5 [0.25, 0.75] | – | – | 0.5 [0.25, 0.75] |")
    counts = {"question_accuracy@predictive": 3, "option_accuracy@predictive": 8}  # one of four options, two of two
    assert tool._chance("question_accuracy@predictive", counts) == "0.188"
    assert tool._chance("option_accuracy@predictive", counts) == "0.5"
    assert tool._chance("question_accuracy@descriptive", counts) == "–"
    assert (
        lines[-1] == "Of 12 descriptive, 12 predictive (12 options) questions. ALOE learned for 1,500 steps. `c`, on m."
    )
