"""What can be looked at of data and runs; the pictures are read again and looked into."""

import json
import shutil
import tracemalloc
from pathlib import Path

import h5py
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from cjepa.artifacts.preview import _shown_episode, preview_path
from cjepa.cli import main
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.store.origins import tokenizer_of
from cjepa.errors import UserError
from cjepa.reporting.videos import GAP, SLOT_COLOURS, write_png
from tests.conftest import RecordedProgress, ignore_progress


def preview(path: Path, out: Path, episodes: int = 3, seed: int = 0, data: str | None = None) -> list[str]:
    files = preview_path(path, out, episodes, seed, ignore_progress, data)
    assert all(file.parent == out and file.is_file() for file in files)
    return [file.name for file in files]


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def video_steps(path: Path) -> int:
    return imageio_ffmpeg.count_frames_and_secs(path)[0]


def colours_in(image: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(map(int, colour)) for colour in np.unique(image.reshape(-1, 3), axis=0)}


@pytest.mark.slow
def test_episodes_with_their_masks(tmp_path, episodes_path, episodes):
    assert preview(episodes_path, tmp_path) == ["sheet.png", "episodes.mp4"]
    assert video_steps(tmp_path / "episodes.mp4") == 45
    sheet = picture(tmp_path / "sheet.png")
    # three rows of eight frames of 64 pixels, twice as large, masks below
    assert sheet.shape[1] >= 8 * 128 and sheet.shape[0] >= 3 * 2 * 128
    frames = np.concatenate([episodes.episode(index)["pixels"] for index in range(20)])
    block = tuple(np.median(frames[(frames.std(axis=-1) < 20) & (frames.mean(axis=-1) < 200)], axis=0).astype(int))
    grey = SLOT_COLOURS[-1]  # the block is grey, and so is its mask
    masked = tuple(np.rint(0.2 * np.array(block) + 0.8 * grey).astype(int))
    found = colours_in(sheet)
    assert block in found and masked in found
    legend = colours_in(sheet[-26:])  # agent and block
    assert {tuple(map(int, SLOT_COLOURS[1])), tuple(map(int, grey))} <= legend


def test_labels_with_gaps_take_no_room_for_those_that_are_missing(tmp_path):
    labels = np.zeros((40, 64, 64), np.uint8)
    labels[:, :8, :8], labels[:, 20:, 20:] = 2, 255
    with EpisodeWriter(tmp_path / "e.h5", "cjepa-episodes", {"body_names": '["red", "green"]'}) as writer:
        writer.append({"pixels": np.repeat(labels[..., None], 3, axis=-1), "masks": labels})
    data = EpisodeFile(tmp_path / "e.h5")
    tracemalloc.start()
    shown = _shown_episode(data, 0)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert list(shown.colours) == ["green", "body 254"]
    assert peak_bytes < 40 * 64 * 64 * 255  # what a mask for each label up to 255 would take


