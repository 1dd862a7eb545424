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
