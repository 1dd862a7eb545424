import h5py
import numpy as np
import pytest

from cjepa.data.store.checksums import crc32
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from tests.data.store.written import write


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
