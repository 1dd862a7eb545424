import os
import pickle
import shutil

import numpy as np
import pytest
import torch

from cjepa.cli import main
from cjepa.data.converters.base import convert, open_source
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.envs.pusht.env import PushT
from cjepa.errors import UserError
from tests.conftest import ignore_progress
from tests.data.converters.episodes import an_episode
from tests.data.converters.sources import dino_wm


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return dino_wm(tmp_path_factory.mktemp("dino"), 4)


def test_values_are_those_of_the_source_in_our_units(source, tmp_path):
    file = convert(open_source("dino-wm", source, {}), tmp_path / "out.h5", ignore_progress)
    for index, found in enumerate(file.episodes()):
        expected = an_episode(index)
        np.testing.assert_array_equal(found["state"], expected["state"])
        np.testing.assert_array_equal(found["proprio"], expected["state"][:, [0, 1, 5, 6]])
        np.testing.assert_allclose(found["action"], expected["action"], atol=1e-6)
        errors = [np.abs(found["pixels"].astype(int) - np.roll(expected["pixels"], by, 0)).mean() for by in (-1, 0, 1)]
        assert errors[1] < 3 and errors[1] == min(errors)


def test_columns_are_laid_out_as_the_environment_has_them(source, tmp_path):
    file = convert(open_source("dino-wm", source, {"image_size": 64}), tmp_path / "out.h5", ignore_progress)
    env = PushT(image_size=64)
    for name, space in env.observation_space.spaces.items():
        shape, dtype = file.columns[name]
        assert (shape[1:], dtype) == (space.shape, space.dtype)
    assert file.columns["action"][0][1:] == env.action_space.shape


def test_converted_episodes_are_tokenized(source, tmp_path, slots_run):
    episodes, tokens = tmp_path / "episodes.h5", tmp_path / "tokens.h5"
    assert main(["convert", str(source), str(episodes), "--from", "dino-wm", "--image_size", "64"]) == 0
    assert main(["tokenize", str(slots_run), str(episodes), "--out", str(tokens)]) == 0
    file = EpisodeFile(tokens)
    assert file.attributes["episodes_fingerprint"] == EpisodeFile(episodes).fingerprint
    np.testing.assert_array_equal(file.episode(3)["state"], an_episode(3)["state"])


def test_lengths_may_be_an_array(source, tmp_path):
    root = shutil.copytree(source, tmp_path / "train")
    lengths = pickle.loads((root / "seq_lengths.pkl").read_bytes())
    (root / "seq_lengths.pkl").write_bytes(pickle.dumps(np.array(lengths)))
    assert open_source("dino-wm", root, {}).lengths == lengths


class Runs:
    def __reduce__(self):
        return os.system, ("touch ran",)


def pickled(value):
    return lambda root: (root / "seq_lengths.pkl").write_bytes(pickle.dumps(value))


def saved(value, **options):
    return lambda root: torch.save(value, root / "states.pth", **options)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (pickled([24, Runs()]), "seq_lengths.pkl: refused, .* posix.system"),
        (pickled([24, 27, 30]), "states.pth: 4 episodes, but seq_lengths.pkl has 3"),
        (pickled([24, 27, 30, 0]), "integers above 0"),
        (pickled([24, 27, 30, 99]), r"states.pth: \(4, 33, 5\), expected .* at least 99 env steps"),
        (pickled({"a": 1}), "expected a list of episode lengths"),
        (saved({"a": Runs()}), "states.pth: not a tensor .*posix.system"),
        (saved({"a": torch.zeros(3)}), "states.pth: dict, expected a tensor"),
        (saved([1] * 9000), "states.pth: list, expected a tensor"),
        (saved(torch.zeros(4, 40, 5).to_sparse()), "states.pth: .*expected plain tensors"),
        (saved(torch.zeros(4, 40, 5) + 1j), "complex64, torch.strided; expected plain real numbers"),
        (saved(torch.zeros(1, 1, 5).expand(4, 10**6, 5)), "of which fewer values are stored"),
        (saved([1, 2]), "states.pth: list, expected a tensor"),
        (saved(torch.zeros(4, 40, 7)), "5 values"),
        (
            saved(torch.zeros(4, 40, 5), _use_new_zipfile_serialization=False),
            "in the format of torch 1.6",
        ),
        (
            lambda root: (root / "velocities.pth").write_text("hello"),
            "velocities.pth: not a tensor .*or damaged",
        ),
        (
            lambda root: (root / "seq_lengths.pkl").unlink(),
            "seq_lengths.pkl: no such .* train or val",
        ),
        (lambda root: (root / "rel_actions.pth").unlink(), "rel_actions.pth: no such file"),
        (lambda root: (root / "obses" / "episode_002.mp4").unlink(), "episode_002.mp4: no such video"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(damage, message, source, tmp_path, monkeypatch):
    root = shutil.copytree(source, tmp_path / "train")
    damage(root)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        convert(open_source("dino-wm", root, {}), tmp_path / "out.h5", ignore_progress)
    assert {entry.name for entry in tmp_path.iterdir()} - {"out.h5.parts"} == {"train"}


def test_the_folder_of_both_sets_is_pointed_on(source):
    with pytest.raises(UserError, match="give one of them, such as .*train"):
        open_source("dino-wm", source.parent, {})