@pytest.mark.slow
def test_the_seed_chooses_the_episodes(tmp_path, episodes_path):
    pictures = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        preview(episodes_path, tmp_path / name, seed=seed)
        pictures.append((tmp_path / name / "sheet.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


@pytest.mark.slow
def test_no_more_episodes_than_there_are(tmp_path, episodes):
    with EpisodeWriter(tmp_path / "three.h5", "cjepa-episodes", {}) as writer:
        for index in range(3):
            writer.append(episodes.episode(index, ["pixels"]))
    done = RecordedProgress()
    preview_path(tmp_path / "three.h5", tmp_path / "out", 50, 0, done)
    assert sum(done.amounts) == 3


def test_without_masks_and_of_several_files(tmp_path, episodes):
    for number in (1, 2):
        with EpisodeWriter(tmp_path / "set" / f"{number}.h5", "cjepa-episodes", {}) as writer:
            for index in range(2):
                rows = episodes.episode(index + 2 * number)
                writer.append({"pixels": rows["pixels"][: 10 + index], "action": rows["action"][: 10 + index]})
    assert preview(tmp_path / "set", tmp_path / "out", episodes=4) == ["sheet.png", "episodes.mp4"]
    assert video_steps(tmp_path / "out" / "episodes.mp4") == 11  # the shorter ones wait


def test_tokens_as_what_they_decode_to(tmp_path, slot_tokens):
    assert preview(slot_tokens, tmp_path / "with", episodes=2) == ["sheet.png", "episodes.mp4"]
    moved = tmp_path / "tokens.h5"
    shutil.copy(slot_tokens, moved)
    with h5py.File(moved, "r+") as file:
        file.attrs["episodes_path"] = "gone.h5"
        file.attrs["tokenizer"] = json.dumps(tokenizer_of(EpisodeFile(slot_tokens)))  # absolute, as in older files
    assert preview(moved, tmp_path / "without", episodes=2) == ["sheet.png", "episodes.mp4"]
    heights = [picture(tmp_path / name / "sheet.png").shape[0] for name in ("with", "without")]
    assert heights[0] - heights[1] == 2 * (128 + GAP)  # a panel less: the frames


@pytest.mark.slow
@pytest.mark.parametrize("tokens", ["patch_tokens", "tokens_path"])
def test_tokens_as_values_over_time(request, tmp_path, tokens):
    """Patches have no decoder; of the others the tokenizer is gone."""
    assert preview(request.getfixturevalue(tokens), tmp_path, episodes=2) == ["tokens.png"]
    assert len(colours_in(picture(tmp_path / "tokens.png"))) > 50


def test_tokens_of_a_tokenizer_that_has_changed_are_not_decoded_by_it(tmp_path, slot_tokens):
    path = Path(shutil.copy(slot_tokens, tmp_path / "tokens.h5"))
    with h5py.File(path, "r+") as file:
        file.attrs["tokenizer_fingerprint"] = "0" * 16
    assert preview(path, tmp_path / "out", episodes=1) == ["tokens.png"]


def test_a_tokenizer_on_held_out_clips(tmp_path, slots_run):
    assert preview(slots_run, tmp_path, episodes=2) == ["sheet.png", "clips.mp4"]
    assert video_steps(tmp_path / "clips.mp4") > 1
    assert picture(tmp_path / "sheet.png").shape[0] > 2 * 3 * 64


def test_a_checkpoint_and_a_model_of_the_zoo_on_episodes_that_are_named(
    tmp_path, monkeypatch, slots_run, episodes_path, collide_episodes_path
):
    monkeypatch.chdir(tmp_path)
    assert preview(slots_run / "checkpoints" / "last.ckpt", tmp_path / "run", episodes=1) == ["sheet.png", "clips.mp4"]
    assert picture(tmp_path / "run" / "sheet.png").shape[0] > 3 * 64
    zoo = Path("zoo:pusht-slots")
    assert preview(zoo, tmp_path / "zoo", 1, data=str(episodes_path)) == ["sheet.png", "clips.mp4"]
    with pytest.raises(UserError, match="no such file.* give others with --data"):
        preview(zoo, tmp_path / "out", 1)
    with pytest.raises(UserError, match="was trained on cjepa/PushT-v0"):
        preview(zoo, tmp_path / "out", 1, data=str(collide_episodes_path))
    with pytest.raises(UserError, match="--data applies only to tokenizers"):
        preview(episodes_path, tmp_path / "out", 1, data=str(collide_episodes_path))
    assert not (tmp_path / "out").exists()


def test_other_runs_have_made_their_own(tmp_path, world_model_run):
    run = shutil.copytree(world_model_run, tmp_path / "run")
    shutil.rmtree(run / "media", ignore_errors=True)
    with pytest.raises(UserError, match=r"contains no pictures or videos yet; .*cjepa plan .*run -c"):
        preview(run, tmp_path / "out")
    made = write_png(run / "plan" / "media" / "trial.png", np.zeros((4, 4, 3), np.uint8))
    assert preview_path(run, tmp_path / "out", 3, 0, ignore_progress) == [made]
    assert not (tmp_path / "out").exists()


def test_nothing_to_look_at(tmp_path, world_model_run):
    with EpisodeWriter(tmp_path / "states.h5", "cjepa-episodes", {}) as writer:
        writer.append({"state": np.zeros((4, 2), np.float32)})
    with pytest.raises(UserError, match="states.h5: no column 'pixels'"):
        preview(tmp_path / "states.h5", tmp_path / "out")
    with pytest.raises(UserError, match="not a checkpoint of a tokenizer"):
        preview(world_model_run / "checkpoints" / "last.ckpt", tmp_path / "out")
    with EpisodeWriter(tmp_path / "none.h5", "cjepa-episodes", {}) as writer:
        writer.append({"pixels": np.zeros((0, 4, 4, 3), np.uint8)})
    with pytest.raises(UserError, match="no episode"):
        preview(tmp_path / "none.h5", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command(tmp_path, monkeypatch, episodes_path, slots_run, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["preview", str(episodes_path), "--episodes", "2", "--seed", "3"]) == 0
    folder = Path("runs", "previews", EpisodeFile(episodes_path).path.stem)
    assert capsys.readouterr().out.split() == [str(folder / "sheet.png"), str(folder / "episodes.mp4")]
    assert main(["preview", str(slots_run / "checkpoints" / "last.ckpt"), "--episodes", "1"]) == 0
    assert capsys.readouterr().out.split()[0] == str(Path("runs", "previews", slots_run.name, "sheet.png"))
    assert main(["preview", "nowhere.h5"]) == 2
    assert "nowhere.h5: no such file" in capsys.readouterr().err
