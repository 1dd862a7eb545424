"""``cjepa test RUN`` and its kin: a run folder is all they need, and nothing that is there is lost."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cjepa.cli import main
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.video_clips import VideoClips
from cjepa.evaluation.metrics import every_metric
from cjepa.tokenizers.encode import encode_clips
from cjepa.tokenizers.training import load_tokenizer
from tests.conftest import EXPERIMENTS, shorten_probes

QUIET = ["--trainer.enable_progress_bar", "false"]
KEPT = ("config.yaml", "run.json", "results.json", "checkpoints/last.ckpt", "media/slots.png", "media/failures.png")
HIDDEN = {f"kept_hidden@{frames}" for frames in (0, 1, 3, 5)}
PROBED = ("linear_r2@agent_x", "mlp_r2@block_angle", "linear_r2@block_velocity", "mlp_r2@agent_velocity_one_frame")


@pytest.fixture(scope="module")
def tested(slots_run, tmp_path_factory) -> tuple[Path, str]:
    """A tokenizer's run that was tested, and what was printed."""
    run = tmp_path_factory.mktemp("tested") / "slots"
    shutil.copytree(slots_run, run)
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        shorten_probes(patch)
        assert main(["test", str(run), "--trainer.enable_progress_bar", "false"]) == 0
    return run, printed.getvalue()


def test_everything_is_in_the_table_and_in_a_file_of_its_own(tested):
    run, printed = tested
    rows = {row["metric"]: row for row in json.loads((run / "results_test.json").read_text())}
    assert set(rows) >= {*(metric.name for metric in every_metric(2)), "psnr", *HIDDEN, *PROBED}
    lines = {line.split()[0]: line for line in printed.splitlines()}
    for name, row in rows.items():
        assert row["split"] == "test" and row["model"] == row["run"] == "slots" and row["n"] == 1
        assert (row["tokens"], row["token_dim"]) == (2, 34)
        assert row["low"] is row["high"] is None  # one episode shows no interval
        assert f"{row['value']:.3f}" in lines[name] and lines[name].rstrip().endswith("–")
    assert "next: cjepa report" in printed


def test_what_training_left_is_as_it_was(tested, slots_run):
    run, _ = tested
    for name in KEPT:
        assert (run / name).read_bytes() == (slots_run / name).read_bytes(), name
    before, after = ((folder / "metrics.csv").read_text() for folder in (slots_run, run))
    assert len(after.splitlines()) == len(before.splitlines()) + 1 and "test/fg_ari_video" in after.splitlines()[0]


def test_the_test_clips_are_drawn_and_in_the_report(tested):
    run, _ = tested
    pictures = {"test_slots.png", "test_failures.png", "test_slots_0.mp4", "test_slots_3.mp4"}
    assert pictures <= {path.name for path in (run / "media").iterdir()}
    board = EventAccumulator(str(run)).Reload()
    assert {"test/slots", "test/failures", "test/slots_3"} <= set(board.Tags()["images"])
    film = Image.open(io.BytesIO(board.Images("test/slots_0")[-1].encoded_image_string))
    assert film.format == "GIF" and film.n_frames == 8
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert page.count("data:video/mp4") == 8 and page.count("data:image/png") == 4
    assert "test failures" in page and "linear_<wbr>r2@agent_<wbr>x" in page and "fg_<wbr>ari_<wbr>video" in page


def test_a_second_test_replaces_nothing(tested, capfd):
    run, _ = tested
    before = (run / "results_test.json").read_bytes()
    capfd.readouterr()
    assert main(["test", str(run)]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and "results_test.json already exists" in err and "--run_dir" in err
    assert (run / "results_test.json").read_bytes() == before


def test_options_go_behind_the_run(tested, tmp_path):
    run, _ = tested
    words = [
        "--run_dir",
        str(tmp_path / "again"),
        "--data.init_args.val_clips",
        "2",
        "--data.init_args.val_blocks",
        "4",
    ]
    with pytest.MonkeyPatch.context() as patch:
        shorten_probes(patch)
        assert main(["test", str(run), *words, "--trainer.callbacks", "[]"]) == 0
    assert (tmp_path / "again" / "results_test.json").is_file() and not (tmp_path / "again" / "media").exists()


def test_the_other_verbs_take_a_run_too(tested, tmp_path, capfd):
    run, _ = tested
    small = ["--run_dir", str(tmp_path), "--data.init_args.val_clips", "2", "--trainer.callbacks", "[]"]
    assert main(["validate", str(run), *small]) == 0
    assert "val/fg_ari" in capfd.readouterr().out and not (tmp_path / "metrics.csv").exists()
    assert main(["predict", str(run), *small]) == 0
    predictions = torch.load(tmp_path / "predictions.pt", weights_only=True)
    assert predictions["slots_BTSD"].shape[1:] == (8, 2, 34)


def test_what_was_exported_is_tested_into_a_folder_of_its_own(tested, episodes_path, tmp_path, monkeypatch):
    run, _ = tested
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(run), "--out", "exported"]) == 0
    before = sorted(path.name for path in Path("exported").iterdir())
    small = ["--data.init_args.val_clips", "2", "--data.init_args.val_blocks", "4", "--trainer.callbacks", "[]"]
    shorten_probes(monkeypatch)
    for verb in ("validate", "predict", "test"):
        assert main([verb, "exported", *small]) == 0
    assert main(["test", str(run / "checkpoints" / "last.ckpt"), *small, "--run_dir", "again"]) == 0
    assert sorted(path.name for path in Path("exported").iterdir()) == before
    predictions = [torch.load(path, weights_only=True) for path in Path("runs").rglob("predictions.pt")]
    (results,) = Path("runs").rglob("results_test.json")
    assert len(predictions) == 1
    config, record = yaml.safe_load((results.parent / "config.yaml").read_text()), results.parent / "run.json"
    assert config["ckpt_path"] == "exported" and config["data"]["init_args"]["val_clips"] == 2
    assert json.loads(record.read_text())["data"]["fingerprint"] == EpisodeFile(episodes_path).fingerprint
    for verb in ("inspect", "verify", "report"):
        assert main([verb, str(results.parent)]) == 0, verb
    assert not list(Path("again").glob("checkpoints/*"))
    tokenizer = load_tokenizer(Path("exported", "model.safetensors"))
    data = VideoClips(str(episodes_path), frame_stride=2, val_blocks=4, val_clips=2)
    data.setup("predict")
    expected = encode_clips(tokenizer, next(iter(data.predict_dataloader())))
    torch.testing.assert_close(predictions[0]["slots_BTSD"].float()[: len(expected)], expected, atol=2e-2, rtol=0)


