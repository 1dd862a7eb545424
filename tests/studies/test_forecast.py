"""What stages will take side by side: times by hand."""

from cjepa.studies.forecast import Cost, forecast
from cjepa.studies.resources import Machine
from tests.studies.test_dispatch import stage

TWO_CORES = [Machine(2, 0, 8.0)]
STAGES = [
    stage("episodes", command="collect"),
    stage("long", "episodes", cpus=1),
    stage("short", "episodes", cpus=1),
    stage("plan-long", "long", "plan", cpus=1),
    stage("plan-short", "short", "plan", cpus=1),
    stage("baselines", "episodes", "plan-baselines"),
]
COSTS = {"episodes": 10, "long": 100, "short": 30, "plan-long": 50, "plan-short": 20, "baselines": 5}


def expected(jobs: int, finished: tuple[str, ...] = (), unknown: str = "") -> Cost:
    costs = {name: Cost(seconds, 100 + seconds) for name, seconds in COSTS.items() if name != unknown}
    return forecast([one for one in STAGES if one.name not in finished], costs, finished, jobs, TWO_CORES)


def test_one_after_another():
    assert expected(jobs=1) == Cost(215, 200)


def test_side_by_side():
    """The short branch, 30 + 20 s, is done while the long one trains; the baselines wait until nothing runs."""
    assert expected(jobs=2) == Cost(10 + 100 + 50 + 5, 200 + 130)


def test_what_is_done_takes_nothing():
    assert expected(jobs=2, finished=("episodes", "long")) == Cost(50 + 5, 150 + 130)


def test_a_stage_of_unknown_time_counts_as_taking_none():
    assert expected(jobs=2, unknown="long").seconds == 10 + 50 + 5
