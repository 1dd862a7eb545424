"""What stages took: side by side is counted once."""

import pytest

from cjepa.reporting.stages import elapsed_seconds, stages_table


def stage(name: str, started: float | None, seconds: float, **more) -> dict:
    return {"name": name, "command": "fit", "started": started, "seconds": seconds} | more


@pytest.mark.parametrize(
    ("stages", "seconds"),
    [
        ([], 0),
        ([(None, 10), (None, 5)], 15),  # records of older versions
        ([(100, 10), (110, 5)], 15),
        ([(100, 10), (102, 3)], 10),  # one within the other
        ([(102, 20), (100, 10), (105, 30)], 35),
        ([(100, 10), (5000, 5)], 15),  # interrupted, continued later
        ([(100, 10), (105, 10), (None, 7)], 22),
    ],
)
def test_time_of_all_stages(stages, seconds):
    assert elapsed_seconds([stage("a", *times) for times in stages]) == seconds


def test_the_table_has_the_columns_that_are_filled():
    sides = [stage("a", 100, 70, cores=1, beside=["b"]), stage("b", 101, 2, cores=1, beside=["a"], cached=True)]
    assert stages_table(sides) == [
        ["stage", "command", "time", "cores", "at the same time as"],
        ["a", "fit", "1 min 10 s", "1", "b"],
        ["b", "fit", "2 s (cached)", "1", "a"],
    ]
    both = stages_table(sides[:1], missing=[{"name": "c", "command": "plan", "depends_on": ["a"]}])
    assert [row[0:4] for row in both[1:]] == [["a", "fit", "", "1 min 10 s"], ["c", "plan", "a", "no result"]]
    after = [{"name": "a", "depends_on": ["x", "y"], "peak_memory_mb": 1200.4}]
    assert stages_table(after) == [["stage", "after", "peak memory"], ["a", "x, y", "1,200 MB"]]
