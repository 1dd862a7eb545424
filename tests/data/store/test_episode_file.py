import pickle

import h5py
import numpy as np
import pytest

from cjepa.data.store.episode_file import EpisodeFile, EpisodeWriter, crc32
from cjepa.data.store.episodes import DamagedEpisode
from cjepa.errors import UserError


def an_episode(rows: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "pixels": rng.integers(0, 256, (rows, 16, 16, 3), dtype=np.uint8),
        "action": rng.normal(size=(rows, 2)).astype(np.float32),
        "tokens": rng.normal(size=(rows, 3, 4)).astype(np.float16),
        "reward": rng.normal(size=rows),
    }


def write(path, episodes, attributes=None, format="cjepa-episodes") -> EpisodeFile:
    with EpisodeWriter(path, format, attributes or {}) as writer:
        for episode in episodes:
            writer.append(episode)
    return EpisodeFile(path)


@pytest.fixture
def originals():
    return [an_episode(5, 0), an_episode(1, 1), an_episode(7, 2)]


def test_round_trip_keeps_values_and_dtypes(tmp_path, originals):
    file = write(tmp_path / "sub" / "a.h5", originals, {"seed": 3, "env_kwargs": {"image_size": 16}})
    assert len(file) == 3 and file.env_steps == 13
    for original, read in zip(originals, file.episodes(), strict=True):
        assert set(read) == set(original)
        for name, values in original.items():
            assert read[name].dtype == values.dtype
            np.testing.assert_array_equal(read[name], values)
    assert file.attributes["seed"] == 3
    assert file.attributes["env_kwargs"] == '{"image_size": 16}'
    assert list(file.episode(2, ["action"])) == ["action"]
    np.testing.assert_array_equal(file.read("reward", 4, 7), [originals[0]["reward"][4], *_rewards(originals)[5:7]])


def _rewards(episodes):
    return np.concatenate([e["reward"] for e in episodes])


def test_layout_is_that_of_stable_worldmodel(tmp_path, originals):
    write(tmp_path / "a.h5", originals)
    with h5py.File(tmp_path / "a.h5") as file:
        assert all(isinstance(item, h5py.Dataset) for item in file.values())
        assert file["ep_len"].dtype == np.int32 and file["ep_len"][:].tolist() == [5, 1, 7]
        assert file["ep_offset"].dtype == np.int64 and file["ep_offset"][:].tolist() == [0, 5, 6]
        assert {name: file[name].shape for name in file if not name.startswith("ep_")} == {
            "pixels": (13, 16, 16, 3),
            "action": (13, 2),
            "tokens": (13, 3, 4),
            "reward": (13,),
        }
        assert file["pixels"].chunks == (1, 16, 16, 3)
        assert (file.attrs["format"], file.attrs["version"]) == ("cjepa-episodes", 1)
        columns = sorted(originals[0])
        assert file.attrs["crc32"].tolist() == [[crc32(e[c]) for c in columns] for e in originals]


def test_several_episodes_may_be_added_at_once(tmp_path, originals):
    one_by_one = write(tmp_path / "a.h5", originals)
    with EpisodeWriter(tmp_path / "b.h5", "cjepa-episodes", {}) as writer:
        writer.append(originals[0])
        writer.append(*originals[1:])
    at_once = EpisodeFile(tmp_path / "b.h5")
    assert at_once.fingerprint == one_by_one.fingerprint
    assert at_once.lengths.tolist() == [len(rows["pixels"]) for rows in originals]
    np.testing.assert_array_equal(at_once.episode(2)["action"], originals[2]["action"])


def test_a_file_without_episodes(tmp_path):
    file = write(tmp_path / "a.h5", [])
    assert (file.lengths.shape, file.offsets.shape, file.checksums.shape) == ((0,), (0,), (0, 0))
    assert (len(file), file.env_steps, list(file.episodes())) == (0, 0, [])


