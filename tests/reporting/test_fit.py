"""What a training run leaves behind, and how it is continued."""

import csv
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from cjepa.cli import main
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.token_clips import TokenClips
from cjepa.moving_average import frozen_copy
from cjepa.reporting.fit import MetricsFile, num_parameters
from cjepa.reporting.records import read_metrics
from cjepa.tokenizers.training import TokenizerTraining
from cjepa.types import Clip
from cjepa.world_models.training import WorldModel
from tests.conftest import configs, fit

WORLD_MODEL = configs("pusht/cjepa.yaml", "smoke/world_model.yaml")
EVERY_FILE = {
    "config.yaml",
    "run.json",
    "metrics.csv",
    "results.json",
    "checkpoints/last.ckpt",
}


def files_of(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}


def columns_of(run: Path) -> dict[str, list[str]]:
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows if row[name]] for name in rows[0]}


def checkpoint_of(run: Path, name: str = "last") -> dict:
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)


@pytest.fixture(params=["slots_run", "world_model_run"])
def run(request) -> Path:
    return request.getfixturevalue(request.param)


def test_every_file_is_there(run):
    assert files_of(run) >= EVERY_FILE
    events = EventAccumulator(str(run)).Reload()
    assert "val/loss" in events.Tags()["scalars"]
    assert {"0", "1"} == set(columns_of(run)["step"]) and len(columns_of(run)["val/loss"]) == 2


def test_the_checkpoint_loads_safely(run):
    content = checkpoint_of(run)
    assert content["state_dict"] and content["optimizer_states"] and content["global_step"] == 2
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["last.ckpt"]


def test_the_config_is_complete(run, tmp_path):
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["seed_everything"] == 0 and config["trainer"]["max_steps"] == 2
    assert Path(config["data"]["init_args"]["path"]).is_file()
    again = tmp_path / "again"
    words = ["fit", "-c", str(run / "config.yaml"), "--run_dir", str(again)]
    assert main([*words, "--trainer.callbacks=[]"]) == 0  # which would only draw
    first, second = (checkpoint_of(folder)["state_dict"] for folder in (run, again))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_record(run, slots_run):
    record = json.loads((run / "run.json").read_text())
    kind = TokenizerTraining if run == slots_run else WorldModel
    assert record["model"]["class"] == kind.__name__ and record["model"]["optimizer_steps"] == 2
    weights = checkpoint_of(run)["state_dict"]
    assert 0 < record["model"]["parameters"] <= sum(value.numel() for value in weights.values())
    assert record["data"]["fingerprint"] == EpisodeFile(record["data"]["path"]).fingerprint
    assert record["data"]["episodes"] == {"train": 18, "val": 1, "test": 1}
    assert record["seconds"] > 0 and record["peak_memory_mb"] > 0 and record["versions"]["torch"]


def test_parameters_are_those_that_are_trained():
    """3 x 2 weights and 3 biases, and a moving average of them; all of a module that is only tested."""
    model = nn.ModuleList([nn.Linear(2, 3)])
    model.append(frozen_copy(model[0]))
    assert num_parameters(model) == 9 and num_parameters(model.requires_grad_(False)) == 18


def test_results_of_a_tokenizer(slots_run):
    rows = {row["metric"]: row for row in json.loads((slots_run / "results.json").read_text())}
    assert set(rows) >= {"loss", "reconstruction", "grouping", "psnr", "fg_ari", "mean_iou", "slot_consistency"}
    assert {row["split"] for row in rows.values()} == {"val"}
    assert rows["loss"]["value"] == pytest.approx(float(columns_of(slots_run)["val/loss"][-1]), rel=1e-4)
    start = checkpoint_of(slots_run)["hyper_parameters"]["tokenizer"]["init_args"]["start"]
    assert rows["loss"]["tokens"] == start["init_args"]["num_slots"]


def test_results_of_a_world_model(world_model_run, slot_tokens):
    rows = {row["metric"]: row for row in json.loads((world_model_run / "results.json").read_text())}
    assert set(rows) == {"rollout_error@1", "rollout_error@5"}
    file = EpisodeFile(slot_tokens)
    for name, row in rows.items():
        assert row["unit"] == "of copying"
        assert row["low"] is row["high"] is None if row["n"] == 1 else row["low"] <= row["value"] <= row["high"]
        assert (row["tokens"], row["token_dim"]) == file.columns["tokens"][0][1:]
        assert row["value"] == pytest.approx(float(columns_of(world_model_run)[f"val/{name}"][-1]), rel=0.02)


