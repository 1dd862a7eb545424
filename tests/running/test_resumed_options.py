"""A run goes on with the options and the episodes that it was trained with; others are refused, and say so."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from cjepa.cli import main
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from tests.reporting.test_fit import WORLD_MODEL, checkpoint_of, fit_with
from tests.running.conftest import MORE, RECORDS, resume

PREDICTOR = "model.init_args.predictor"
OTHERS = {
    "model.init_args.lr": ("0.1", "0.001"),
    "model.init_args.mask.class_path": ("cjepa.world_models.masks.TubeMask", "cjepa.world_models.masks.ObjectMask"),
    f"{PREDICTOR}.init_args.dim": ("16", "32"),
    "data.init_args.batch_size": ("4", "8"),
    "data.init_args.exclude_episodes": ("[1]", "[]"),
    "seed_everything": ("3", "0"),
}


def test_options_that_would_be_ignored_are_refused(run, slot_tokens, refused):
    last, config = run / "checkpoints" / "last.ckpt", run / "config.yaml"
    before = {name: (run / name).read_bytes() for name in RECORDS}
    words = ["-c", config, "--run_dir", run, "--ckpt_path", last, MORE]
    for key, (given, kept) in OTHERS.items():
        line = refused("fit", *words, f"--{key}={given}")
        assert f"{key} is {given}, but {last} was trained with {kept}; leave {key} out (-c {config} has" in line
    assert "model.init_args.lr is 0.1, but" in refused("test", run, "--model.init_args.lr=0.1")
    assert {name: (run / name).read_bytes() for name in RECORDS} == before
    moved = shutil.copy(slot_tokens, run.parent / "moved.h5")
    resume(run, moved, MORE, "--trainer.log_every_n_steps=1", "--trainer.max_time=00:01:00:00")
    assert checkpoint_of(run)["global_step"] == 4 and str(moved) in config.read_text()


def test_a_run_of_an_older_version_goes_on(run, slot_tokens):
    """Its checkpoint and its config lack options that the versions since then have; and from a copy elsewhere."""
    last, config = run / "checkpoints" / "last.ckpt", run / "config.yaml"
    content, options = torch.load(last, weights_only=True), yaml.safe_load(config.read_text())
    for parameters in (content["hyper_parameters"], options["model"]["init_args"]):
        del parameters["norm"], parameters["mask"]["init_args"]["shared_in_batch"]
    del options["data"]["init_args"]["exclude_corrupted"], content["lineage"], content["callbacks"]["SameEpisodes"]
    torch.save(content, last)
    config.write_text(yaml.safe_dump(options))
    (run.parent / "kept").mkdir()
    copy = shutil.copy(last, run.parent / "kept" / "copy.ckpt")
    (run.parent / "config.yaml").write_text("of something else")
    resume(run, slot_tokens, MORE)
    assert checkpoint_of(run)["global_step"] == 4
    words = ["--data.init_args.path", str(slot_tokens), "--run_dir", str(run.parent / "new"), "--trainer.max_steps=3"]
    assert main(["fit", "-c", str(config), *words, "--trainer.accelerator=cpu", "--ckpt_path", str(copy)]) == 0


def made_older(run: Path) -> Path:
    """The same run as an older version would have left it, which did not know these options."""
    last, config = run / "checkpoints" / "last.ckpt", run / "config.yaml"
    content, options = torch.load(last, weights_only=True), yaml.safe_load(config.read_text())
    for parameters in (content["hyper_parameters"], options["model"]["init_args"]):
        del parameters["norm"], parameters["matrix_lr"], parameters["mask"]["init_args"]["shared_in_batch"]
    del options["data"]["init_args"]["exclude_episodes"]
    torch.save(content, last)
    config.write_text(yaml.safe_dump(options))
    return run


@pytest.mark.parametrize(
    ("key", "given", "default"),
    [
        ("model.init_args.matrix_lr", "0.01", "null"),
        ("model.init_args.norm", "l1", "l2"),
        ("model.init_args.mask.init_args.shared_in_batch", "true", "false"),
        ("data.init_args.exclude_episodes", "[1]", "[]"),
    ],
)
def test_an_option_that_is_newer_than_the_run_has_its_default(key, given, default, run, slot_tokens, refused):
    old_run = made_older(run)
    last, config = old_run / "checkpoints" / "last.ckpt", old_run / "config.yaml"
    words = ["-c", config, "--data.init_args.path", slot_tokens, "--run_dir", old_run, "--ckpt_path", last]
    line = refused("fit", *words, f"--{key}={given}")
    assert f"{key} is {given}, but {last} is older than this option and was trained as with {default}; " in line
    assert f"type --{key} {default}, or use the run's own config: -c {config}" in line


def test_a_config_of_today_continues_an_old_run_with_what_the_line_says(tmp_path, slot_tokens, refused):
    adamw = ["--model.init_args.matrix_lr=null", "--trainer.max_steps=2"]
    old_run = made_older(fit_with(tmp_path / "run", slot_tokens, adamw))
    last = str(old_run / "checkpoints" / "last.ckpt")
    words = ["--data.init_args.path", slot_tokens, "--run_dir", old_run, "--ckpt_path", last]
    assert "model.init_args.matrix_lr is 0.01, but" in refused("fit", *WORLD_MODEL, *words)
    fit_with(old_run, slot_tokens, [MORE, "--ckpt_path", last, "--model.init_args.matrix_lr", "null"])
    assert checkpoint_of(old_run)["global_step"] == 4


def test_other_episodes_are_refused(slots_run, episodes_path, collide_episodes_path, refused, tmp_path):
    """Also without the run's config.yaml."""
    run = shutil.copytree(slots_run, tmp_path / "run")
    last, config = run / "checkpoints" / "last.ckpt", (run / "config.yaml").rename(tmp_path / "config.yaml")
    other = tmp_path / "other.h5"
    with EpisodeWriter(other, "cjepa-episodes", {"env_id": "cjepa/PushT-v0"}) as to:
        for episode in EpisodeFile(episodes_path).episodes():
            to.append(episode | {"action": -episode["action"]})
    words = ["fit", "-c", config, "--run_dir", run, "--ckpt_path", last, "--trainer.accelerator", "cpu", MORE]
    line = refused(*words, "--data.init_args.path", other)
    assert f"{other}: the fingerprint of its episodes is " in line and f"but {last} was trained with " in line
    assert "data.init_args.split_seed is 5, but" in refused(*words, "--data.init_args.split_seed=5")
    assert "left out are [2], but" in refused(*words, "--data.init_args.exclude_episodes=[2]")
