"""Which episodes the pairs of an evaluation are from, and how its files say so."""

import json
from dataclasses import replace

import torch

from cjepa.checkpoints import find_checkpoint
from cjepa.data.splits import SPLIT_SHARES, split_episodes
from cjepa.evaluation.planning.baselines import evaluate_baselines
from cjepa.planning.probe_error import ProbeError
from cjepa.reporting.plan import write_baseline_results
from cjepa.reporting.report import build_report
from tests.conftest import NUM_EPISODES, configs, fit, ignore_progress
from tests.reporting.plans import CEM_4, by_metric, planned, table_of


def test_rows_of_validation_pairs_say_so(protocol, world_model_run, tmp_path):
    rows = planned(replace(protocol, split="val", pairs=1, budget_env_steps=5), world_model_run, tmp_path)
    assert {row["split"] for row in rows} == {"val"}
    (expected,) = split_episodes(NUM_EPISODES, SPLIT_SHARES, 0)["val"]
    assert {int(trial["episode"]) for trial in table_of(tmp_path)} == {expected}


def test_a_model_is_not_planned_on_its_training_episodes(protocol, slot_tokens, tmp_path, caplog):
    split_seed = 1
    words = [*configs("pusht/cjepa.yaml", "smoke/world_model.yaml"), "--data.init_args.split_seed", str(split_seed)]
    run = fit(tmp_path / "run", slot_tokens, *words)
    assert "are not new to the tokenizer" in caplog.text and "set data.init_args.split_seed to 0" in caplog.text
    planned(replace(protocol, pairs=2, budget_env_steps=5), run, tmp_path / "plan")
    (usual,), (expected,) = (split_episodes(NUM_EPISODES, SPLIT_SHARES, seed)["test"] for seed in (0, split_seed))
    assert expected != usual
    assert {int(trial["episode"]) for trial in table_of(tmp_path / "plan")} == {expected}
    # a checkpoint from before there was a lineage: the run's config says how it was split
    path = find_checkpoint(str(run))
    content = torch.load(path, weights_only=True)
    del content["lineage"]
    torch.save(content, path)
    planned(replace(protocol, pairs=2, budget_env_steps=5), run, tmp_path / "old")
    assert {int(trial["episode"]) for trial in table_of(tmp_path / "old")} == {expected}
    said = json.loads((tmp_path / "old" / "run.json").read_text())["evaluation"]["held_out"]
    assert f"split_seed {split_seed} (as in the training)" in said and "does not say which episodes" in said


def test_pairs_as_published_are_marked_everywhere(protocol, world_model_run, tmp_path):
    protocol = replace(protocol, published_protocol=True, pairs=2, budget_env_steps=5)
    rows = planned(protocol, world_model_run, tmp_path / "model")
    baselines = evaluate_baselines(protocol, CEM_4, 0, 1, ignore_progress)
    rows += write_baseline_results(baselines, tmp_path / "baselines", planner=CEM_4, seconds=1.0)
    assert {row["split"] for row in rows} == {"published"}
    assert {row["model"] for row in rows} == {f"{name} (as published)" for name in ("toy", "random", "simulator-cem")}
    assert {"solved_at_start"} < {row["metric"] for row in rows} and not {"skipped_trivial_pairs"} & by_metric(
        rows
    ).keys()
    trained = set(split_episodes(NUM_EPISODES, SPLIT_SHARES, 0)["train"].tolist())
    for folder in (tmp_path / "model", tmp_path / "baselines"):
        assert {int(trial["episode"]) for trial in table_of(folder)} <= trained
        evaluation = json.loads((folder / "run.json").read_text())["evaluation"]
        assert evaluation["trivial_pairs"] == "included" and evaluation["held_out"].startswith("nothing: 18 training")
    page = build_report(tmp_path / "model").read_text()
    assert "Not comparable with held-out pairs" in page and "pairs of training episodes, as published" in page


def test_a_probe_is_not_used_on_episodes_that_it_was_fitted_on(protocol, world_model_run, slot_tokens, tmp_path):
    """Its world model was trained on none of them."""
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    content = torch.load(find_checkpoint(str(world_model_run)), weights_only=True)
    content["lineage"] |= {"episodes_fingerprint": "of others", "identities": [1]}
    torch.save(content, checkpoint)
    protocol = replace(protocol, pairs=6, budget_env_steps=5)
    planned(protocol, tmp_path / "run", tmp_path / "plan", objective=ProbeError(str(slot_tokens)))
    assert {int(trial["episode"]) for trial in table_of(tmp_path / "plan")} == set(
        split_episodes(NUM_EPISODES, SPLIT_SHARES, 0)["test"].tolist()
    )
    said = json.loads((tmp_path / "plan" / "run.json").read_text())["evaluation"]["held_out"]
    assert f"world model: all {NUM_EPISODES} episodes" in said and f"; probe of {slot_tokens}: 1 test episode" in said
