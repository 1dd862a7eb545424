"""Files elsewhere, by the addresses of fsspec: they are read as files of this machine are, and not written."""

from pathlib import Path

import fsspec
import numpy as np
import pytest

from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.store.shards import frame_reader, open_episodes
from cjepa.errors import UserError


@pytest.fixture
def written(tmp_path) -> EpisodeFile:
    rng = np.random.default_rng(0)
    with EpisodeWriter(tmp_path / "e.h5", "cjepa-episodes", {"seed": 3}) as writer:
        for rows in (3, 2):
            pixels = rng.integers(0, 256, (rows, 4, 4, 3), np.uint8)
            writer.append({"pixels": pixels, "action": rng.random((rows, 2), np.float32)})
    return EpisodeFile(tmp_path / "e.h5")


@pytest.fixture(params=["memory", "file"])
def address(request, written) -> str:
    if request.param == "file":
        return f"file://{written.path}"
    fsspec.filesystem("memory").pipe("/cjepa-tests/e.h5", written.path.read_bytes())
    return "memory://cjepa-tests/e.h5"


def test_a_file_elsewhere_is_read_as_one_here(address, written):
    found = open_episodes(address)
    assert found.fingerprint == written.fingerprint and found.columns == written.columns
    np.testing.assert_array_equal(found.read("action", 1, 4), written.read("action", 1, 4))
    rows = np.array([4, 0, 0, 2])
    expected = written.read("pixels", 0, 5)[rows]
    np.testing.assert_array_equal(frame_reader(found, "pixels").read(rows), expected)


@pytest.mark.parametrize("missing", ["memory://cjepa-tests/none.h5", "nowhere://a/e.h5"])
def test_what_is_not_there_is_one_line_with_the_address(missing):
    with pytest.raises(UserError) as refused:
        open_episodes(missing)
    assert str(refused.value).startswith(f"{missing}: cannot be read (") and "\n" not in str(refused.value)


def test_nothing_is_written_there(refused):
    words = ["collect", "--env_id=cjepa/PushT-v0", "--policy=cjepa.envs.policies.StillPolicy", "--episodes=1"]
    line = refused(*words, "--workers=1", "--out=memory://e.h5")
    assert "memory://e.h5: only reading works there; write to a path of this machine and copy the file" in line
    with pytest.raises(UserError, match="s3://bucket/e.h5: only reading works there"):
        EpisodeWriter("s3://bucket/e.h5", "cjepa-episodes", {})
    assert list(Path().iterdir()) == []
