import itertools
import json
from dataclasses import replace

import pytest
import torch

from cjepa.bench import planner
from cjepa.cli import main
from tests.conftest import RecordedProgress


def test_seconds_are_of_whole_plans(small, monkeypatch):
    """One of 30 iterations, and 4 of 300 candidates, were timed: a whole plan takes 2,250 times as long."""
    searches = planner.make_searches(1, 4, 2)
    monkeypatch.setattr(planner, "_turn", lambda search: lambda number: 0.25)
    progress = RecordedProgress()
    rows = {row["name"]: row for row in planner.compare_searches(searches, 3, progress)}
    assert set(rows) == set(searches) and len(progress.amounts) == len(searches) * 4
    assert rows[planner.REFERENCE]["seconds"] == pytest.approx(0.25 * 2250)
    assert rows[planner.FULL]["ratio"] == pytest.approx(1.0)
    assert rows["patch-4x4"]["seconds"] == pytest.approx(0.25 * 4500)
    assert rows["object-filter"]["seconds"] == 0.25 and rows["object-filter"]["ratio"] == pytest.approx(2250)
    assert rows[planner.REFERENCE]["calls"] == 300 * 30 * 5
    assert rows["object-filter x 3"]["calls"] == 3 * rows["object-filter"]["calls"]
    assert rows["object-filter x 3"]["gigaflops"] == pytest.approx(3 * rows["object-filter"]["gigaflops"])
    flops = [rows[name]["gigaflops"] for name in ("object-filter", planner.HALF, "patch-3x3", "patch-4x4")]
    assert all(few < many for few, many in itertools.pairwise(flops))
    assert rows[planner.FULL]["gigaflops"] < rows[planner.REFERENCE]["gigaflops"] < 2 * rows[planner.FULL]["gigaflops"]
    assert rows[planner.FULL]["difference"] < 1e-3 and rows["object-filter"]["difference"] is None
    assert [row["tokens"] for row in rows.values()] == [4, 4, 4, 2, 2, 9, 16]


def test_actions_of_other_random_numbers_are_not_compared(small, monkeypatch):
    """A GPU draws its own, whatever the seed."""
    made = planner.make_searches(1, 2, 2)
    searches = {name: replace(made[name], device=torch.device("cuda")) for name in (planner.REFERENCE, planner.FULL)}
    monkeypatch.setattr(planner, "_turn", lambda search: lambda number: 0.25)
    monkeypatch.setattr(planner, "working_memory_mb", lambda work, device: 1.0)
    monkeypatch.setattr(planner.Search, "gigaflops", lambda search: 1.0)
    rows = planner.compare_searches(searches, 1, RecordedProgress())
    assert [row["difference"] for row in rows] == [None, None]


def test_rows_for_programs_and_a_table(small, capsys):
    threads = torch.get_num_threads()
    options = ["--iterations=1", "--candidates=2", "--patch_candidates=2", "--rounds=2", "--cores=1"]
    assert main(["bench", "planner", *options, "--environments=3", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert torch.get_num_threads() == threads and all(row["cores"] == 1 and row["n"] == 2 for row in rows)
    assert {row["environments"] for row in rows if row["name"].startswith("object-filter")} == {3}
    assert rows[0]["name"] == rows[0]["reference"] == planner.REFERENCE and rows[0]["ratio"] == pytest.approx(1.0)
    assert all(row["low"] <= row["ratio"] <= row["high"] for row in rows)
    table = planner.planner_table(rows)
    assert len({len(cells) for cells in table}) == 1 and table[1][-2] == "2 of 9,000" and table[6][6] == "9 x 12"


def test_one_candidate_is_no_search(capsys):
    assert main(["bench", "planner", "--candidates=1"]) == 2
    assert "--candidates is 1 and --patch_candidates 4, expected 2 or more of both" in capsys.readouterr().err
