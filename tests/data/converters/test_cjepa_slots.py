import json
import os
import pickle
import shutil

import numpy as np
import pytest

from cjepa.cli import main
from cjepa.data.converters.base import convert, open_source
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.token_clips import TokenClips
from cjepa.errors import UserError
from tests.conftest import configs, fit, ignore_progress
from tests.data.converters.episodes import an_episode
from tests.data.converters.sources import cjepa_slots, slots

WORDS = [*configs("pusht/cjepa.yaml", "smoke/world_model.yaml"), "--data.init_args.val_blocks=4"]
WORDS += ["--model.init_args.predictor.init_args.token_dim=128"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """20 videos, the fewest that our split takes."""
    return cjepa_slots(tmp_path_factory.mktemp("official"), 20)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory, source):
    path = tmp_path_factory.mktemp("tokens") / "tokens.h5"
    assert main(["convert", str(source), str(path), "--from", "cjepa-slots"]) == 0
    return path


def test_values_and_names_are_those_of_the_source(source, tmp_path):
    file = convert(open_source("cjepa-slots", source, {}), tmp_path / "out.h5", ignore_progress)
    names = [f"train/{k}_pixels.mp4" for k in range(10)] + [f"val/{k}_pixels.mp4" for k in range(10)]
    assert json.loads(file.attributes["episode_names"]) == names
    for index, found in zip([*range(0, 20, 2), *range(1, 20, 2)], file.episodes(), strict=True):
        np.testing.assert_array_equal(found["tokens"], slots(index))
        for name in ("action", "proprio", "state"):
            np.testing.assert_array_equal(found[name], an_episode(index)[name])
    assert (file.attributes["num_slots"], file.attributes["token_dim"]) == (4, 128)


