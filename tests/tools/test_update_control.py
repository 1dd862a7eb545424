"""Results of control: what is read from a study, and the page."""

import update_control as tool
import update_results

from cjepa.files import read_json, write_json


def test_the_page_of_control_says_what_the_results_file_says():
    result = read_json(tool.RESULTS)
    assert update_results.block_of(tool.PAGE, "control") == tool.page_block(result)
    rates = [row["scores"]["success"] for row in result["rows"]]
    assert all(rate["low"] <= rate["value"] <= rate["high"] and rate["n"] == 50 for rate in rates)


def test_the_table_of_control(tmp_path):
    """Seeds are averaged at each distance, which the rows of one distance do not name; differences stand below."""

    def row(metric, model, value, **more):
        size = {"tokens": 2, "token_dim": 34, "git": "c"}
        return (
            {"metric": metric, "model": model, "value": value, "low": value - 0.1, "high": value + 0.1, "n": 50}
            | size
            | more
        )

    near = {f"near-none-{seed}": [row("success", f"pusht-none-{seed}", 0.4 + 0.2 * seed)] for seed in (0, 1)}
    far = {"far-none-0": [row("success", "pusht-none-0", 0.2, goal_env_steps=50)]}
    higher = "pusht-best-probe-hierarchy"
    unit = {"unit": "rate, minus that of flat (far-probe/goal-75)", "goal_env_steps": 75}
    far["far-h"] = [row(metric, higher, 0.3, **unit) for metric in ("success", "success_difference")]
    for name, rows in (near | far).items():
        write_json(tmp_path / name / "results.json", rows)
    block = tool.page_block({"command": "c", "machine": "m", "rows": tool.measured(tmp_path)})
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines() if line.startswith("|")]
    assert lines[2][:7] == [higher, "2 x 34", "1", "–", "–", "30 [20, 40], n = 50", "–"]
    assert lines[3][:5] == ["none", "2 x 34", "2", "50 [40, 60], n = 50 x 2", "20 [10, 30], n = 50"]
    assert lines[4:] == [["model", "minus", "+75"], ["---"] * 3, [higher, "flat", "+30 [+20, +40], n = 50"]]
