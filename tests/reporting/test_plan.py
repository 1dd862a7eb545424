"""A planning evaluation as files."""

import json

import imageio.v3 as imageio
import numpy as np
import pytest

from cjepa.cli import main
from cjepa.planning.objectives import LastStepMSE
from cjepa.planning.planners.cem import CEM
from cjepa.reporting.plan import PlanJob, plan_baselines, plan_model
from tests.conftest import RecordedProgress, configs, fit, ignore_progress

PAIRS = 3
CEM_4 = CEM(num_samples=4, iterations=2, num_elites=2)


@pytest.fixture(scope="module")
def job(episodes_path) -> PlanJob:
    protocol = {"pairs": PAIRS, "goal_env_steps": 25, "budget_env_steps": 50, "horizon_blocks": 5, "frame_stride": 5}
    return PlanJob(str(episodes_path), "cjepa/PushT-v0", {}, **protocol, seed=0, num_videos=2)


@pytest.fixture(scope="module")
def evaluated(job, world_model_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan") / "model"
    checkpoint = world_model_run / "checkpoints" / "last.ckpt"
    spent = RecordedProgress()
    rows = plan_model(job, checkpoint, "toy", CEM_4, LastStepMSE(), folder, spent)
    return folder, rows, spent.amounts


def by_metric(rows: list[dict]) -> dict[str, dict]:
    return {row["metric"]: row for row in rows}


def test_rows_of_a_model(evaluated, slot_tokens):
    folder, rows, spent = evaluated
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(rows))
    rows = by_metric(rows)
    success = rows["success"]
    assert success["n"] == PAIRS and 0 <= success["low"] <= success["value"] <= success["high"] <= 1
    assert success["value"] * PAIRS == pytest.approx(round(success["value"] * PAIRS))
    assert rows["seconds_per_plan"]["value"] > 0 and rows["seconds_per_plan_batched"]["n"] == PAIRS * len(spent)
    assert rows["skipped_trivial_pairs"]["value"] >= 0
    assert {row["model"] for row in rows.values()} == {"toy"} and {row["split"] for row in rows.values()} == {"test"}
    assert all(row["tokens"] > 0 and row["token_dim"] > 0 for row in rows.values())
    assert sum(spent) <= 50


def test_the_record_of_an_evaluation(evaluated, episodes):
    folder, _, _ = evaluated
    record = json.loads((folder / "run.json").read_text())
    assert record["data"]["fingerprint"] == episodes.fingerprint
    assert record["evaluation"]["pairs"] == PAIRS and "held_out" in record["evaluation"]
    assert record["actions"]["planner"]["class"] == "CEM" and record["actions"]["planner"]["num_samples"] == 4
    assert record["model"]["tokenizer_fingerprint"] and record["model"]["device"] == "cpu"


def test_videos_of_the_first_trials(evaluated):
    folder, rows, _ = evaluated
    videos = sorted((folder / "media").glob("*.mp4"))
    assert [path.name[:7] for path in videos] == ["trial00", "trial01"]
    successes = sum("success" in path.name for path in videos)
    assert successes <= by_metric(rows)["success"]["value"] * PAIRS
    frames = imageio.imread(videos[0])
    assert frames.ndim == 4 and 1 < len(frames) <= 51
    assert frames.shape[2] > 2.5 * frames.shape[1] and frames.std() > 1  # three panels side by side


def test_the_same_seed_gives_the_same_outcome(job, world_model_run, evaluated, tmp_path):
    checkpoint = world_model_run / "checkpoints" / "last.ckpt"
    job = job._replace(num_videos=0)
    rows = plan_model(job, checkpoint, "toy", CEM_4, LastStepMSE(), tmp_path, ignore_progress)
    for name in ("success", "final_error_0", "final_error_1"):
        assert by_metric(rows)[name]["value"] == by_metric(evaluated[1])[name]["value"]


@pytest.mark.slow
def test_baselines_do_not_depend_on_the_number_of_workers(job, tmp_path):
    job = job._replace(pairs=2, budget_env_steps=25)
    done = RecordedProgress()
    one, two = (plan_baselines(job, CEM_4, tmp_path / str(workers), workers, done) for workers in (1, 2))
    assert sum(done.amounts) == 4
    for first, second in zip(one, two, strict=True):
        if not first["metric"].startswith("seconds"):
            assert {**first, "run": ""} == {**second, "run": ""}
    assert {row["model"] for row in one} == {"random", "simulator-cem"}
    assert {(row["model"], row["metric"]) for row in one} >= {("random", "success"), ("simulator-cem", "success")}
    assert (tmp_path / "1" / "run.json").is_file()


def test_all_agents_get_the_same_pairs(job):
    first, second = job.draw(), job._replace(num_videos=0).draw()
    assert [pair.start_row for pair in first.trials] == [pair.start_row for pair in second.trials]
    assert [p.start_row for p in job._replace(seed=1).draw().trials] != [p.start_row for p in first.trials]


def test_patches_plan_without_pictures(tmp_path, patch_tokens, job):
    """There is no decoder: the imagined column is left out."""
    words = configs("pusht/cjepa.yaml", "pusht/oc_jepa.yaml", "pusht/patch_4x4.yaml", "smoke/world_model.yaml")
    run = fit(tmp_path / "run", patch_tokens, *words)
    job = job._replace(pairs=1, num_videos=1, budget_env_steps=25)
    rows = plan_model(
        job, run / "checkpoints" / "last.ckpt", "patches", CEM_4, LastStepMSE(), tmp_path / "plan", ignore_progress
    )
    assert by_metric(rows)["success"]["tokens"] == 16
    (video,) = (tmp_path / "plan" / "media").glob("*.mp4")
    frames = np.asarray(imageio.imread(video))
    assert frames.shape[2] < 2.5 * frames.shape[1]


@pytest.mark.slow
@pytest.mark.parametrize(("source", "slots", "width"), [("oracle", 2, 7), ("dino", 4, 96)])
def test_what_needs_no_training_plans(source, slots, width, tmp_path, tiny_dinov2, episodes_path):
    """From `cjepa tokenize` to a video; there is nothing to decode, so only what is real is in it."""
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
    assert frames.shape[2] < 2.5 * frames.shape[1] and frames.std() > 1


def test_the_command_puts_results_into_the_run(tmp_path, slot_tokens, episodes_path, capsys):
    run = fit(tmp_path / "run", slot_tokens, *configs("pusht/cjepa.yaml", "smoke/world_model.yaml"))
    words = ["plan", str(run), *configs("pusht/plan.yaml", "smoke/plan.yaml"), "--episodes", str(episodes_path)]
    words += ["--pairs", "1", "--num_videos", "0", "--planner.init_args.num_samples", "4", "--budget_env_steps", "25"]
    capsys.readouterr()
    assert main(words) == 0
    out = capsys.readouterr().out
    assert f"next: cjepa report {run / 'plan'}" in out and "%" in out
    assert {row["model"] for row in json.loads((run / "plan" / "results.json").read_text())} == {"run"}
    assert main(["report", str(run / "plan")]) == 0
