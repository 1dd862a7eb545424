"""Trials of finished evaluations are compared where both have planned the same pair."""

import numpy as np
import pytest

from cjepa.errors import UserError
from cjepa.evaluation.intervals import paired_difference
from cjepa.evaluation.planning.trials import difference_by_pair, merged, read_trials

HEADER = "model,pair,episode,start_row,success,env_steps_to_success,final_error_position,plans,fallbacks"
RECORD = {"data": {"fingerprint": "aa"}, "evaluation": {"seed": 0, "goal_env_steps": 25, "budget_env_steps": 50}}


def write(folder, *lines):
    folder.mkdir(exist_ok=True)
    (folder / "trials.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    return folder


@pytest.fixture
def agents(tmp_path):
    a = write(
        tmp_path / "a",
        "a,0,7,70,1,12,0.5,1,0",
        "a,1,7,75,1,9,0.25,1,0",
        "a,2,8,80,0,,2.0,2,0",
        "a,3,9,90,1,3,0.5,1,0",
    )
    b = write(
        tmp_path / "b", "b,0,9,90,0,,1.5,2,0", "b,1,8,80,0,,3.0,2,0", "b,2,7,70,1,1,0.5,1,0", "b,3,5,50,1,2,0.1,1,0"
    )
    return read_trials(a, RECORD)["a"], read_trials(b, RECORD)["b"]


def test_only_common_pairs_count_in_whatever_order_they_are(agents):
    mine, theirs = agents
    found = difference_by_pair(mine, theirs, "success")  # 70, 80, 90: 1, 0, 1 against 1, 0, 0
    expected = paired_difference(np.array([1, 0, 1], bool), np.array([1, 0, 0], bool), np.array(["7", "8", "9"]))
    assert found == expected and found.value == pytest.approx(1 / 3) and found.n == 3


def test_a_pair_that_was_drawn_twice_counts_twice(tmp_path):
    """As it does in the rates: 2 / 3 minus 0."""
    mine = write(tmp_path / "a", "a,0,7,70,1,12,0.5,1,0", "a,1,8,80,1,9,0.5,1,0", "a,2,7,70,0,,2.0,2,0")
    theirs = write(
        tmp_path / "b", *(f"b,{index},{pair},0,,2.0,2,0" for index, pair in enumerate(["7,70", "8,80", "7,70"]))
    )
    found = difference_by_pair(*(read_trials(folder, RECORD)[folder.name] for folder in (mine, theirs)), "success")
    assert (found.value, found.n) == (pytest.approx(2 / 3), 3)


def test_errors_are_compared_pair_by_pair_too(agents):
    found = difference_by_pair(*agents, "final_error_position")
    assert found.value == pytest.approx((0 - 1 - 1) / 3) and found.low < found.value < found.high


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"evaluation": RECORD["evaluation"] | {"budget_env_steps": 100}}, "other budget_env_steps"),
        ({"data": {"fingerprint": "bb"}}, "other episodes"),
        ({"evaluation": RECORD["evaluation"] | {"seed": 1}}, "no pair in common"),
    ],
)
def test_other_tasks_and_pairs_are_not_paired(tmp_path, agents, change, reason):
    other = read_trials(tmp_path / "b", RECORD | change)["b"]
    assert difference_by_pair(agents[0], other, "success") == reason


def test_a_metric_without_values_of_pairs(agents):
    assert difference_by_pair(*agents, "seconds_per_plan") == "no values of single pairs"


def test_seeds_of_one_agent_are_merged_unless_their_tasks_differ(tmp_path, agents):
    second = RECORD | {"evaluation": RECORD["evaluation"] | {"seed": 1}}
    other = read_trials(tmp_path / "a", second)["a"]
    assert len(merged(agents[0], other).values["success"]) == 8
    longer = RECORD | {"evaluation": RECORD["evaluation"] | {"goal_env_steps": 50}}
    assert not merged(agents[0], read_trials(tmp_path / "a", longer)["a"]).values


def test_a_pair_of_several_evaluations_counts_once_with_their_mean(tmp_path, agents):
    """Pairs 70, 80, 90 have 1, 0, 1 and in the second evaluation 0, 1, 1; against 1, 0, 0."""
    write(tmp_path / "again", "a,0,7,70,0,,0.5,1,0", "a,1,8,80,1,9,1.0,1,0", "a,2,9,90,1,3,0.5,1,0")
    again = RECORD | {"evaluation": RECORD["evaluation"] | {"planner_seed": 1}}
    both = merged(agents[0], read_trials(tmp_path / "again", again)["a"])
    found = difference_by_pair(both, agents[1], "success")
    assert (found.value, found.n) == (pytest.approx((-0.5 + 0.5 + 1) / 3), 3) and found.low < 0 < found.high
    errors = difference_by_pair(both, agents[1], "final_error_position")
    assert errors.value == pytest.approx((0 - 1.5 - 1) / 3)


def test_a_folder_without_trials_has_none(tmp_path):
    assert read_trials(tmp_path, {}) == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [("a,0,7,70,yes,12,0.5,1,0", "line 2: success is 'yes'"), ("a,0,,70,1,12,0.5,1,0", "line 2 has no model, episode")],
)
def test_a_damaged_table_is_refused_with_its_line(tmp_path, line, message):
    with pytest.raises(UserError, match=message):
        read_trials(write(tmp_path / "x", line), RECORD)
