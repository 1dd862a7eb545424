"""Results in pages: each says what its results file says, and a part of them can be written anew."""

import numpy as np
import pytest
import update_published_size
import update_results as tool
import update_scale
import update_token_budget

from cjepa.bench.timing import rows_against
from cjepa.files import read_json, write_json


def test_the_readme_says_what_the_results_file_says():
    result = read_json(tool.DOCS / "results" / "quickstart.json")
    assert tool.block_of(tool.README, "results") == tool.readme_block(result).strip()


def test_the_page_of_push_t_says_how_the_best_model_plans():
    assert tool.block_of(tool.PUSH_T, "best") == tool.run_block(read_json(tool.DOCS / "results" / "best.json"))


@pytest.mark.parametrize("name", ["loader", "tokenize", "planner", "train"])
def test_the_benchmarks_say_what_the_results_files_say(name):
    result = read_json(tool.DOCS / "results" / f"{name}.json")
    assert tool.block_of(tool.BENCHMARKS, name) == tool.bench_block(result)
    assert all(row["low"] <= row["ratio"] <= row["high"] and row["n"] >= 5 for row in result["rows"])


@pytest.mark.parametrize(
    ("copied", "table"),
    [(update_scale, "scale"), (update_token_budget, "token-budget"), (update_published_size, "published-size")],
)
def test_a_page_says_what_its_results_file_says(copied, table):
    assert tool.block_of(copied.PAGE, table) == copied.page_block(read_json(copied.RESULTS))


def test_new_rows_replace_their_own_kind_only():
    old = [{"model": name, "seed": seed, "at": "old"} for name, seed in (("a", 0), ("b", 0))]
    new = [old[1] | {"at": "new"}, old[1] | {"seed": 1, "at": "new"}]
    assert tool.merged(old, new, ("model", "seed")) == [old[0], *new]


def test_a_part_of_a_study_adds_to_its_page(tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "DOCS", tmp_path)
    page = tmp_path / "few.md"
    page.write_text("<!-- few:begin --><!-- few:end --><!-- more:begin --><!-- more:end -->")

    def told(folder: str, *options: str, part: str | None = None) -> dict:
        monkeypatch.setattr("sys.argv", ["tool", folder, *options])
        block = lambda result: ", ".join(row["model"] for row in result["rows"])  # noqa: E731
        measured = lambda path: [{"model": path.name}]  # noqa: E731
        return tool.update_page("", page, "few", "a desk", measured, block, ("model",), part)

    (tmp_path / "results").mkdir()
    told("a", "--machine", "two cores")
    assert told("c", part="more")["machine"] == "a desk"
    assert told("b") == {
        "command": "cjepa study experiments/studies/few.yaml",
        "machine": "two cores",
        "rows": [{"model": "a"}, {"model": "b"}],
    }
    assert [tool.block_of(page, name) for name in ("few", "more")] == ["a, b", "c"]
    assert [row["model"] for row in read_json(tmp_path / "results" / "few.json")["more"]["rows"]] == ["c"]


def test_a_benchmark_is_written_into_its_page(tmp_path, monkeypatch):
    page, rows = tmp_path / "page.md", tmp_path / "loader.json"
    page.write_text("before\n<!-- loader:begin -->\nold\n<!-- loader:end -->\nafter\n")
    seconds = {"ours": np.array([1.0, 1.0]), "theirs": np.array([4.0, 4.0])}
    versions = {"versions": {"torch": "2.13.0"}}
    write_json(rows, [row | versions for row in rows_against("theirs", seconds, 8, "clips")])
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(tool, "BENCHMARKS", page)
    monkeypatch.setattr(tool, "DOCS", tmp_path)
    tool.update_benchmark(rows, "this machine")
    text = page.read_text()
    assert text.startswith("before\n<!-- loader:begin -->\n| name | clips/s | x theirs [95 %] | rounds |\n")
    assert "| ours | 8 | 4.00 [4.00, 4.00] | 2 |" in text and "on this machine, with torch 2.13.0." in text
    assert text.endswith("<!-- loader:end -->\nafter\n") and "old" not in text
    assert read_json(tmp_path / "results" / "loader.json")["command"] == "cjepa bench loader --against theirs"


def test_the_table_of_planners_has_its_own_columns():
    seconds = {"published": np.array([15.0, 15.0]), "ours": np.array([1.0, 3.0])}
    rest = {"seconds_low": 1.0, "seconds_high": 3.0, "calls": 45000, "gigaflops": 6500.0, "working_memory_mb": None}
    rest |= {"tokens": 4, "token_dim": 128, "timed": 600, "whole": 9000, "difference": 1e-5}
    rows = [row | rest for row in rows_against("published", seconds, 1, "plans")]
    lines = tool.bench_block({"command": tool.PLANNER, "machine": "m", "rows": rows}).splitlines()
    assert lines[0].startswith("| name | s/plan [95 %] | x published [95 %] | predictions | TFLOP |")
    assert lines[3].startswith("| ours | 2 [1, 3] | 7.5 [") and lines[3].endswith("| 600 of 9,000 | 1e-05 |")
