"""A planning evaluation as files, from the command to the last video."""

import csv
import json
import re
import shutil
from dataclasses import replace

import imageio.v3 as imageio
import numpy as np
import pytest

from cjepa.cli import main
from cjepa.envs.pusht.env import PushT
from cjepa.errors import UserError
from cjepa.evaluation.planning import control
from cjepa.evaluation.planning.baselines import evaluate_baselines
from cjepa.evaluation.planning.films import Film
from cjepa.planning.fallbacks import HoldWhenUnsure
from cjepa.planning.planners.mppi import MPPI
from cjepa.reporting import plan
from cjepa.reporting.plan import write_baseline_results
from cjepa.reporting.plan_videos import footers
from tests.conftest import RecordedProgress, configs, fit, ignore_progress
from tests.reporting.plans import CEM_4, PAIRS, by_metric, planned, table_of


@pytest.fixture(scope="module")
def evaluated(protocol, world_model_run, tmp_path_factory):
    folder, progress = tmp_path_factory.mktemp("plan") / "model", RecordedProgress()
    return folder, planned(protocol, world_model_run, folder, 2, progress), progress


def test_rows_of_a_model(evaluated):
    folder, rows, progress = evaluated
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(rows))
    rows = by_metric(rows)
    success = rows["success"]
    assert success["n"] == PAIRS and 0 <= success["low"] <= success["value"] <= success["high"] <= 1
    assert success["value"] * PAIRS == pytest.approx(round(success["value"] * PAIRS))
    assert rows["seconds_per_plan"]["value"] > 0 and rows["seconds_per_plan"]["n"] == control.LATENCY_CALLS
    assert rows["seconds_per_env_step"]["value"] == pytest.approx(rows["seconds_per_plan"]["value"] / 25)
    # trials that have ended are not planned for
    assert rows["seconds_per_plan_batched"]["n"] == sum(int(trial["plans"]) for trial in table_of(folder))
    assert rows["skipped_trivial_pairs"]["value"] >= 0
    assert rows["final_error_position"]["n"] == rows["final_error_angle"]["n"] == PAIRS
    assert success["episodes"] == rows["final_error_angle"]["episodes"] == 1  # three pairs of one test episode
    assert rows["env_steps_to_success"]["n"] == round(success["value"] * PAIRS)
    assert {row["model"] for row in rows.values()} == {"toy"} and {row["split"] for row in rows.values()} == {"test"}
    assert all(row["tokens"] > 0 and row["token_dim"] > 0 for row in rows.values())
    assert sum(progress.amounts) <= 50


def test_the_table_of_trials(evaluated, episodes):
    folder, rows, _ = evaluated
    table, rows = table_of(folder), by_metric(rows)
    assert [int(trial["pair"]) for trial in table] == list(range(PAIRS))
    assert np.mean([int(trial["success"]) for trial in table]) == pytest.approx(rows["success"]["value"])
    for trial in table:
        start, episode = int(trial["start_row"]), int(trial["episode"])
        assert 0 <= start - episodes.offsets[episode] < episodes.lengths[episode] - 25
        errors = [float(trial[f"final_error_{name}"]) for name in ("position", "angle")]
        assert (trial["env_steps_to_success"] != "") == (max(errors) < 1) == bool(int(trial["success"]))
        assert 1 <= int(trial["plans"]) <= 2 and trial["fallbacks"] == "0"
    positions = [float(trial["final_error_position"]) for trial in table]
    assert np.mean(positions) == pytest.approx(rows["final_error_position"]["value"], rel=1e-4)
    units = [rows[f"final_error_{name}"]["unit"] for name in ("position", "angle")]
    assert units == ["of tolerance (20 px)", "of tolerance (20 degrees)"]


