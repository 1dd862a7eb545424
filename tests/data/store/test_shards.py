"""A folder of files is one data set: the same rows, the same split, few open files."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from cjepa.cli import main
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.store.episodes import DamagedEpisode
from cjepa.data.store.shards import ShardedEpisodes, frame_reader, open_episodes, shard_paths
from cjepa.data.token_clips import TokenClips
from cjepa.data.video_clips import VideoClips
from cjepa.errors import UserError

CUTS = (0, 7, 8, 20)  # shards of 7, 1 and 12 episodes


@pytest.fixture
def cut(tmp_path) -> Callable[..., Path]:
    """Cuts a file into shards ``part-1.h5``, ``part-2.h5``, ``part-10.h5`` of a new folder."""

    def make(source: Path, name: str = "set") -> Path:
        file = EpisodeFile(source)
        folder = tmp_path / name
        attributes = {key: value for key, value in file.attributes.items() if key not in ("seed", "fingerprint")}
        for number, start, stop in zip((1, 2, 10), CUTS[:-1], CUTS[1:], strict=True):
            with EpisodeWriter(folder / f"part-{number}.h5", attributes["format"], attributes) as writer:
                for index in range(start, stop):
                    writer.append(file.episode(index))
        return folder

    return make


@pytest.fixture
def shards(cut, episodes_path) -> Path:
    return cut(episodes_path)


def test_the_folder_that_one_is_in(shards, monkeypatch):
    monkeypatch.chdir(shards)
    assert len(shard_paths(".")) == 3


def test_what_is_found_and_in_which_order(shards, tmp_path, episodes_path):
    names = ["part-1.h5", "part-2.h5", "part-10.h5"]
    (shards / "notes.txt").write_text("not data")
    (shards / "more.h5").mkdir()
    assert [path.name for path in shard_paths(shards)] == names
    assert [path.name for path in shard_paths(str(shards / "part-*.h5"))] == names
    assert [path.name for path in shard_paths(shards / "part-?.h5")] == names[:2]
    assert isinstance(open_episodes(episodes_path), EpisodeFile)
    assert open_episodes(shards / "part-1*.h5").fingerprint != open_episodes(shards).fingerprint
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no .h5 files in this folder"):
        open_episodes(tmp_path / "empty")
    with pytest.raises(UserError, match="no file matches"):
        open_episodes(tmp_path / "*.h5")
    with pytest.raises(UserError, match="no such file"):
        open_episodes(tmp_path / "none.h5")


def test_it_reads_like_the_file_that_it_was_cut_from(shards, episodes):
    ours = open_episodes(shards)
    assert len(ours) == len(episodes) and ours.columns == episodes.columns
    np.testing.assert_array_equal(ours.lengths, episodes.lengths)
    np.testing.assert_array_equal(ours.offsets, episodes.offsets)
    rows = episodes.env_steps
    for name in episodes.columns:
        for start, stop in [(0, rows), (300, 320), (315, 360), (314, 361), (359, 360), (5, 5), (rows - 1, rows)]:
            np.testing.assert_array_equal(ours.read(name, start, stop), episodes.read(name, start, stop))
    for mine, theirs in zip(ours.episodes(), episodes.episodes(), strict=True):
        assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)
    picks = np.random.default_rng(0).integers(0, rows, 100)
    reader = frame_reader(ours, "pixels")
    np.testing.assert_array_equal(reader.read(picks), episodes.read("pixels", 0, rows)[picks])
    for index in (0, 7, 8, 19):
        np.testing.assert_array_equal(reader.episode(index), episodes.episode(index)["pixels"])
    copy = pickle.loads(pickle.dumps(ours))
    np.testing.assert_array_equal(copy.read("state", 300, 400), episodes.read("state", 300, 400))
    with pytest.raises(UserError, match="no column 'tokens'"):
        ours.read("tokens", 0, 1)


def test_the_fingerprint_is_that_of_the_shards_in_their_order(shards, tmp_path):
    before = open_episodes(shards).fingerprint
    moved = shutil.move(shards, tmp_path / "elsewhere")
    assert open_episodes(moved).fingerprint == before
    (moved / "part-1.h5").rename(moved / "part-20.h5")
    assert open_episodes(moved).fingerprint != before


def test_few_files_are_open_at_a_time(shards):
    def open_shards() -> int:
        links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
        return sum(os.path.exists(link) and os.readlink(link).startswith(str(shards)) for link in links)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc to count open files in")
    files = [EpisodeFile(path) for path in shard_paths(shards)]
    ours = ShardedEpisodes(shards, files, max_open=2)
    assert open_shards() == 0
    found = set()
    for index in [0, 7, 8, 19, 7, 0]:
        ours.episode(index)
        found.add(open_shards())
    assert found == {1, 2}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda file: file.attrs.__setitem__("env_id", "cjepa/Collide-v0"), "env_id is cjepa/PushT-v0 in the first"),
        (lambda file: file.attrs.__setitem__("format", "cjepa-tokens"), "format"),
        (lambda file: file.__delitem__("masks"), "'masks' is uint8 .64, 64. in the first and missing"),
    ],
)
def test_files_that_do_not_belong_together(shards, change, told):
    with h5py.File(shards / "part-10.h5", "r+") as file:
        change(file)
    with pytest.raises(UserError, match=rf"part-1.h5 and .*part-10.h5 are not one data set: .*{told}"):
        open_episodes(shards)


@pytest.mark.parametrize("shared", [[7], [0, 7, 19]], ids=["all of a file", "some of a file"])
def test_episodes_in_two_files(shards, episodes, shared):
    """As when one seed was collected from twice, with other numbers of episodes."""
    attributes = EpisodeFile(shards / "part-2.h5").attributes
    with EpisodeWriter(shards / "part-3.h5", attributes["format"], attributes) as writer:
        for index in shared:
            writer.append(episodes.episode(index))
    with pytest.raises(UserError, match="part-[12].h5 and .*part-3.h5 contain the same episodes"):
        open_episodes(shards)


def test_twins_are_no_shards(shards, episodes):
    twins = shards / "part-2.twins.h5"
    with EpisodeWriter(twins, "cjepa-episodes", {}) as writer:
        writer.append(episodes.episode(0) | {"twin_body": np.zeros(45, np.int32)})
    assert twins not in shard_paths(shards) and len(open_episodes(shards)) == 20
    assert shard_paths(shards / "*.twins.h5") == [twins]
    for path in shards.glob("part-*[0-9].h5"):
        path.unlink()
    assert open_episodes(shards).path == twins


def test_damage_is_named_with_the_index_in_the_set(shards):
    with h5py.File(shards / "part-10.h5", "r+") as file:
        file["pixels"][50] = 0  # in the second episode of this shard
    ours = open_episodes(shards)
    rows = np.arange(ours.env_steps)
    reader = frame_reader(ours, "pixels")
    for read in (
        lambda: ours.read("pixels", 0, ours.env_steps),
        lambda: reader.read(rows),
        lambda: reader.episode(9),
    ):
        with pytest.raises(DamagedEpisode) as raised:
            read()
        assert (raised.value.episode, raised.value.index) == (1, 9)
        assert str(raised.value).startswith(f"{shards / 'part-10.h5'}: episode 1, column 'pixels'")
        assert "exclude_episodes [9]" in str(raised.value)


def batches(data, path: Path, **options) -> list:
    module = data(str(path), batch_size=16, **options)
    module.setup("fit")
    parts = {name: part.tolist() for name, part in module.splits.items()}
    return [parts, *module.train_dataloader(), *module.val_dataloader(), *module.test_dataloader()]


@pytest.mark.parametrize(
    ("data", "source", "options"),
    [
        (VideoClips, "episodes_path", {"val_blocks": 4}),
        (TokenClips, "tokens_path", {}),
    ],
)
def test_training_sees_the_same_batches(request, cut, data, source, options):
    path = request.getfixturevalue(source)
    (splits, *ours), (their_splits, *theirs) = (batches(data, p, **options) for p in (cut(path), path))
    assert splits == their_splits
    for mine, other in zip(ours, theirs, strict=True):
        given = ([value for value in batch if value is not None] for batch in (mine, other))
        assert all(torch.equal(a, b) for a, b in zip(*given, strict=True))


def test_tokens_of_a_set_and_tokens_of_its_shards(shards, tmp_path, slots_run, slot_tokens):
    whole, folder = tmp_path / "whole.h5", tmp_path / "tokens"
    assert main(["tokenize", str(slots_run), str(shards), "--out", str(whole)]) == 0
    for shard in shard_paths(shards):
        assert main(["tokenize", str(slots_run), str(shard), "--out", str(folder / shard.name)]) == 0
    one, several = open_episodes(whole), open_episodes(folder)
    source = open_episodes(shards).fingerprint
    assert one.attributes["episodes_fingerprint"] == several.attributes["episodes_fingerprint"] == source
    expected = EpisodeFile(slot_tokens).read("tokens", 0, one.env_steps).astype(np.float32)
    for file in (one, several):
        # other frames share the batch, so that the last bits may differ
        np.testing.assert_allclose(file.read("tokens", 0, one.env_steps).astype(np.float32), expected, atol=0.02)