def test_training_does_not_go_on_from_what_was_exported(tested, refused, tmp_path):
    run, _ = tested
    assert main(["export", str(run), "--out", str(tmp_path / "exported")]) == 0
    words = ["-c", str(run / "config.yaml"), "--ckpt_path", str(tmp_path / "exported"), "--run_dir", "more"]
    assert "continue training from a last.ckpt" in refused("fit", *words) and not Path("more").exists()
    (tmp_path / "exported" / "config.yaml").unlink()
    for verb in ("test", "preview"):
        assert "config.yaml is missing" in refused(verb, "exported")


@pytest.mark.slow
def test_a_model_of_the_zoo_needs_episodes(episodes_path, collide_episodes_path, refused, tmp_path):
    assert "no such file" in (said := refused("test", "zoo:pusht-slots")) and "--data.init_args.path" in said
    assert not list(tmp_path.iterdir())
    small = ["--data.init_args.val_clips", "2", "--data.init_args.val_blocks", "4", "--trainer.callbacks", "[]"]
    assert main(["validate", "zoo:pusht-slots", "--data.init_args.path", str(episodes_path), *small]) == 0
    for verb in ("validate", "test", "predict"):
        other = ["--data.init_args.path", str(collide_episodes_path), "--run_dir", "other", *small, *QUIET]
        assert "was trained on cjepa/PushT-v0" in refused(verb, "zoo:pusht-slots", *other)
        assert not Path("other").exists()
    assert "no such model" in refused("test", "zoo:nothing")


def test_a_world_model_is_tested_the_same_way(world_model_run, tmp_path, capfd, small_card):
    assert main(["test", str(world_model_run), "--run_dir", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "results_test.json").read_text())
    assert {row["split"] for row in rows} == {"test"} and "rollout_error@5" in capfd.readouterr().out
    ends = {block for row in rows for name, _, block in [row["metric"].partition("@")] if name == "rollout_error"}
    assert ends == {"1", "2", "5"}  # episodes of 45 env steps
    by_metric = {row["metric"]: row for row in rows}
    assert {"rollout_error_proprio@1", "effective_rank", "position_error_block@5"} <= set(by_metric)
    assert by_metric["angle_error_block@0"]["unit"] == "degrees" and by_metric["position_error_agent@1"]["unit"] == "px"
    assert by_metric["plan_cost"]["n"] == 2 and by_metric["recorded_rank"]["unit"] == "of 4"


def test_a_world_model_without_its_simulator_has_rollout_errors_and_a_line(world_model_run, tmp_path, caplog):
    source = EpisodeFile(yaml.safe_load((world_model_run / "config.yaml").read_text())["data"]["init_args"]["path"])
    attributes = {name: source.attributes[name] for name in ("tokenizer_fingerprint", "episodes_fingerprint")}
    attributes |= {"tokenizer": json.loads(source.attributes["tokenizer"]), "num_slots": 2, "token_dim": 34}
    with EpisodeWriter(tmp_path / "alone.h5", "cjepa-tokens", attributes) as writer:
        for episode in source.episodes():
            writer.append(episode)
    words = ["--data.init_args.path", str(tmp_path / "alone.h5"), "--run_dir", str(tmp_path / "run")]
    assert main(["test", str(world_model_run), *words]) == 0
    rows = json.loads((tmp_path / "run" / "results_test.json").read_text())
    names = {row["metric"].partition("@")[0] for row in rows}
    assert names == {"rollout_error", "rollout_error_proprio", "effective_rank", "effective_rank_true"}
    assert "alone.h5 does not name its environment" in caplog.text


def test_what_two_processes_have_trained_is_tested_by_one(world_model_run, tmp_path, small_card):
    run, alone = shutil.copytree(world_model_run, tmp_path / "both"), tmp_path / "alone"
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["trainer"] |= yaml.safe_load((EXPERIMENTS / "two_cores.yaml").read_text())["trainer"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    for folder, more in ((run, []), (world_model_run, ["--run_dir", str(alone)])):
        assert main(["test", str(folder), "--trainer.enable_progress_bar", "false", *more]) == 0
    rows = [json.loads((folder / "results_test.json").read_text()) for folder in (run, alone)]
    assert [row["n"] for row in rows[0]] == [row["n"] for row in rows[1]]  # every clip, none twice


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_a_folder_without_a_run_is_named(verb, tmp_path, capfd):
    assert main([verb, str(tmp_path)]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and str(tmp_path) in err and "run folder" in err
