"""A run that was stopped goes on as if it had not been, and a finished one stays as it is."""

import json
import math
import resource
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from cjepa.cli import main
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.files import read_json
from cjepa.locks import only_process
from cjepa.reporting.records import read_metrics
from cjepa.running.callbacks import WholeCheckpoints
from cjepa.world_models.training import WorldModel
from tests.conftest import fit
from tests.reporting.test_fit import WORLD_MODEL, checkpoint_of, fit_with

RECORDS = ("results.json", "run.json", "metrics.csv", "config.yaml", "checkpoints/last.ckpt")
MORE = "--trainer.max_steps=4"


@pytest.fixture
def seen(monkeypatch) -> list[float]:
    """One number a training batch that the world model was shown."""
    step, sums = WorldModel.training_step, []

    def watched(module, batch, batch_idx):
        sums.append(float(batch[0].double().sum()))
        return step(module, batch, batch_idx)

    monkeypatch.setattr(WorldModel, "training_step", watched)
    return sums


@pytest.mark.parametrize(
    ("options", "stops"),
    [
        ([], [2]),
        (["--trainer.limit_train_batches=3"], [1, 2, 3]),
        (["--trainer.limit_train_batches=0.1"], [1, 2, 3]),
        (["--trainer.limit_train_batches=3", "--trainer.accumulate_grad_batches=2"], [1, 2, 3]),
    ],
)
def test_a_longer_training_goes_on_with_the_clips_that_come_next(options, stops, tmp_path, slot_tokens, seen):
    """From the middle of an epoch and from its end; epochs of three batches are steps of two batches and of one."""
    words = ["--data.init_args.batch_size=16", "--trainer.limit_val_batches=0", "--trainer.precision=32-true"]
    words += ["--model.init_args.warmup_steps=1", *options]
    whole = fit_with(tmp_path / "whole", slot_tokens, [*words, "--trainer.max_steps=6"])
    expected = seen.copy()
    for first in stops:
        seen.clear()
        run = fit_with(tmp_path / f"run{first}", slot_tokens, [*words, f"--trainer.max_steps={first}"])
        last = run / "checkpoints" / "last.ckpt"
        fit_with(run, slot_tokens, [*words, "--trainer.max_steps=6", "--ckpt_path", str(last)])
        assert seen == expected
    assert len(set(expected)) == len(expected) == (9 if "--trainer.accumulate_grad_batches=2" in options else 6)
    assert checkpoint_of(whole)["global_step"] == checkpoint_of(run)["global_step"] == 6


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_training_that_breaks_off_ends_with_the_weights_of_one_that_did_not(
    accumulated, tmp_path, slot_tokens, monkeypatch
):
    """To the bit, from the checkpoint of the last validation; with its optimiser, schedule, masks and clips."""
    words = ["--data.init_args.batch_size=16", "--trainer.precision=32-true", "--trainer.max_steps=6"]
    words += ["--trainer.limit_train_batches=4", "--trainer.val_check_interval=2", "--trainer.limit_val_batches=1"]
    words += ["--model.init_args.warmup_steps=1", f"--trainer.accumulate_grad_batches={accumulated}"]
    expected = checkpoint_of(fit_with(tmp_path / "whole", slot_tokens, words))

    step = WorldModel.training_step

    def breaks_off(module, batch, batch_idx):
        if module.global_step == 5:
            raise RuntimeError("breaks off")
        return step(module, batch, batch_idx)

    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(WorldModel, "training_step", breaks_off)
        with pytest.raises(RuntimeError, match="breaks off"):
            fit_with(run, slot_tokens, words)
    last = run / "checkpoints" / "last.ckpt"
    assert 0 < torch.load(last, weights_only=True)["global_step"] < 6
    found = checkpoint_of(fit_with(run, slot_tokens, [*words, "--ckpt_path", str(last)]))
    assert found["global_step"] == expected["global_step"] == 6
    assert all(torch.equal(found["state_dict"][name], value) for name, value in expected["state_dict"].items())


@pytest.fixture
def run(world_model_run, tmp_path) -> Path:
    """A copy of a finished run."""
    return shutil.copytree(world_model_run, tmp_path / "run")


