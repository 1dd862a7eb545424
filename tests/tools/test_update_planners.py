"""Results of planners: the page, and its tables."""

import update_planners as tool
import update_results

from cjepa.files import read_json, write_json


def test_the_page_of_planners_says_what_the_results_file_says():
    result = read_json(tool.RESULTS)
    assert update_results.block_of(tool.PAGE, "planners") == tool.page_block(result)
    assert {row["table"] for row in result["rows"]} == {*tool.TABLES}


def test_the_tables_of_planners(tmp_path):
    """Planners are compared with one of them, searches with the full one; pairs as published with nothing."""

    def rows(model, **values):
        common = {"model": model, "low": 0.5, "high": 1.0, "n": 9, "git": "c"}
        return [common | {"metric": metric, "value": value} for metric, value in values.items()]

    costs = {"seconds_per_plan": 0.75, "gigaflops_per_plan": 6.0}
    found = {
        "gradient": rows("gradient", success=0.75, success_difference=-0.25, **costs),
        "icem": rows("icem", success=0.8, skipped_trivial_pairs=3, **costs),
        "certify": rows("pusht-best, 128 x 10", success=0.8, **costs) + rows("pusht-best, 8 x 1", success=0.5),
        "as-published": rows("as-published (as published)", success=0.9, solved_at_start=4),
    }
    searches = {stage: {"class": "CEM", "num_samples": 48, "num_elites": 8, "iterations": 5} for stage in found}
    searches["gradient"] = {"class": "GradientPlanner", "num_starts": 8, "iterations": 10}
    for stage, measured in found.items():
        write_json(tmp_path / stage / "results.json", measured)
        write_json(tmp_path / stage / "run.json", {"actions": {"planner": searches[stage]}})
    result = {"command": "c", "machine": "m", "rows": tool.measured(tmp_path)}
    lines = tool.page_block(result).splitlines()
    assert lines[2].startswith("| icem (48 x 5) | 80 [50, 100] | 9 | – | 0.75 [0.50, 1.00] |")
    assert lines[3].startswith("| gradient (8 x 10) | 75 [50, 100] | 9 | -25 [+50, +100] |")
    assert [line.split("|")[1].strip() for line in lines[5:9]] == ["search", "---", "128 x 10", "8 x 1"]
    assert lines[12] == "| as-published (48 x 5) | 90 [50, 100] | 9 | 4 |"
