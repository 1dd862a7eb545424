"""A training whose numbers are not finite ends, and keeps what it had."""

import math
import re

import pytest

from cjepa.checkpoints import check_finite, read_checkpoint
from cjepa.cli import main
from cjepa.world_models.training import WorldModel
from tests.conftest import TOKEN_DIM, configs
from tests.reporting.test_fit import checkpoint_of, fit_with


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_training(value, tmp_path, slot_tokens, monkeypatch, capfd):
    terms = WorldModel.loss_terms

    def broken(module, *inputs):
        found = terms(module, *inputs)
        return found | {"future": found["future"] * value} if module.global_step == 2 else found

    monkeypatch.setattr(WorldModel, "loss_terms", broken)
    run = fit_with(tmp_path / "run", slot_tokens, ["--trainer.max_steps=6", "--trainer.val_check_interval=2"], code=1)
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and f"step 3: train/future is {value}, on clips of episodes " in err
    content = checkpoint_of(run)
    assert content["global_step"] == 2 and not (run / "results.json").exists()
    assert all(bool(values.isfinite().all()) for values in content["state_dict"].values())


def test_weights_that_are_not_finite_are_not_saved(tmp_path, slot_tokens, monkeypatch, capfd):
    def spoil(module, *_):
        if module.global_step == 2:
            next(module.parameters()).data.fill_(math.nan)

    monkeypatch.setattr(WorldModel, "on_train_batch_end", spoil)
    run = fit_with(tmp_path / "run", slot_tokens, ["--trainer.max_steps=2", "--trainer.val_check_interval=1"], code=1)
    assert "step 2: the weights" in capfd.readouterr().err and checkpoint_of(run)["global_step"] == 1


@pytest.mark.slow
def test_a_diverged_training_names_its_batch_and_keeps_the_checkpoint_before(tokens_path, tmp_path, capfd):
    words = ["fit", *configs("pusht/cjepa.yaml", "smoke/world_model.yaml"), "--data.init_args.path", str(tokens_path)]
    words += ["--run_dir", str(tmp_path / "run"), "--data.init_args.batch_size", "8"]
    words += [f"--model.init_args.{rate}=1e6" for rate in ("lr", "matrix_lr")]
    words += [f"--model.init_args.predictor.init_args.token_dim={TOKEN_DIM}", "--model.init_args.warmup_steps=1"]
    words += ["--trainer.max_steps", "60", "--trainer.val_check_interval", "1", "--trainer.accelerator", "cpu"]
    assert main([*words, "--trainer.enable_progress_bar", "false"]) == 1
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    named = r"cjepa fit: error: step (\d+): train/\w+ is (nan|inf).*, on clips of episodes \d[\d, ]*( and \d+ more)?"
    found = re.match(f"{named} of {re.escape(str(tokens_path))}", error)
    assert found, error
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = read_checkpoint(last)
    check_finite(content, last)
    assert 1 <= content["global_step"] <= int(found[1])
