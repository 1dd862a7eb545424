"""Results of pushing on Collide: what is read from a study, and the section of the page."""

import update_collide_push as tool
import update_results

from cjepa.files import read_json, write_json


def test_the_section_says_what_the_results_file_says():
    result = read_json(tool.RESULTS)[tool.PART]
    assert update_results.block_of(tool.PAGE, tool.PART) == tool.page_block(result)
    assert {row["model"] for row in result["rows"]} <= {*tool.MODELS}
    rates = [row["scores"]["success"] for row in result["rows"]]
    assert all(rate["low"] <= rate["value"] <= rate["high"] and rate["n"] == 50 for rate in rates)


def test_the_table_of_pushing(tmp_path):
    """Seeds are averaged; what an actor learned in was trained for it too; nothing was trained for baselines.

    Goals in words have a table of their own.
    """

    def planned(model, value, **more):
        score = {"low": value - 0.1, "high": value + 0.1, "n": 50, "tokens": 6, "token_dim": 34, "git": "c"}
        metrics = ("success", "seconds_per_plan", "env_steps_to_success")
        return [score | {"metric": metric, "model": model, "value": value} | more for metric in metrics]

    none = {"tokens": None, "token_dim": None}
    stages = {
        "plan-none-0": planned("none", 0.4),
        "plan-none-1": planned("none", 0.6),
        "plan-dreamer-0": planned("dreamer", 0.2),
        "plan-baselines": planned("random", 0.1, **none),
        "plan-language-collide-0": planned("by-token", 0.8),
        "plan-language-collide-random-0": planned("random", 0.3, **none),
    }
    for stage, rows in stages.items():
        write_json(tmp_path / stage / "results.json", rows)
    for stage, seconds in {"none-0": 60, "none-1": 70, "rssm-0": 50, "dreamer-0": 25}.items():
        write_json(tmp_path / stage / "run.json", {"seconds": seconds})
    rows = tool.measured(tmp_path)
    assert [row["model"] for row in rows] == ["random", "dreamer", "none", "none"]
    block = tool.page_block({"command": "c", "machine": "m", "rows": rows})
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines() if line.startswith("|")]
    assert lines[2] == ["`none`", "6 x 34", "2", "50 [40, 60], n = 50 x 2", lines[2][4], "1 min 0 s"]
    assert [line[-1] for line in lines[3:]] == ["1 min 15 s", "–"]
    assert [line[1] for line in lines[3:]] == ["6 x 34", "–"]