def resume(run: Path, tokens: Path, *words: str) -> None:
    last = str(run / "checkpoints" / "last.ckpt")
    small = ["--data.init_args.path", str(tokens), "--run_dir", str(run), "--trainer.accelerator", "cpu"]
    assert main(["fit", "-c", str(run / "config.yaml"), *small, "--ckpt_path", last, *words]) == 0


def test_a_finished_run_stays_as_it_is(run, slot_tokens):
    before = {name: (run / name).read_bytes() for name in RECORDS}
    resume(run, slot_tokens)
    assert {name: (run / name).read_bytes() for name in RECORDS} == before and read_json(run / "results.json")


def test_results_that_a_kill_prevented_are_made(run, slot_tokens, slots_run, episodes_path, tmp_path):
    rows = read_json(run / "results.json")
    slots = shutil.copytree(slots_run, tmp_path / "slots")
    expected = {row["metric"]: row["value"] for row in read_json(slots / "results.json")}
    for killed in (run, slots):
        (killed / "results.json").unlink()
        (killed / "run.json").unlink()
    resume(run, slot_tokens)
    assert read_json(run / "results.json") == [row | {"model": "run", "run": "run"} for row in rows]
    resume(slots, episodes_path)
    values = {row["metric"]: row["value"] for row in read_json(slots / "results.json")}
    assert values == {name: pytest.approx(value, rel=0.05, abs=0.05) for name, value in expected.items()}
    assert read_json(slots / "run.json")["model"]["optimizer_steps"] == 2


def test_the_seconds_of_all_parts_add_up(run, slot_tokens):
    last = run / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    content["callbacks"]["RunRecord"] = {"seconds": 1000.0}
    torch.save(content, last)
    resume(run, slot_tokens, MORE)
    record = read_json(run / "run.json")
    assert 1000 < record["seconds"] < 1500 and record["model"]["optimizer_steps"] == 4


def test_a_kill_before_the_first_last_checkpoint_leaves_a_way_on(run, slot_tokens, refused):
    """Of a run with a ModelCheckpoint of the user's, whose file came first."""
    best = run / "checkpoints" / "best.ckpt"
    (run / "checkpoints" / "last.ckpt").rename(best)
    line = refused("fit", *WORLD_MODEL, "--data.init_args.path", slot_tokens, "--run_dir", run)
    assert f"continue it with --ckpt_path {best}" in line
    words = ["--data.init_args.path", slot_tokens, "--run_dir", run, "--trainer.accelerator", "cpu", MORE]
    words += ["--trainer.enable_progress_bar", "false", "--ckpt_path", best, "--data.init_args.batch_size=8"]
    assert main([str(word) for word in ["fit", *WORLD_MODEL, *words]]) == 0
    assert checkpoint_of(run)["global_step"] == 4


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


def test_a_run_has_one_process(run, slot_tokens, refused):
    words = ["--data.init_args.path", slot_tokens, "--run_dir", run]
    last = run / "checkpoints" / "last.ckpt"
    before = {name: (run / name).read_bytes() for name in RECORDS}
    with only_process(run, "cjepa fit"):
        for more in (["fit", "-c", run / "config.yaml", *words, "--ckpt_path", last], ["test", run]):
            assert f"{run}: cjepa {more[0]} already runs" in refused(*more)
    assert {name: (run / name).read_bytes() for name in RECORDS} == before
    resume(run, slot_tokens)


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv", "results.json"])
def test_files_of_the_user_stay(name, slot_tokens, world_model_run, refused, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / name).write_text("of the user")
    for words in (["fit", *WORLD_MODEL, "--data.init_args.path", slot_tokens], ["test", world_model_run]):
        assert f"{mine / name} exists and was not made by this command" in refused(*words, "--run_dir", mine)
    assert [path.name for path in mine.iterdir()] == [name] and (mine / name).read_text() == "of the user"


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


