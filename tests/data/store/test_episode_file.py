import pickle
import subprocess
import sys

import h5py
import numpy as np
import pytest

from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episodes import DamagedEpisode
from cjepa.errors import UserError
from tests.data.store.written import write


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


def test_a_process_that_has_written_nothing_reads_compressed_columns(tmp_path, originals):
    write(tmp_path / "a.h5", originals)
    code = "import sys; from cjepa.data.store.episode_file import EpisodeFile; EpisodeFile(sys.argv[1]).episode(0)"
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.h5"], check=True)


def _rewards(episodes):
    return np.concatenate([e["reward"] for e in episodes])


def test_a_file_without_episodes(tmp_path):
    file = write(tmp_path / "a.h5", [])
    assert (file.lengths.shape, file.offsets.shape, file.checksums.shape) == ((0,), (0,), (0, 0))
    assert (len(file), file.env_steps, list(file.episodes())) == (0, 0, [])


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
