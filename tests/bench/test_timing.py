import numpy as np
import pytest
import torch

from cjepa.bench.timing import bench_table, rows_against, take_turns, working_memory_mb
from tests.conftest import RecordedProgress


def test_every_round_begins_with_another_contender():
    log, progress = [], RecordedProgress()

    def contender(name: str, seconds: float):
        def run(number: int) -> float:
            log.append((name, number))
            return seconds * (number + 1)

        return run

    contenders = {"a": contender("a", 1.0), "b": contender("b", 10.0), "c": contender("c", 100.0)}
    seconds = take_turns(contenders, 4, progress)
    assert [name for name, _ in log] == list("abcbcacababc")
    assert [number for _, number in log] == sorted(number for _, number in log)
    assert {name: values.tolist() for name, values in seconds.items()} == {
        "a": [1, 2, 3, 4],
        "b": [10, 20, 30, 40],
        "c": [100, 200, 300, 400],
    }
    assert progress.amounts == [1] * 12


def test_rows_by_hand():
    seconds = {"ours": np.array([1.0, 2.0, 1.0]), "theirs": np.array([10.0, 16.0, 10.0])}
    ours, theirs = rows_against("theirs", seconds, samples=120, unit="clips")
    assert (ours["name"], ours["reference"], ours["n"]) == ("ours", "theirs", 3)
    assert ours["seconds"] == pytest.approx(4 / 3)
    assert ours["samples_per_s"] == pytest.approx(90) and ours["unit"] == "clips"
    assert ours["ratio"] == pytest.approx(9.0)  # means: 12 s against 4/3 s
    assert 8.0 <= ours["low"] < 9.0 < ours["high"] <= 10.0
    assert (theirs["ratio"], theirs["low"], theirs["high"]) == (1.0, 1.0, 1.0)


def test_what_slows_both_down_alike_does_not_change_the_ratio():
    load = np.array([1.0, 5.0, 2.0, 9.0])
    ours, _ = rows_against("theirs", {"ours": load, "theirs": 8 * load}, samples=1, unit="clips")
    assert (ours["ratio"], ours["low"], ours["high"]) == pytest.approx((8.0, 8.0, 8.0))


def test_table():
    rows = rows_against("b", {"a": np.array([0.5]), "b": np.array([4.0])}, samples=2_000, unit="clips")
    assert bench_table(rows) == [
        ["name", "clips/s", "x b [95 %]", "rounds"],
        ["a", "4,000", "8.00", "1"],
        ["b", "500", "1.00", "1"],
    ]


def test_slow_rates_keep_their_decimals():
    seconds = {"slow": np.array([2.0, 2.0]), "fast": np.array([0.001, 0.001])}
    rates = [row[1] for row in bench_table(rows_against("slow", seconds, 3, "steps"))]
    assert rates == ["steps/s", "1.5", "3,000"]


def test_memory_of_work():
    """64 MiB that are written to; on a system that tells."""
    taken = working_memory_mb(lambda: np.ones(2**23).sum(), torch.device("cpu"))
    assert taken is None or 60 < taken < 100