def test_fewer_clips_than_a_batch(slot_tokens, refused, tmp_path):
    words = ["--data.init_args.path", slot_tokens, "--data.init_args.batch_size=5000", "--run_dir", "new/run"]
    line = refused("fit", *WORLD_MODEL, *words, "--trainer.accelerator", "cpu")
    assert "data.init_args.batch_size is 5000, but there are only 468 training clips; set it to 468 or less" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--trainer.max_steps=0"], "trainer.max_steps is 0, so nothing would be trained; set it to 1 or more"),
        (["--trainer.max_epochs=0"], "trainer.max_epochs is 0, so nothing would be trained"),
        (["--trainer.limit_train_batches=0"], "trainer.limit_train_batches is 0, so nothing would be trained"),
        (["--trainer.enable_checkpointing=false"], "trainer.enable_checkpointing is false"),
        (["--data.init_args.batch_size=0"], "data.init_args.batch_size is 0, expected 1 or more"),
        (["--data.init_args.frame_stride=-5"], "data.init_args.frame_stride is -5, expected 1 or more"),
    ],
)
def test_a_training_that_would_leave_nothing_is_refused(words, told, slot_tokens, refused, tmp_path):
    common = ["--data.init_args.path", slot_tokens, "--run_dir", "new/run", "--trainer.accelerator", "cpu"]
    assert told in refused("fit", *WORLD_MODEL, *common, *words)
    assert list(tmp_path.iterdir()) == []


def test_a_root_of_the_user_is_not_the_runs_folder(tmp_path, slot_tokens):
    """The model remembers its own folder: from there its tokenizer is found when both have moved."""
    run = fit(tmp_path / "run", slot_tokens, *WORLD_MODEL, "--trainer.default_root_dir", str(tmp_path / "root"))
    assert checkpoint_of(run)["run_folder"] == str(run)


def test_loggers_of_the_user_are_beside_ours(tmp_path, slot_tokens):
    logger = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": str(tmp_path / "logs")}}
    words = ["--trainer.logger", json.dumps(logger), "--trainer.log_every_n_steps=1"]
    run = fit(tmp_path / "run", slot_tokens, *WORLD_MODEL, *words)
    assert (run / "metrics.csv").is_file() and list(run.glob("events.out.*"))
    (theirs,) = (tmp_path / "logs").rglob("metrics.csv")
    assert "train/loss" in theirs.read_text()
    quiet = fit(tmp_path / "quiet", slot_tokens, *WORLD_MODEL, "--trainer.logger", "false")
    assert (quiet / "metrics.csv").is_file() and not list(quiet.glob("events.out.*"))


def test_metrics_have_one_row_a_step(tmp_path):
    """Steps 2 and 3 were logged, then lost by a kill, and logged again from the checkpoint of step 1."""
    path = tmp_path / "metrics.csv"
    path.write_text("step,train/loss,val/loss\n0,9,\n1,8,\n1,,5\n2,7,\n3,6,\n2,7.5,\n3,6.5,4\n")
    expected = [("0", "9", None), ("1", "8", "5"), ("2", "7.5", None), ("3", "6.5", "4")]
    assert [tuple(map(row.get, ("step", "train/loss", "val/loss"))) for row in read_metrics(path)] == expected
    assert read_metrics(tmp_path / "nowhere.csv") == []


def test_a_continued_run_has_each_step_once(run, slot_tokens):
    rows = (run / "metrics.csv").read_text().splitlines()
    (run / "metrics.csv").write_text("\n".join([*rows, rows[-1], rows[1]]) + "\n")
    resume(run, slot_tokens, MORE)
    header, *rows = (line.split(",") for line in (run / "metrics.csv").read_text().splitlines())
    assert [row[header.index("step")] for row in rows] == ["0", "1", "2", "3"]


def test_fast_dev_run_points_nowhere(slot_tokens, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--data.init_args.path", str(slot_tokens), "--trainer.accelerator", "cpu", "--trainer.fast_dev_run=1"]
    assert main(["fit", *WORLD_MODEL, *words, "--trainer.enable_progress_bar", "false"]) == 0
    assert capfd.readouterr().out == "fast_dev_run: it runs; nothing was written\n"
    assert list(tmp_path.iterdir()) == []


def test_progress_is_steps_of_all_steps_in_one_line(tmp_path, slot_tokens, capfd):
    words = ["--data.init_args.path", str(slot_tokens), "--run_dir", str(tmp_path / "run"), "--trainer.max_steps=2"]
    words += ["--trainer.accelerator", "cpu", "--data.init_args.val_clips", "8"]
    assert main(["fit", *WORLD_MODEL, *words]) == 0
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("fit") and "100 %" in line and "steps/s" in line and "step 2" in line
