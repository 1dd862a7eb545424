import numpy as np
import pytest

from cjepa.errors import UserError
from cjepa.evaluation.planning.against import read_rivals
from cjepa.evaluation.planning.pairs import Pair, Pairs
from cjepa.evaluation.planning.protocol import PlanningProtocol
from cjepa.files import write_json

PAIRS = Pairs([Pair(3, 40, np.zeros(7), np.ones(7)), Pair(5, 60, np.zeros(7), np.ones(7))], 0)
PROTOCOL = PlanningProtocol("a.h5")
HEADER = "model,pair,episode,start_row,success\n"


@pytest.fixture
def folder(tmp_path):
    def write(text: str):
        (tmp_path / "trials.csv").write_text(text)
        return tmp_path

    return write


def test_every_agent_of_the_table_is_a_rival(folder):
    rows = "random,0,3,40,0\nrandom,1,5,60,1\nsimulator-cem,0,3,40,1\nsimulator-cem,1,5,60,1\n"
    rivals = read_rivals(folder(HEADER + rows), PAIRS, PROTOCOL, "f0")
    assert [(rival.model, rival.success_N.tolist()) for rival in rivals] == [
        ("random", [False, True]),
        ("simulator-cem", [True, True]),
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "has no trials"),
        (HEADER + "a,0,3,40,0\n", r"trials of a \(1\) are not the pairs of this evaluation \(2\)"),
        (
            HEADER + "a,0,3,40,0\na,1,5,61,0\n",
            r"the pairs of this evaluation \(2\); use the same",
        ),
        (HEADER + "a,0,5,60,0\na,1,3,40,0\n", r"not the pairs of this evaluation \(2\)"),
        (HEADER + "a,0,3,40,\na,1,5,60,1\n", "success of a is unknown"),
        ("some text\nof the user\n", r"not the pairs of this evaluation \(2\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(text, fault, folder):
    with pytest.raises(UserError, match=fault):
        read_rivals(folder(text), PAIRS, PROTOCOL, "f0")


def test_a_folder_without_trials_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"--against: .*trials.csv does not exist; give the --out folder"):
        read_rivals(tmp_path, PAIRS, PROTOCOL, "f0")


@pytest.mark.parametrize(
    ("name", "earlier", "now"),
    [
        ("goal_state", [1.0, 2.0], None),
        ("goal_state", None, [1.0, 2.0]),
        ("goal_state", [1.0, 2.0], [1.0, 3.0]),
        ("published_protocol", True, False),
        ("published_protocol", False, True),
        ("budget_env_steps", 100, 50),
        ("goal_env_steps", 50, 25),
    ],
)
def test_the_same_starts_of_another_protocol_are_refused(name, earlier, now, folder):
    path = folder(HEADER + "a,0,3,40,0\na,1,5,60,1\n")
    write_json(path / "run.json", {"evaluation": {name: earlier}})
    same, other = (PlanningProtocol("a.h5", **{name: value}) for value in (earlier, now))
    assert [rival.success_N.tolist() for rival in read_rivals(path, PAIRS, same, "f0")] == [[False, True]]
    with pytest.raises(UserError, match=f"run.json: {name} is .* use the same --{name}"):
        read_rivals(path, PAIRS, other, "f0")


def test_a_record_from_before_is_of_held_out_pairs(folder):
    path = folder(HEADER + "a,0,3,40,0\na,1,5,60,1\n")
    write_json(path / "run.json", {"evaluation": {"goal_state": None}})
    assert len(read_rivals(path, PAIRS, PROTOCOL, "f0")) == 1
    with pytest.raises(UserError, match="published_protocol is False"):
        read_rivals(path, PAIRS, PlanningProtocol("a.h5", published_protocol=True), "f0")


def test_trials_of_other_episodes_are_refused_even_if_their_rows_are_the_same(folder):
    """Files of episodes of one length give the same rows whatever is recorded in them."""
    path = folder(HEADER + "a,0,3,40,0\na,1,5,60,1\n")
    write_json(path / "run.json", {"evaluation": {}, "data": {"fingerprint": "f0"}})
    assert len(read_rivals(path, PAIRS, PROTOCOL, "f0")) == 1
    with pytest.raises(UserError, match=r"its episodes is f0, but a.h5 has f1; use the same --episodes"):
        read_rivals(path, PAIRS, PROTOCOL, "f1")