def test_slots_are_drawn(slots_run):
    image = np.asarray(Image.open(slots_run / "media" / "slots.png"))
    assert image.ndim == 3 and min(image.shape[:2]) > 128 and image.std() > 1
    assert {"val/slots", "val/failures"} <= set(EventAccumulator(str(slots_run)).Reload().Tags()["images"])


def test_the_last_checkpoint_is_the_last(tmp_path, slot_tokens, monkeypatch):
    """The best may be an earlier one: here the loss grows with every validation, at steps 2 and 4 of 5."""
    losses = iter([1.0, 2.0, 3.0])
    whole = WorldModel.on_validation_epoch_end

    def worse(module):
        module.log("val/loss", next(losses))
        whole(module)

    # the step's own value is logged under the same name, so that is left out
    real = WorldModel.log_dict
    monkeypatch.setattr(
        WorldModel,
        "log_dict",
        lambda self, v, **more: real(self, {k: x for k, x in v.items() if k != "val/loss"}, **more),
    )
    monkeypatch.setattr(WorldModel, "on_validation_epoch_end", worse)
    words = ["--trainer.max_steps=5", "--trainer.val_check_interval=2"]
    best = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint"}
    best["init_args"] = {"monitor": "val/loss", "filename": "best"}
    run = fit_with(tmp_path / "run", slot_tokens, [*words, "--trainer.callbacks", json.dumps([best])])
    assert checkpoint_of(run, "best")["global_step"] == 2
    assert checkpoint_of(run, "last")["global_step"] == 5


def fit_with(run_dir: Path, tokens: Path, words: list[str], code: int = 0) -> Path:
    small = ["--data.init_args.path", str(tokens), "--run_dir", str(run_dir), "--trainer.accelerator", "cpu"]
    quiet = ["--trainer.enable_progress_bar", "false", "--data.init_args.val_clips", "8"]
    assert main(["fit", *WORLD_MODEL, *small, *quiet, *words]) == code
    return run_dir


FOUR_STEPS = ["--trainer.max_steps=4", "--trainer.val_check_interval=1", "--data.init_args.batch_size=16"]


def test_an_interrupted_run_goes_on_where_it_was(tmp_path, slot_tokens, monkeypatch, capfd):
    """Optimiser, schedule, order of the clips, masks and history lengths continue, in the middle of an epoch."""
    words = [*FOUR_STEPS, "--trainer.precision=32-true", "--model.init_args.warmup_steps=1"]
    whole = checkpoint_of(fit_with(tmp_path / "whole", slot_tokens, words))
    step = WorldModel.training_step

    def interrupted(module, batch, batch_idx):
        if module.global_step == 2:
            raise KeyboardInterrupt
        return step(module, batch, batch_idx)

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(WorldModel, "training_step", interrupted)
    run = fit_with(tmp_path / "run", slot_tokens, words, code=130)
    signal.signal(signal.SIGINT, handler)  # Lightning ignores further interrupts
    monkeypatch.setattr(WorldModel, "training_step", step)
    last = run / "checkpoints" / "last.ckpt"
    command = f"cjepa fit -c {run / 'config.yaml'} --run_dir {run} --ckpt_path {last}"
    assert f"cjepa fit: interrupted; to continue, type: {command}\n" in capfd.readouterr().err
    assert checkpoint_of(run)["global_step"] == 2
    halfway = shutil.copy(last, tmp_path / "halfway.ckpt")
    fit_with(run, slot_tokens, [*words, "--ckpt_path", str(last)])
    resumed = checkpoint_of(run)
    assert resumed["global_step"] == whole["global_step"] == 4
    assert resumed["lr_schedulers"][0]["_last_lr"] == whole["lr_schedulers"][0]["_last_lr"]
    for name, value in whole["state_dict"].items():
        torch.testing.assert_close(resumed["state_dict"][name], value, rtol=1e-4, atol=1e-6)
    stopped = torch.load(halfway, weights_only=True)["state_dict"]
    assert any(
        (value.float() - whole["state_dict"][name].float()).abs().max() > 1e-4 for name, value in stopped.items()
    )
    steps = columns_of(run)
    assert [int(s) for s in steps["step"]] == [0, 1, 2, 3] and len(steps["val/loss"]) == 4  # earlier rows are kept


