"""What a checkpoint of a world model remembers, and what begins with it."""

import pytest
import torch

from cjepa.checkpoints import find_checkpoint, read_checkpoint
from tests.reporting.test_fit import fit_with
from tests.world_models.small import a_clip, fit, small_model

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_the_fingerprint_is_in_the_checkpoint():
    model, checkpoint = small_model(), {}
    model.tokenizer_fingerprint = "abc"
    model.on_save_checkpoint(checkpoint)
    other = small_model()
    other.on_load_checkpoint(checkpoint)
    assert other.tokenizer_fingerprint == "abc"


def test_a_resumed_training_remembers_all_that_it_learned_from(tokens_path):
    """Also episodes of the run that it began with, which its data do not name."""
    model, checkpoint = small_model(), {}
    fit(tokens_path, model, max_steps=1)
    model.remember_episodes([123])
    model.on_save_checkpoint(checkpoint)
    resumed = small_model()
    resumed.on_load_checkpoint({"state_dict": {}, **checkpoint})
    fit(tokens_path, resumed, max_steps=1)
    assert resumed.lineage["identities"] == model.lineage["identities"] and 123 in resumed.lineage["identities"]


def test_a_checkpoint_of_before_has_other_names(tokens_path):
    model, checkpoint = small_model(), {}
    fit(tokens_path, model, max_steps=1)
    model.on_save_checkpoint(checkpoint)
    weights = {name.removeprefix("dynamics."): value for name, value in model.state_dict().items()}
    old = {
        "state_dict": weights,
        "tokens_fingerprint": checkpoint["tokenizer_fingerprint"],
        "tokenizer": {"source": "x"},
    }
    other = small_model(seed=1)
    other.on_load_checkpoint(old)
    other.load_state_dict(old["state_dict"])
    assert other.tokenizer_fingerprint == "0123456789abcdef" and other.lineage == {}
    clip = a_clip(5)
    expected, found = (m.eval().predict_step(clip, 0).tokens_BHSD for m in (model, other))
    assert torch.equal(found, expected)


def test_what_was_held_out_is_in_the_checkpoint(tokens_path):
    model, checkpoint = small_model(), {}
    trainer = fit(tokens_path, model, max_steps=1)
    model.on_save_checkpoint(checkpoint)
    assert checkpoint["lineage"] == trainer.datamodule.lineage._asdict()
    other = small_model()
    other.on_load_checkpoint(checkpoint)
    assert other.lineage == checkpoint["lineage"]


def test_a_training_begins_with_the_weights_of_a_run(world_model_run, slot_tokens, tmp_path, capfd):
    begin = [f"--model.init_args.init_from={world_model_run}", "--trainer.max_steps=1", "--trainer.limit_val_batches=0"]
    rates = ["--model.init_args.lr=1e-9", "--model.init_args.matrix_lr=1e-9"]
    run = fit_with(tmp_path / "more", slot_tokens, [*begin, *rates])
    old, new = (read_checkpoint(find_checkpoint(str(folder)))["state_dict"] for folder in (world_model_run, run))
    for name, values in old.items():
        torch.testing.assert_close(new[name], values, atol=1e-6, rtol=0)
    other = "--model.init_args.predictor.init_args.mlp_dim=24"
    fit_with(tmp_path / "other", slot_tokens, [*begin, other], code=2)
    assert "its predictor is another one than model.init_args.predictor" in capfd.readouterr().err
    fit_with(tmp_path / "held-out", slot_tokens, [*begin, "--data.init_args.split_seed=1"], code=2)
    assert "which is held out here; set data.init_args.split_seed to 0" in capfd.readouterr().err
