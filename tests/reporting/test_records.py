"""Rows have the agreed keys, records name no folder of the machine."""

import json
import sys
from types import SimpleNamespace

import pytest
from jsonargparse.typing import ClosedUnitInterval, PositiveInt

import cjepa
from cjepa.evaluation.intervals import Interval
from cjepa.planning.distances import ByIndex
from cjepa.planning.objectives import ActionCost, LastStepMSE, WeightedSum
from cjepa.reporting import records


@pytest.mark.parametrize(("dirty", "expected"), [(False, "abc"), (True, "abc-dirty"), (None, None)])
def test_result_row_has_the_agreed_keys_in_order(monkeypatch, dirty, expected):
    commit = None if dirty is None else "abc"
    monkeypatch.setattr(records, "_git_state", lambda: (commit, dirty))
    row = records.result_row("success", 0.5, model="m", n=4, low=0.1, high=0.9, tokens=5, token_dim=52, seed=3)
    keys = "metric value n low high unit model tokens token_dim seed split run git"
    assert list(row) == keys.split()
    assert (row["value"], row["n"], row["split"], row["git"]) == (0.5, 4, "test", expected)
    assert records.result_row("success", 0.5, model="m", n=4, episodes=2)["episodes"] == 2
    unknown = records.interval_row("success", Interval(0.5, float("nan"), float("nan"), 1), model="m")
    assert (unknown["value"], unknown["low"], unknown["high"], unknown["n"]) == (0.5, None, None, 1)


def test_git_state_without_git_is_unknown_and_not_clean(monkeypatch):
    monkeypatch.setenv("PATH", "")
    records._git_state.cache_clear()
    assert records.git_state() == {"commit": None, "dirty": None}
    records._git_state.cache_clear()


@pytest.mark.parametrize("program", ["/opt/bin/cjepa", "/opt/site-packages/cjepa/cli.py"])
def test_run_record_has_every_section_and_no_folder_of_the_machine(program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = [program, "fit", "--data.path=/home/someone/pusht.h5", str(tmp_path / "runs/a"), "--seed", "1"]
    monkeypatch.setattr(sys, "argv", argv)
    sections = {"objective": {}, "data": {}, "evaluation": {}, "actions": {}, "uncertainty": ["none"]}
    path = records.write_run_record(tmp_path / "run", model={"class": "Slots"}, seconds=1.5, **sections)
    record = json.loads(path.read_text())
    assert path == tmp_path / "run" / "run.json"
    assert record["command"] == "cjepa fit --data.path=pusht.h5 runs/a --seed 1"
    assert record["model"] == {"class": "Slots"} and record["uncertainty"] == ["none"] and record["seconds"] == 1.5
    assert record["peak_memory_mb"] > 10 and {"python", "torch"} <= set(record["versions"])
    assert record["versions"]["cjepa"] == cjepa.__version__
    assert set(record["git"]) == {"commit", "dirty"}


def test_parts_are_described_to_their_ends():
    objective = WeightedSum([LastStepMSE(distance=ByIndex([1])), ActionCost()], [1.0, 0.1])
    described = records.describe(objective)
    assert described["class"] == "WeightedSum" and described["weights"] == [1.0, 0.1]
    first, second = described["objectives"]
    assert first["distance"] == {"class": "ByIndex", "objects": [1]} and second == {"class": "ActionCost"}
    assert json.loads(json.dumps(described)) == described
    # numbers that the command line has checked are of classes of their own
    options = SimpleNamespace(pairs=PositiveInt(3), share=ClosedUnitInterval(0.5))
    assert records.describe(options) == {"class": "SimpleNamespace", "pairs": 3, "share": 0.5}


def test_metrics_have_one_row_a_step(tmp_path):
    """Steps 2 and 3 were logged, then lost by a kill, and logged again from the checkpoint of step 1."""
    path = tmp_path / "metrics.csv"
    path.write_text("step,train/loss,val/loss\n0,9,\n1,8,\n1,,5\n2,7,\n3,6,\n2,7.5,\n3,6.5,4\n")
    expected = [("0", "9", None), ("1", "8", "5"), ("2", "7.5", None), ("3", "6.5", "4")]
    assert [tuple(map(row.get, ("step", "train/loss", "val/loss"))) for row in records.read_metrics(path)] == expected
    assert records.read_metrics(tmp_path / "nowhere.csv") == []
