import pickle

import h5py
import numpy as np
import pytest

from cjepa.data.store import frames
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.store.episodes import DamagedEpisode
from cjepa.data.store.frames import FrameReader
from cjepa.errors import UserError

LENGTHS = (5, 7, 3)


@pytest.fixture
def path(tmp_path):
    """Frames that compress and frames that do not, a column of small rows, and a column of large ones of floats."""
    rng = np.random.default_rng(0)
    with EpisodeWriter(tmp_path / "some.h5", "cjepa-episodes", {}) as writer:
        for length in LENGTHS:
            noise = rng.integers(0, 256, (length, 16, 16, 3), dtype=np.uint8)
            writer.append(
                {
                    "pixels": np.where(np.arange(length)[:, None, None, None] % 2, noise, np.uint8(7)),
                    "action": rng.normal(size=(length, 2)).astype(np.float32),
                    "tokens": rng.normal(size=(length, 9, 40)).astype(np.float16),
                }
            )
    return tmp_path / "some.h5"


def damage(path, row: int) -> None:
    """Other bytes where the packed pixels of a row are; what they unpack to changes."""
    with h5py.File(path, "r") as file:
        chunks = []
        file["pixels"].id.chunk_iter(chunks.append)
    (at,) = (chunk.byte_offset for chunk in chunks if chunk.chunk_offset[0] == row)
    with open(path, "r+b") as file:
        file.seek(at + 16)
        file.write(b"\xff" * 20)


@pytest.mark.parametrize("column", ["pixels", "action", "tokens"])
def test_rows_in_any_order(path, column):
    file = EpisodeFile(path)
    rows = np.array([14, 0, 3, 3, 7, 1, 14])
    values = FrameReader(file, column).read(rows)
    everything = file.read(column, 0, file.env_steps)
    assert values.dtype == everything.dtype
    np.testing.assert_array_equal(values, everything[rows])


@pytest.mark.parametrize(
    ("column", "expected"), [("action", [(0, 4), (12, 15)]), ("pixels", [(0, 1), (3, 4), (12, 15)])]
)
def test_rows_of_a_chunk_are_read_at_once_but_none_of_other_episodes(path, column, expected, monkeypatch):
    """Files elsewhere have no list of chunks."""
    monkeypatch.setattr(frames, "_single_row_chunks", lambda path, column: None)
    reader = FrameReader(file := EpisodeFile(path), column)
    rows = np.array([14, 3, 0, 13, 12, 3])
    reader.read(rows)  # and look at the checksums of their episodes
    spans, read = [], file.read
    monkeypatch.setattr(file, "read", lambda name, *span: spans.append(span) or read(name, *span))
    np.testing.assert_array_equal(reader.read(rows), read(column, 0, 15)[rows])
    assert spans == expected and reader.read(rows[:0]).shape[0] == 0


def test_frames_come_past_hdf5_once_their_episode_is_checked(path, monkeypatch):
    reader = FrameReader(EpisodeFile(path), "pixels")
    expected = reader.read(np.arange(12))

    def refuse(*_):
        raise AssertionError("read through HDF5")

    monkeypatch.setattr(EpisodeFile, "read", refuse)
    np.testing.assert_array_equal(reader.read(np.arange(12)[::-1]), expected[::-1])
    with pytest.raises(AssertionError):  # the third episode, of which nothing was read yet
        reader.read(np.array([12]))


def test_a_copy_for_another_process(path):
    reader = FrameReader(EpisodeFile(path), "pixels")
    rows = np.array([4, 2])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader)).read(rows), reader.read(rows))


@pytest.mark.parametrize("row", [6, 7])  # the constant frame's packing is broken, the noise is only another noise
def test_damage_is_named(path, row):
    damage(path, row)
    reader = FrameReader(EpisodeFile(path), "pixels")
    assert len(reader.read(np.array([0, 4, 12]))) == 3  # of other episodes
    with pytest.raises(UserError, match="some.h5.*pixels"):
        reader.read(np.array([0, 8]))


def test_a_file_that_changes_under_the_reader_is_named(path):
    reader = FrameReader(EpisodeFile(path), "pixels")
    reader.read(np.arange(15))
    damage(path, 5)
    with pytest.raises(UserError, match="some.h5.*pixels.*changed"):
        reader.read(np.array([5]))
    with open(path, "r+b") as file:
        file.truncate(100)
    with pytest.raises(UserError, match="some.h5.*pixels.*changed"):
        reader.read(np.array([1]))


def test_an_unknown_column_is_the_users_error(path):
    with pytest.raises(UserError, match="'masks'.*'pixels'"):
        FrameReader(EpisodeFile(path), "masks")


def test_whole_episodes_come_past_hdf5_and_are_checked(path, monkeypatch):
    expected = [rows["pixels"] for rows in EpisodeFile(path).episodes(["pixels"])]
    damage(path, 7)
    damage(path, 13)
    reader = FrameReader(EpisodeFile(path), "pixels")
    for episode in (1, 2):  # noise that is another noise, and a frame whose packing is broken
        with pytest.raises(DamagedEpisode, match=f"episode {episode}, column 'pixels'"):
            reader.episode(episode)
    monkeypatch.setattr(EpisodeFile, "read", None)
    np.testing.assert_array_equal(reader.episode(0), expected[0])


@pytest.mark.parametrize("column", ["action", "tokens"])
def test_whole_episodes_of_other_columns(path, column):
    file = EpisodeFile(path)
    reader = FrameReader(file, column)
    for index, length in enumerate(LENGTHS):
        values = reader.episode(index)
        assert len(values) == length
        np.testing.assert_array_equal(values, file.episode(index)[column])
