"""What `cjepa fit` watches: a training that comes to nothing says so, and keeps what it had."""

import re
import shutil

import pytest
import torch

from cjepa.checkpoints import check_finite, read_checkpoint
from cjepa.cli import main
from tests.conftest import TOKEN_DIM, configs, fit


@pytest.fixture(scope="module")
def trained(tokens_path, tmp_path_factory):
    """A run of two steps."""
    names = configs("pusht/cjepa.yaml", "smoke/world_model.yaml")
    wide = f"--model.init_args.predictor.init_args.token_dim={TOKEN_DIM}"
    return fit(tmp_path_factory.mktemp("trained") / "run", tokens_path, *names, wide)


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


def state_with(content, name: str) -> dict:
    """The state of the first parameter that has one of this name; matrices learn with Muon, the others with AdamW."""
    return next(state for state in content["optimizer_states"][0]["state"].values() if name in state)


def without_a_moment(content):
    del state_with(content, "exp_avg")["exp_avg"]


def of_another_shape(content):
    state_with(content, "exp_avg")["exp_avg"] = torch.zeros(3, 5, 7)


def of_another_shape_for_muon(content):
    state_with(content, "momentum_buffer")["momentum_buffer"] = torch.zeros(3, 5, 7)


def of_another_kind(content):
    state_with(content, "exp_avg")["exp_avg_sq"] = 0.5


def with_half_a_setting(content):
    group = next(group for group in content["optimizer_states"][0]["param_groups"] if "betas" in group)
    group["betas"] = (0.9,)


def with_a_rate_that_is_text(content):
    content["optimizer_states"][0]["param_groups"][0]["lr"] = "fast"


def with_a_count_that_is_none(content):
    content["lr_schedulers"][0]["last_epoch"] = {"a": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_another_kind, "its optimizer_states do not fit the model"),
        (with_a_count_that_is_none, "its lr_schedulers are damaged"),
        (with_half_a_setting, "its optimizer_states are damaged"),
        (with_a_rate_that_is_text, "its optimizer_states are damaged"),
        (without_a_moment, "its optimizer_states do not fit the model"),
        (of_another_shape, "its optimizer_states do not fit the model"),
        (of_another_shape_for_muon, "its optimizer_states do not fit the model"),
        (lambda content: content["optimizer_states"][0].pop("param_groups"), "its state of training is damaged"),
    ],
)
def test_a_state_of_training_that_cannot_be_continued_is_one_line(change, message, trained, tmp_path, refused):
    run = shutil.copytree(trained, tmp_path / "run")
    last = run / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    change(content)
    torch.save(content, last)
    words = ["fit", "-c", run / "config.yaml", "--run_dir", run, "--ckpt_path", last, "--trainer.max_steps", "9"]
    assert f"{last}: {message}" in refused(*words, "--trainer.enable_progress_bar", "false")
    assert set(torch.load(last, weights_only=True)) == set(content)
