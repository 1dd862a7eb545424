"""A language model from training to planning: `cjepa fit`, `cjepa plan --goal_text`, and what is refused."""

import csv
import json

import pytest

from cjepa.cli import main
from cjepa.envs.pusht.env import PushT
from cjepa.envs.sentences import parse
from cjepa.evaluation.planning.control import run_trials
from cjepa.evaluation.planning.told import draw_told_pairs
from cjepa.planning.mpc import MPC
from tests.conftest import configs, ignore_progress
from tests.evaluation.planning.test_control import idle

PLAN = configs("pusht/plan.yaml", "pusht/plan_language.yaml")
SENTENCES = ["push the block to the left wall", "put the block near the middle", "move the agent to the top edge"]
SHORT = ["--pairs=3", "--budget_env_steps=5", "--num_videos=1", "--horizon_blocks=1", "--execute_blocks=1"]
SHORT += ["--planner.init_args.num_samples=4", "--planner.init_args.iterations=1", "--planner.init_args.num_elites=2"]


def test_trials_are_measured_by_whether_their_sentence_is_true(episodes, monkeypatch):
    """Starts in which it is not true, and as the goal the same with the body moved."""
    env = PushT()
    pairs, num_trivial = draw_told_pairs(episodes, range(20), env, 20, 25, 0, SENTENCES[:2])
    assert [pair.sentence for pair in pairs] == SENTENCES[:2] * 10 and num_trivial > 0
    for pair in pairs:
        statement = parse(pair.sentence)
        before, after = (statement.error(env.named_places(state), env.table) for state in pair[2:4])
        assert before >= 1 > after
    monkeypatch.setattr("cjepa.evaluation.planning.told._DRAWS", 1)  # the last draw counts too
    assert draw_told_pairs(episodes, range(20), env, 1, 25, 0, SENTENCES[2:])[0][0].sentence == SENTENCES[2]
    solved = pairs[0]._replace(start_state=pairs[0].goal_state)
    found = run_trials(idle(2), MPC(1), PushT, [solved, pairs[1]], 10, 0, 1, ignore_progress)
    assert found.success.tolist() == [True, False] and found.error_names == ("region",)
    assert found.env_steps_to_success == [1, None] and found.films[0].error_TE.shape == (2, 1)
    assert found.final_error[0, 0] < 1 <= found.final_error[1, 0]


def test_planning_aims_at_sentences(language_run, world_model_run, episodes_path, tmp_path):
    rows = {row["metric"]: row for row in json.loads((language_run / "results.json").read_text())}
    assert set(rows) == {"sentence_accuracy", "sentence_accuracy_goal"} and rows["sentence_accuracy"]["n"] > 0
    words = ["plan", str(world_model_run), *PLAN, *SHORT, "--episodes", str(episodes_path)]
    words += [f"--goal_text={json.dumps(SENTENCES)}", f"--objective.init_args.run={language_run}"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["evaluation"]["goal_text"] == SENTENCES
    said = record["evaluation"]["held_out"]
    assert "1 episode in common" in said and f"; language model {language_run}" in said
    found = {row["metric"]: row for row in json.loads((tmp_path / "out" / "results.json").read_text())}
    assert found["success"]["n"] == 3 and found["final_error_region"]["unit"] == "of tolerance (the region)"
    assert len(list(csv.DictReader((tmp_path / "out" / "trials.csv").open()))) == 3
    assert main(["report", str(tmp_path / "out")]) == 0


def test_chance_and_the_simulator_aim_at_them_too(episodes_path, tmp_path):
    words = ["plan-baselines", *configs("pusht/plan_baselines.yaml", "smoke/plan_baselines.yaml"), "--workers=1"]
    words += ["--episodes", str(episodes_path), "--pairs=1", "--budget_env_steps=5", f"--goal_text={SENTENCES[2]}"]
    assert main([*words, "--split_seed=null", "--out", str(tmp_path / "out")]) == 0
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {row["model"] for row in rows if row["metric"] == "final_error_region"} == {"random", "simulator-cem"}
    assert main([*words, "--split_seed=null", "--simulator=false", "--out", str(tmp_path / "alone")]) == 0
    alone = json.loads((tmp_path / "alone" / "results.json").read_text())
    assert [(row["model"], row["metric"], row["value"]) for row in alone] == [
        (row["model"], row["metric"], row["value"]) for row in rows if row["model"] == "random"
    ]


@pytest.mark.parametrize(
    ("option", "line"),
    [
        (
            "--goal_text=push the cube to the left wall",
            "unknown word 'cube'; known words: a, agent",
        ),
        ("--goal_text=", "--goal_text: the sentence is empty; say for example"),
        ("--goal_text=[]", "--goal_text: no sentence; give for example"),
        (
            "--goal_text=push the red square to the left wall",
            "have a red square of which it is not true yet; they have: agent, block",
        ),
        ("--goal_state=[1,1,1,1,1,0,0]", "--goal_text: the sentence is the goal; leave out --goal_state"),
        ("--prior={model}", "--prior: it needs a goal that can be seen"),
        (
            "--objective.init_args.run={model}",
            ": a world model, not a language model; give a run of `cjepa fit -c experiments/pusht/language.yaml`, or",
        ),
    ],
)
def test_wrong_sentences_are_refused(option, line, language_run, world_model_run, episodes_path, refused):
    words = ["plan", world_model_run, *PLAN, *SHORT, "--episodes", episodes_path, "--out", "out"]
    words += [f"--objective.init_args.run={language_run}", option.format(model=world_model_run)]
    assert line in refused(*words)


def test_a_language_model_is_no_world_model(language_run, episodes_path, refused):
    line = refused("plan", language_run, *PLAN, *SHORT, "--episodes", episodes_path, "--out", "out")
    assert "a language model, not a world model; give a run of `cjepa fit -c experiments/pusht/cjepa.yaml`, or" in line
