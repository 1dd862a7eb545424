"""Files of ours read by stable-worldmodel and the other way round. Needs the extra `swm`: `make test-swm`."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cjepa.bench.readers import READERS, ReadJob
from cjepa.cli import main
from cjepa.data.store.episode_file import EpisodeFile
from tests.conftest import NUM_EPISODES

pytest.importorskip("stable_worldmodel", reason="the extra `swm` is not installed")

from stable_worldmodel.data import load_dataset  # noqa: E402
from stable_worldmodel.data.format import get_format  # noqa: E402


def pixels_last(values: torch.Tensor) -> np.ndarray:
    """Their reader puts the channels of images first."""
    return values.movedim(1, -1).numpy() if values.ndim == 4 else values.numpy()


@pytest.fixture
def copied(tmp_path):
    """A copy of a file: within one process HDF5 does not open a file in their way (SWMR) and in ours."""
    return lambda path: Path(shutil.copy(path, tmp_path / "copy.h5"))


def test_our_episodes_read_by_them(episodes_path, episodes, copied):
    theirs = load_dataset(copied(episodes_path))
    assert sorted(theirs.column_names) == sorted(episodes.columns)
    np.testing.assert_array_equal(theirs.lengths, episodes.lengths)
    for index in range(NUM_EPISODES):
        own, other = episodes.episode(index), theirs.load_episode(index)
        for name in episodes.columns:
            values = pixels_last(other[name]) if name == "pixels" else other[name].numpy()
            assert values.dtype == own[name].dtype, name
            np.testing.assert_array_equal(values, own[name], err_msg=name)


def test_our_tokens_read_by_them(tokens_path, copied):
    tokens, theirs = EpisodeFile(tokens_path), load_dataset(copied(tokens_path))
    for name in tokens.columns:
        np.testing.assert_array_equal(theirs.get_col_data(name), tokens.read(name, 0, tokens.env_steps))


@pytest.fixture(params=["hdf5", "lance"])
def theirs_path(request, tmp_path, episodes):
    """Our episodes, written by their writer."""
    path = tmp_path / {"hdf5": "theirs.h5", "lance": "theirs.lance"}[request.param]
    with get_format(request.param).open_writer(path) as writer:
        columns = ("pixels", "proprio", "action", "state")
        writer.write_episodes({k: list(v) for k, v in episode.items()} for episode in episodes.episodes(columns))
    return request.param, path


def test_their_file_converted_by_us(theirs_path, tmp_path, episodes):
    form, path = theirs_path
    out = tmp_path / "ours.h5"
    assert main(["convert", str(path), str(out), "--from", f"swm-{form}"]) == 0
    ours = EpisodeFile(out)
    np.testing.assert_array_equal(ours.lengths, episodes.lengths)
    for name in ("proprio", "action", "state"):
        np.testing.assert_array_equal(
            ours.read(name, 0, ours.env_steps), episodes.read(name, 0, episodes.env_steps), err_msg=name
        )
    difference = ours.read("pixels", 0, 90).astype(int) - episodes.read("pixels", 0, 90)
    assert np.abs(difference).mean() <= (0 if form == "hdf5" else 3)  # Lance keeps JPEGs


@pytest.mark.parametrize("name", ["stable-worldmodel", "stable-worldmodel Lance"])
def test_readers_of_the_benchmark_give_the_same_clips(name, episodes_path, tmp_path, copied):
    job = ReadJob(episodes_path, tmp_path, blocks=4, frame_stride=5, batch_size=8, clips=16, cores=2)
    ours = READERS["cjepa"].dataset(job)
    theirs = READERS[name].dataset(job._replace(path=copied(episodes_path)))
    assert len(ours) == len(theirs)
    picks = [0, 77, 519]
    clips = theirs.__getitems__(picks) if "Lance" in name else [theirs[index] for index in picks]
    batch = ours.__getitems__(picks)
    assert torch.equal(torch.stack([clip["proprio"] for clip in clips]), batch.proprio_BTP)
    assert torch.equal(torch.stack([clip["action"] for clip in clips]), batch.actions_BTA)
    pixels_BTYXC = torch.stack([clip["pixels"] for clip in clips]).movedim(2, -1)
    difference = (pixels_BTYXC.int() - batch.pixels_BTYXC.int()).abs().float().mean()
    assert difference <= (3 if "Lance" in name else 0)  # Lance keeps JPEGs