def test_clips_and_training(tokens, tmp_path):
    data = TokenClips(str(tokens), val_blocks=4, batch_size=4)
    data.setup("fit")
    clip = next(iter(data.val_dataloader()))
    assert clip.tokens_BTSD.shape[1:] == (4, 4, 128)
    run = fit(tmp_path / "run", tokens, *WORDS)
    assert (run / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.slow
def test_planning_without_the_tokenizer_is_refused(tokens, tmp_path, episodes_path, capfd):
    run = fit(tmp_path / "run", tokens, *WORDS)
    capfd.readouterr()
    plan = configs("pusht/plan.yaml", "smoke/plan.yaml")
    assert main(["plan", str(run), *plan, "--episodes", str(episodes_path), "--out", str(tmp_path / "plan")]) == 2
    line = capfd.readouterr().err
    assert line.count("\n") == 1 and "converted tokens (cjepa-slots" in line and "cjepa tokenize" in line
    assert not (tmp_path / "plan").exists()


def test_the_fingerprint_tells_slots_apart(source, tmp_path):
    """A model is not trained on with slots of another encoder."""
    again = shutil.copytree(source, tmp_path / "again")
    other = tmp_path / "other.pkl"
    other.write_bytes(pickle.dumps({"train": {"a": slots(3)}}))
    found = [open_source("cjepa-slots", path, {}).fingerprint for path in (source, again, other)]
    assert found[0] == found[1] != found[2]
    assert all(len(value) == 16 for value in found)


@pytest.mark.slow
def test_slots_alone_as_of_clevrer(tmp_path):
    """Without actions and proprioception there are no such entities."""
    path = tmp_path / "clevrer_slots.pkl"
    path.write_bytes(pickle.dumps({"train": {f"video_{k:05d}.mp4": slots(k, 7) for k in range(20)}, "val": {}}))
    file = convert(open_source("cjepa-slots", path, {}), tmp_path / "out.h5", ignore_progress)
    assert list(file.columns) == ["tokens"] and file.columns["tokens"][0][1:] == (7, 128)
    widths = [f"--model.init_args.predictor.init_args.{name}=0" for name in ("proprio_dim", "action_dim")]
    run = fit(tmp_path / "run", file.path, *WORDS, *widths)
    assert (run / "checkpoints" / "last.ckpt").is_file()


class Runs:
    def __reduce__(self):
        return os.system, ("touch ran",)


def change(name, edit):
    """Edits the content of one pickle."""

    def damage(root):
        path = root / name
        content = pickle.loads(path.read_bytes())
        edited = edit(content)
        path.write_bytes(pickle.dumps(content if edited is None else edited))

    return damage


SLOTS, ACTIONS = "pusht_slots.pkl", "pusht_expert_action_meta.pkl"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change(SLOTS, lambda c: c["val"].update(x=Runs())), "pusht_slots.pkl: refused, .*posix.system"),
        (change(ACTIONS, lambda c: {"a": Runs()}), "action_meta.pkl: refused, .*posix.system"),
        (change(SLOTS, lambda c: [1]), "pusht_slots.pkl: list, expected a dict {split"),
        (change(SLOTS, lambda c: {}), "expected a dict {split"),
        (change(SLOTS, lambda c: {"train": {}}), "contains no videos"),
        (change(SLOTS, lambda c: c["train"].update(x=[1, 2])), "train/x: expected an array of floats, got list"),
        (
            change(SLOTS, lambda c: c["train"].update(x=np.zeros((3, 4, 5), int))),
            "train/x: expected an array of floats",
        ),
        (
            change(SLOTS, lambda c: c["train"].update(x=np.zeros((3, 4)))),
            r"train/x: an array of shape \(3, 4\), expected 3 axes",
        ),
        (change(SLOTS, lambda c: c["train"].update(x=np.zeros((0, 4, 128)))), "at least one frame"),
        (change(ACTIONS, lambda c: c["val"].clear()), "no entry for val/0_pixels.mp4"),
        (
            change(ACTIONS, lambda c: c["val"].update({"1_pixels.mp4": np.zeros((9, 2))})),
            "val/1_pixels.mp4 has 9 rows, but its slots have 33 frames",
        ),
        (
            lambda root: shutil.copy(root / SLOTS, root / "b.pkl"),
            "expected one pickle of slots .* b.pkl, pusht_slots.pkl",
        ),
        (lambda root: (root / SLOTS).unlink(), "found none"),
        (lambda root: shutil.copy(root / ACTIONS, root / "b_action_meta.pkl"), r"2 files \*_action_meta.pkl"),
        (lambda root: (root / SLOTS).write_bytes((root / SLOTS).read_bytes()[:-900]), "pusht_slots.pkl"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(damage, message, tmp_path, monkeypatch):
    root = cjepa_slots(tmp_path, 4)
    damage(root)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        convert(open_source("cjepa-slots", root, {}), tmp_path / "out.h5", ignore_progress)
    assert {entry.name for entry in tmp_path.iterdir()} - {"out.h5.parts"} == {"slots"}


def test_videos_without_slots_are_left_out_and_counted(tmp_path, capsys):
    root = cjepa_slots(tmp_path, 4)
    change(ACTIONS, lambda content: content["val"].update({f"{k}.mp4": np.zeros((9, 2)) for k in "ab"}))(root)
    assert main(["convert", str(root), str(tmp_path / "out.h5"), "--from", "cjepa-slots"]) == 0
    assert f"left out: 2 videos of {ACTIONS}, which have no slots\n" in capsys.readouterr().out
    assert len(EpisodeFile(tmp_path / "out.h5")) == 4


def test_the_second_odd_video_is_named_and_nothing_is_left(tmp_path):
    path = tmp_path / "slots.pkl"
    path.write_bytes(pickle.dumps({"train": {"a": slots(0), "b": slots(1, 5)}}))
    with pytest.raises(UserError, match=r"train/b, column 'tokens': rows are float32 \(5, 128\)"):
        convert(open_source("cjepa-slots", path, {}), tmp_path / "out.h5", ignore_progress)
    assert {entry.name for entry in tmp_path.iterdir()} - {"out.h5.parts"} == {"slots.pkl"}