def test_a_failing_writer_leaves_nothing(tmp_path, originals):
    with pytest.raises(RuntimeError, match="power"):
        with EpisodeWriter(tmp_path / "a.h5", "cjepa-episodes", {}) as writer:
            writer.append(originals[0])
            raise RuntimeError("power cut")
    assert list(tmp_path.iterdir()) == []


def test_the_file_appears_only_when_complete(tmp_path, originals):
    with EpisodeWriter(tmp_path / "a.h5", "cjepa-episodes", {}) as writer:
        writer.append(originals[0])
        assert not (tmp_path / "a.h5").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("change", ["ragged", "missing column", "new column"])
def test_episodes_that_do_not_fit_are_refused(tmp_path, originals, change):
    bad = dict(originals[1])
    if change == "ragged":
        bad["action"] = bad["action"].repeat(2, axis=0)
    elif change == "missing column":
        del bad["action"]
    else:
        bad["extra"] = np.zeros(1)
    with pytest.raises(ValueError, match="action|extra"):
        write(tmp_path / "a.h5", [originals[0], bad])
    assert list(tmp_path.iterdir()) == []


def test_fingerprint_is_of_the_content(tmp_path, originals):
    first = write(tmp_path / "a.h5", originals, {"seed": 1}).fingerprint
    assert write(tmp_path / "b.h5", originals, {"seed": 2}).fingerprint == first
    originals[2]["pixels"][6, 15, 15, 2] ^= 1
    assert write(tmp_path / "c.h5", originals).fingerprint != first
    originals[2]["pixels"][6, 15, 15, 2] ^= 1
    assert write(tmp_path / "d.h5", originals[::-1]).fingerprint != first


def test_reader_names_the_path_of_what_it_refuses(tmp_path, originals):
    missing, text, foreign, newer = (tmp_path / name for name in ("no.h5", "text.h5", "foreign.h5", "newer.h5"))
    text.write_text("not HDF5")
    with h5py.File(foreign, "w") as file:
        file.attrs["format"] = "other"
    write(newer, originals)
    with h5py.File(newer, "a") as file:
        file.attrs["version"] = 99
    for path in (missing, text, foreign, newer, tmp_path):
        with pytest.raises(UserError, match=str(path)):
            EpisodeFile(path)
    with h5py.File(foreign, "w"):
        pass
    with pytest.raises(UserError, match=str(foreign)):
        EpisodeFile(foreign)


def test_unknown_column_is_named(tmp_path, originals):
    file = write(tmp_path / "a.h5", originals)
    with pytest.raises(UserError, match="masks.*pixels"):
        file.read("masks", 0, 1)


def test_reader_crosses_process_borders(tmp_path, originals):
    file = write(tmp_path / "a.h5", originals)
    file.read("action", 0, 1)
    copy = pickle.loads(pickle.dumps(file))
    np.testing.assert_array_equal(copy.episode(1)["pixels"], originals[1]["pixels"])


def test_whatever_is_read_is_checked(tmp_path, originals):
    path = tmp_path / "a.h5"
    file = write(path, originals)
    with h5py.File(path, "r+") as opened:
        opened["action"][12] = 9  # the last row of episode 2
    np.testing.assert_array_equal(file.read("action", 0, 6), np.concatenate([e["action"] for e in originals[:2]]))
    np.testing.assert_array_equal(file.episode(2, ["pixels"])["pixels"], originals[2]["pixels"])
    for start, stop in ((0, 13), (6, 7), (12, 13)):
        with pytest.raises(DamagedEpisode) as raised:
            file.read("action", start, stop)
        error = pickle.loads(pickle.dumps(raised.value))
        assert str(error) == str(raised.value)
        assert (error.path, error.episode, error.index, error.column) == (path, 2, 2, "action")
    assert file.read("action", 13, 13).shape == (0, 2)


def test_a_closed_file_is_opened_again(tmp_path, originals):
    file = write(tmp_path / "a.h5", originals)
    file.read("action", 0, 1)
    file.close()
    with h5py.File(tmp_path / "a.h5", "r+"):  # nobody holds it
        pass
    np.testing.assert_array_equal(file.read("action", 0, 1), originals[0]["action"][:1])