def test_half_a_line_of_metrics_is_not_added_to(tmp_path):
    """As a kill or a full disk leaves it: what is logged next would become values of that line."""
    logged = {"lr": 0.5, "train/loss": 2.0}
    _logged(tmp_path, logged, 100)
    path, whole = tmp_path / "metrics.csv", (tmp_path / "metrics.csv").read_bytes()
    path.write_bytes(whole + b"0.5,12")  # of step 1250
    _logged(tmp_path, logged, 150)
    assert path.read_bytes() == whole + whole.splitlines(keepends=True)[1].replace(b"100", b"150")
    _logged(tmp_path, {"val/loss": 1.0}, 150)  # a new column
    assert [row.get("val/loss") for row in read_metrics(path)] == [None, "1.0"]
    path.write_bytes(whole[:3])
    _logged(tmp_path, logged, 100)
    assert path.read_bytes() == whole


def _logged(folder: Path, values: dict[str, float], step: int) -> None:
    logger = MetricsFile(str(folder), name="", version="")
    logger.log_metrics(values, step=step)
    logger.save()


def test_testing_a_run_keeps_its_files(tmp_path, world_model_run, small_card):
    run = shutil.copytree(world_model_run, tmp_path / "run")
    before = {name: (run / name).read_bytes() for name in EVERY_FILE - {"metrics.csv"}}
    rows = (run / "metrics.csv").read_text().count("\n")
    words = ["-c", str(run / "config.yaml"), "--run_dir", str(run), "--ckpt_path", str(run / "checkpoints/last.ckpt")]
    assert main(["test", *words]) == 0
    assert {name: (run / name).read_bytes() for name in before} == before
    assert (run / "metrics.csv").read_text().count("\n") == rows + 1


def test_without_a_name_a_run_gets_a_folder_of_its_own(tmp_path, slot_tokens, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["fit", *WORLD_MODEL, "--data.init_args.path", str(slot_tokens), "--data.init_args.batch_size=8"]
    assert main([*words, "--trainer.max_steps=1", "--trainer.val_check_interval=1"]) == 0
    (run,) = (tmp_path / "runs" / "pusht-cjepa").iterdir()
    assert run.name.endswith("_seed0") and files_of(run) >= EVERY_FILE
    assert f"next: cjepa report runs/pusht-cjepa/{run.name}" in capsys.readouterr().out


@pytest.mark.parametrize(("verb", "shown"), [("validate", "val/loss"), ("test", "rollout_error@1")])
def test_the_other_lightning_verbs(verb, shown, tmp_path, world_model_run, capfd, small_card):
    words = ["-c", str(world_model_run / "config.yaml"), "--run_dir", str(tmp_path)]
    assert main([verb, *words, "--ckpt_path", str(world_model_run / "checkpoints" / "last.ckpt")]) == 0
    assert shown in capfd.readouterr().out


def test_nothing_but_the_progress_is_said(tmp_path, slot_tokens, capfd):
    capfd.readouterr()
    fit(tmp_path / "run", slot_tokens, *WORLD_MODEL)
    out, err = capfd.readouterr()
    assert err == "" and out.startswith(str(tmp_path / "run")) and out.count("\n") == 2


def test_predictions_are_plain_tensors(tmp_path, world_model_run, slot_tokens):
    last = world_model_run / "checkpoints" / "last.ckpt"
    words = ["--data.init_args.path", str(slot_tokens), "--run_dir", str(tmp_path), "--ckpt_path", str(last)]
    assert main(["predict", *WORLD_MODEL, *words, "--trainer.enable_progress_bar", "false"]) == 0
    predictions = torch.load(tmp_path / "predictions.pt", weights_only=True)
    data = TokenClips(str(slot_tokens), val_clips=64)
    data.setup("predict")
    clip = Clip(*(torch.cat(parts) for parts in zip(*data.predict_dataloader(), strict=True)))
    assert predictions["tokens_BHSD"].shape == clip.tokens_BTSD[:, 3:].shape
    # two steps old, the model still says that nearly nothing changes: in px, not in its own scale
    assert (predictions["proprio_BHP"][:, 0, :2] - clip.proprio_BTP[:, 2, :2]).abs().max() < 100
