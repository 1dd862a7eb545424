"""What `cjepa fit` watches: checkpoints are whole, and one that cannot be continued says why."""

import resource
import shutil
from pathlib import Path

import pytest
import torch

from cjepa.cli import main
from cjepa.running.callbacks import WholeCheckpoints
from tests.conftest import TOKEN_DIM, configs, fit
from tests.reporting.test_fit import WORLD_MODEL


@pytest.fixture(scope="module")
def trained(tokens_path, tmp_path_factory):
    """A run of two steps."""
    names = configs("pusht/cjepa.yaml", "smoke/world_model.yaml")
    wide = f"--model.init_args.predictor.init_args.token_dim={TOKEN_DIM}"
    return fit(tmp_path_factory.mktemp("trained") / "run", tokens_path, *names, wide)


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


def test_checkpoints_are_whole_or_the_old_ones(tmp_path, monkeypatch):
    """Whatever TMPDIR is, and wherever the disk is full."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"a": torch.ones(2)}, path)

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match=f"File too large: '{path}'"):
            WholeCheckpoints().save_checkpoint({"a": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
    assert torch.equal(torch.load(path, weights_only=True)["a"], torch.ones(2))


def test_a_run_is_written_through_whole_checkpoints(tmp_path, slot_tokens, monkeypatch):
    saved, real = [], WholeCheckpoints.save_checkpoint

    def watched(plugin, content, path, storage_options=None):
        saved.append(Path(path))
        real(plugin, content, path, storage_options)

    monkeypatch.setattr(WholeCheckpoints, "save_checkpoint", watched)
    run = fit(tmp_path / "run", slot_tokens, *WORLD_MODEL)
    assert set(saved) == {run / "checkpoints" / "last.ckpt"}


def test_progress_is_steps_of_all_steps_in_one_line(tmp_path, slot_tokens, capfd):
    words = ["--data.init_args.path", str(slot_tokens), "--run_dir", str(tmp_path / "run"), "--trainer.max_steps=2"]
    words += ["--trainer.accelerator", "cpu", "--data.init_args.val_clips", "8"]
    assert main(["fit", *WORLD_MODEL, *words]) == 0
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("fit") and "100 %" in line and "steps/s" in line and "step 2" in line
