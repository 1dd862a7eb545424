"""Which runs a stage reads from outside of its study, and whose classes its code has therefore."""

import pytest
import torch

from cjepa.studies.definition import Stage
from cjepa.studies.keys import all_made_from

TRAINING = "cjepa.world_models.training.WorldModelTraining"
TOKENIZER = "cjepa.tokenizers.baselines.global_token.GlobalToken"


@pytest.mark.parametrize("named", ["run", "run/checkpoints/last.ckpt"])
def test_a_run_counts_with_its_content_and_its_tokenizer(tmp_path, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text("model: {seed: 0}\n")
    content = {"state_dict": {}, "hyper_parameters": {"_class_path": TRAINING}, "tokenizer": {"class_path": TOKENIZER}}
    torch.save(content, tmp_path / "run" / "checkpoints" / "last.ckpt")
    stage = Stage("plan", "plan", [named], [], {})
    before = all_made_from([stage])["plan"]
    assert "cjepa.tokenizers.baselines.global_token" in before.code and list(before.inputs) == [named]
    torch.save(content | {"global_step": 1}, tmp_path / "run" / "checkpoints" / "last.ckpt")
    after = all_made_from([stage])["plan"]
    assert after.changes(before._asdict()) == f"changed: {named}"


@pytest.mark.parametrize("verb", ["test", "plan"])
def test_what_a_run_is_tested_on_is_what_its_config_says(tmp_path, monkeypatch, verb):
    """`cjepa test RUN` reads the data of the training, unless the call names others; no other command does."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text("data: {init_args: {path: tokens.txt}}\n")
    torch.save(
        {"state_dict": {}, "hyper_parameters": {"_class_path": TRAINING}}, tmp_path / "run/checkpoints/last.ckpt"
    )
    (tmp_path / "tokens.txt").write_text("some")
    (tmp_path / "others.txt").write_text("other")
    usual, elsewhere = (
        Stage("a", verb, ["run"], [], {}),
        Stage("b", verb, ["run"], [], {"data.init_args.path": "others.txt"}),
    )
    before = all_made_from([usual, elsewhere])
    (tmp_path / "tokens.txt").write_text("more")
    after = all_made_from([usual, elsewhere])
    changed = [name for name in before if before[name].key != after[name].key]
    assert changed == (["a"] if verb == "test" else [])