def test_the_table_of_env_steps(evaluated):
    """Every action, and what was expected when plans of 25 env steps were made."""
    folder, _, _ = evaluated
    steps = list(csv.DictReader((folder / "steps.csv").open()))
    for trial in table_of(folder):
        of_trial = [row for row in steps if row["pair"] == trial["pair"]]
        taken = int(trial["env_steps_to_success"] or 50)
        assert [int(row["env_step"]) for row in of_trial] == list(range(taken))
        assert [int(row["plan"]) for row in of_trial] == [step // 25 for step in range(taken)]
        assert all(abs(float(row[f"action_{value}"])) <= 1 for row in of_trial for value in (0, 1))
        expected = ["0", "25"] if taken > 25 else ["0"]
        assert [row["env_step"] for row in of_trial if row["cost"]] == expected
        assert [row["env_step"] for row in of_trial if row["surprise"]] == expected[1:]
        assert all(float(row["surprise"]) > 0 for row in of_trial if row["surprise"])
        assert {row["fallback"] for row in of_trial} == {"0"} and {row["model"] for row in of_trial} == {"toy"}


def test_where_the_fallback_held_is_in_the_tables(protocol, ensemble_run, slot_tokens, tmp_path):
    """No plan is surer than the surest of the recorded actions: each is replaced by doing nothing."""
    fallback = HoldWhenUnsure(0.0, str(slot_tokens))
    rows = planned(replace(protocol, pairs=1, budget_env_steps=30), ensemble_run, tmp_path, fallback=fallback)
    (trial,) = table_of(tmp_path)
    assert by_metric(rows)["fallbacks"]["value"] == int(trial["fallbacks"]) / int(trial["plans"])
    steps = list(csv.DictReader((tmp_path / "steps.csv").open()))
    held = [row for row in steps if row["fallback"] == "1"]
    assert int(trial["fallbacks"]) == len({row["plan"] for row in held}) > 0
    assert all(float(row[f"action_{value}"]) == 0 for row in held for value in (0, 1))
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["failures"][-1].startswith(f"the fallback replaced {trial['fallbacks']} plan")
    thresholds = record["actions"]["fallback"]["threshold_by_blocks"]
    assert len(thresholds) == 5 and min(thresholds) > 0


def test_the_record_of_an_evaluation(evaluated, episodes):
    record = json.loads((evaluated[0] / "run.json").read_text())
    assert record["data"]["fingerprint"] == episodes.fingerprint
    evaluation = record["evaluation"]
    assert evaluation["pairs"] == PAIRS and evaluation["env_id"] == "cjepa/PushT-v0"
    assert evaluation["held_out"] == "1 test episode of the training's split (split_seed 0)"
    actions = record["actions"]
    assert actions["planner"]["class"] == "CEM" and actions["planner"]["num_samples"] == 4
    assert actions["bounds"] == [[-1, -1], [1, 1]] and actions["execute_blocks"] == 5
    failed = sum(trial["success"] == "0" for trial in table_of(evaluated[0]))
    assert record["failures"] == [f"{failed} of {PAIRS} trials"]
    assert record["model"]["tokenizer_fingerprint"] and record["model"]["device"] == "cpu"


def test_videos_of_both_outcomes(evaluated):
    folder, rows, _ = evaluated
    videos = sorted((folder / "media").glob("*.mp4"))
    outcomes = {path.stem.partition("-")[2] for path in videos}
    assert len(videos) == 2 and len(outcomes) == (2 if 0 < by_metric(rows)["success"]["value"] < 1 else 1)
    frames = imageio.imread(videos[0])
    assert frames.ndim == 4 and 1 < len(frames) <= 51
    assert frames.shape[2] > 2.5 * frames.shape[1] and frames.std() > 1  # three panels side by side


def test_every_frame_says_how_far_the_goal_is():
    film = Film(0, None, np.array([[2.5, 0.25], [1.5, 0.5], [0.9, 0.75]]))
    texts = footers(film, ("position", "angle"), 50, "success")
    assert texts[0] == "env step 0 of 50: position 2.50, angle 0.25 (success below 1)"
    assert texts[2] == "success, env step 2 of 50: position 0.90, angle 0.75 (success below 1)"


def test_the_same_seed_gives_the_same_outcome(protocol, world_model_run, evaluated, tmp_path):
    planned(protocol, world_model_run, tmp_path)
    assert table_of(tmp_path) == table_of(evaluated[0])


def test_receding_plans_from_a_history(protocol, world_model_run, tmp_path):
    protocol = replace(protocol, pairs=1, budget_env_steps=15, execute_blocks=1, warm_start=True)
    planned(protocol, world_model_run, tmp_path, history_blocks=2)
    (trial,) = table_of(tmp_path)
    assert trial["plans"] == "3" or trial["success"] == "1"
    actions = json.loads((tmp_path / "run.json").read_text())["actions"]
    assert (actions["execute_blocks"], actions["warm_start"], actions["history_blocks"]) == (1, True, 2)


def test_a_longer_history_than_the_models_is_refused(protocol, world_model_run, tmp_path):
    with pytest.raises(UserError, match="history_blocks is 9, expected 1..3: .*last.ckpt"):
        planned(protocol, world_model_run, tmp_path, history_blocks=9)


@pytest.mark.slow
def test_baselines_do_not_depend_on_the_number_of_workers(protocol, tmp_path):
    protocol, done = replace(protocol, pairs=2, budget_env_steps=25), RecordedProgress()
    folders = [tmp_path / str(workers) for workers in (1, 2)]
    for workers, folder in enumerate(folders, 1):
        results = evaluate_baselines(protocol, CEM_4, 0, workers, done)
        rows = write_baseline_results(results, folder, planner=CEM_4, seconds=1.0)
    assert sum(done.amounts) == 4
    assert table_of(folders[0]) == table_of(folders[1])
    assert [trial["model"] for trial in table_of(folders[0])] == ["random"] * 2 + ["simulator-cem"] * 2
    assert {(row["model"], row["metric"]) for row in rows} >= {("random", "success"), ("simulator-cem", "success")}
    timed = [row for row in rows if row["metric"] == "seconds_per_plan"]
    assert [(row["model"], row["n"]) for row in timed] == [("simulator-cem", 2)]
    assert (folders[0] / "run.json").is_file()


def test_the_simulator_is_named_by_its_planner(protocol, tmp_path):
    planner = MPPI(num_samples=4, iterations=2, num_elites=2)
    results = evaluate_baselines(replace(protocol, pairs=1, budget_env_steps=5), planner, 0, 1, ignore_progress)
    write_baseline_results(results, tmp_path, planner=planner, seconds=1.0)
    assert [trial["model"] for trial in table_of(tmp_path)] == ["random", "simulator-mppi"]
    steps = list(csv.DictReader((tmp_path / "steps.csv").open()))
    assert [(row["model"], row["env_step"]) for row in steps] == [
        (name, str(env_step)) for name in ("random", "simulator-mppi") for env_step in range(5)
    ]


def test_results_come_last(protocol, tmp_path, monkeypatch):
    """A folder with results counts as done: after a kill or a full disk, it would be so without a record."""

    def full(*_, **__):
        raise OSError("the disk is full")

    results = evaluate_baselines(replace(protocol, pairs=1, budget_env_steps=5), None, 0, 1, ignore_progress)
    monkeypatch.setattr(plan, "write_run_record", full)
    with pytest.raises(OSError, match="full"):
        write_baseline_results(results, tmp_path, planner=None, seconds=1.0)
    assert (tmp_path / "trials.csv").is_file() and not (tmp_path / "results.json").exists()


@pytest.mark.slow
def test_patches_plan_without_pictures(tmp_path, patch_tokens, protocol):
    """There is no decoder: the imagined column is left out."""
    words = configs("pusht/cjepa.yaml", "pusht/oc_jepa.yaml", "pusht/patch_4x4.yaml", "smoke/world_model.yaml")
    run = fit(tmp_path / "run", patch_tokens, *words)
    rows = planned(replace(protocol, pairs=1, budget_env_steps=25), run, tmp_path / "plan", 1)
    assert by_metric(rows)["success"]["tokens"] == 16
    (video,) = (tmp_path / "plan" / "media").glob("*.mp4")
    frames = np.asarray(imageio.imread(video))
    assert frames.shape[2] < 2.5 * frames.shape[1]


@pytest.mark.slow
@pytest.mark.parametrize(("source", "slots", "width", "panels"), [("oracle", 2, 7, 3), ("dino", 4, 96, 2)])
def test_what_needs_no_training_plans(source, slots, width, panels, tmp_path, tiny_dinov2, episodes_path):
    """From `cjepa tokenize` to a video; nothing is decoded, but the oracle's imagined places are known."""
    tokens, run = tmp_path / "tokens.h5", tmp_path / "run"
    words = {"oracle": ["oracle"], "dino": [f"dino:{tiny_dinov2}", "--patch_grid=2"]}[source]
    assert main(["tokenize", *words, str(episodes_path), "--out", str(tokens), "--device=cpu"]) == 0
    words = [*configs("pusht/cjepa.yaml", "smoke/world_model.yaml"), "--model.init_args.predictor.init_args.token_dim"]
    fit(run, tokens, *words, str(width))
    words = ["plan", str(run), *configs("pusht/plan.yaml", "smoke/plan.yaml"), "--episodes", str(episodes_path)]
    words += ["--pairs", "1", "--num_videos", "1", "--planner.init_args.num_samples", "4", "--budget_env_steps", "25"]
    assert main([*words, "--device=cpu"]) == 0
    rows = by_metric(json.loads((run / "plan" / "results.json").read_text()))
    assert (rows["success"]["tokens"], rows["success"]["token_dim"]) == (slots, width)
    (video,) = (run / "plan" / "media").glob("*.mp4")
    frames = np.asarray(imageio.imread(video))
    assert round(frames.shape[2] / (frames.shape[1] - 44)) == panels and frames.std() > 1


def test_the_command_puts_results_into_the_run(tmp_path, world_model_run, episodes_path, capsys):
    run = shutil.copytree(world_model_run, tmp_path / "run")
    words = ["plan", str(run), *configs("pusht/plan.yaml", "smoke/plan.yaml"), "--episodes", str(episodes_path)]
    words += ["--pairs", "1", "--num_videos", "0", "--planner.init_args.num_samples", "4", "--budget_env_steps", "25"]
    words += ["--env_kwargs.image_size", "64"]  # YAMLs from before 0.3.0 name the environment
    capsys.readouterr()
    assert main(words) == 0
    out = capsys.readouterr().out
    assert f"next: cjepa report {run / 'plan'}" in out and "%" in out
    assert "pairs from 1 test episode of the training's split (split_seed 0)" in out
    assert {row["model"] for row in json.loads((run / "plan" / "results.json").read_text())} == {"run"}
    assert main(["report", str(run / "plan")]) == 0


def test_constraints_are_named_like_planner_and_objective(world_model_run, episodes_path, tmp_path, monkeypatch):
    sent = []
    advance = PushT.advance
    monkeypatch.setattr(PushT, "advance", lambda env, action: (sent.append(np.array(action)), advance(env, action)))
    yaml = tmp_path / "slow.yaml"
    yaml.write_text("constraints: [{class_path: cjepa.planning.constraints.Box, init_args: {low: -0.1, high: 0.2}}]")
    box = {"class_path": "cjepa.planning.constraints.Box", "init_args": {"low": -0.1, "high": [0.2, 0.2]}}
    for number, words in enumerate((["-c", str(yaml)], ["--constraints", json.dumps([box])])):
        command = ["plan", str(world_model_run), *configs("pusht/plan.yaml", "smoke/plan.yaml"), *words]
        command += ["--episodes", str(episodes_path), "--pairs", "1", "--num_videos", "0", "--budget_env_steps", "25"]
        assert main([*command, "--out", str(tmp_path / str(number))]) == 0
        (found,) = json.loads((tmp_path / str(number) / "run.json").read_text())["actions"]["constraints"]
        assert found["class"] == "Box" and found["low"] == -0.1
    assert sent and np.min(sent) == pytest.approx(-0.1) and np.max(sent) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--env_id", "cjepa/Collide-v0"], "has episodes of cjepa/PushT-v0"),
        (["--env_kwargs.image_size", "96"], "image_size is 96, but .* was recorded with 64"),
        (["--execute_blocks", "6"], "execute_blocks is 6, expected 1..horizon_blocks = 5"),
        (["--planner.init_args.initial_std", "-0.4"], "initial_std is -0.4"),
        (["--constraints", '[{"class_path": "Box", "init_args": {"low": 2.0, "high": 1.0}}]'], "Box: low is 2.0"),
        (["--constraints", '[{"class_path": "LastStepMSE"}]'], "constraints"),
    ],
)
def test_calls_that_are_refused(words, fault, refused, world_model_run, episodes_path, tmp_path):
    command = ["plan", world_model_run, *configs("pusht/plan.yaml", "smoke/plan.yaml"), "--episodes", episodes_path]
    line = refused(*command, "--out", "plan", *words)
    assert re.search(fault, line), line
    assert not (tmp_path / "plan" / "results.json").exists()
