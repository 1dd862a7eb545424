"""Every kind of damage, in every column, is found and named."""

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from cjepa.cli import main
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.store.verify import corrupted_episodes, verify_data
from cjepa.errors import UserError
from tests.conftest import RecordedProgress, ignore_progress

EPISODE_COLUMNS = ["action", "contacts", "masks", "objects", "pixels", "proprio", "state"]
TOKEN_COLUMNS = ["action", "proprio", "state", "tokens"]
COLUMNS = [("episodes", name) for name in EPISODE_COLUMNS] + [("tokens", name) for name in TOKEN_COLUMNS]
FLOATS = [(kind, name) for kind, name in COLUMNS if name not in ("contacts", "masks", "pixels")]


@pytest.fixture
def sources(episodes_path, tokens_path) -> dict[str, Path]:
    return {"episodes": episodes_path, "tokens": tokens_path}


@pytest.fixture
def copy_of(tmp_path, sources) -> Callable[[str], Path]:
    return lambda kind: Path(shutil.copy(sources[kind], tmp_path / f"{kind}.h5"))


@pytest.fixture
def copy(copy_of) -> Path:
    return copy_of("episodes")


def fault_of(path: Path) -> str | None:
    return verify_data(path, ignore_progress)


def rewrite(source: Path, out: Path, change: Callable[[int, dict], None]) -> Path:
    """The same file with episodes that ``change`` has edited: checksums are right."""
    file = EpisodeFile(source)
    with EpisodeWriter(out, file.attributes["format"], {}) as writer:
        for index, episode in enumerate(file.episodes()):
            change(index, episode)
            writer.append(episode)
    return out


def test_the_columns_are_all_there_are(sources):
    for kind, path in sources.items():
        assert sorted(EpisodeFile(path).columns) == [name for other, name in COLUMNS if other == kind]


def test_what_was_written_is_in_order(sources):
    for path in sources.values():
        shares = RecordedProgress()
        assert verify_data(path, shares) is None
        assert sum(shares.amounts) == pytest.approx(1)


@pytest.mark.parametrize(("kind", "column"), COLUMNS)
def test_a_flipped_byte_on_disk(copy_of, kind, column):
    path = copy_of(kind)
    with h5py.File(path) as file:
        dataset = file[column]
        chunk = dataset.id.get_chunk_info(dataset.id.get_num_chunks() // 2)
        row, at = chunk.chunk_offset[0], chunk.byte_offset + chunk.size // 2
        episode = int(np.searchsorted(file["ep_offset"][:], row, side="right")) - 1
        one_row = dataset.chunks[0] == 1
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)
    fault = fault_of(path)
    assert str(path) in fault and repr(column) in fault
    assert f"episode {episode}," in fault if one_row else "episode " in fault


@pytest.mark.parametrize(("kind", "column"), COLUMNS)
def test_a_changed_value(copy_of, kind, column):
    path = copy_of(kind)
    with h5py.File(path, "r+") as file:
        row = int(file["ep_offset"][3]) + 2
        values = file[column][row]
        values.reshape(-1)[0] += 1
        file[column][row] = values
    assert f"{path}: episode 3, column {column!r}" in fault_of(path)
    assert list(corrupted_episodes(EpisodeFile(path))) == [3]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("kind", "column"), FLOATS)
def test_what_is_not_a_number_though_its_checksum_is_right(tmp_path, sources, kind, column, value):
    def change(index: int, episode: dict) -> None:
        if index == 2:
            episode[column][7].reshape(-1)[-1] = value

    path = rewrite(sources[kind], tmp_path / "new.h5", change)
    assert f"{path}: episode 2, column {column!r}, row 7: not a finite number" in fault_of(path)


@pytest.mark.parametrize(("kind", "column"), COLUMNS)
def test_a_missing_column(copy_of, kind, column):
    path = copy_of(kind)
    with h5py.File(path, "r+") as file:
        del file[column]
    assert f"{path}: column {column!r} is missing" in fault_of(path)


@pytest.mark.parametrize(("kind", "column"), COLUMNS)
def test_a_wrong_dtype(tmp_path, sources, kind, column):
    def change(_, episode: dict) -> None:
        episode[column] = episode[column].astype(np.float64)

    path = rewrite(sources[kind], tmp_path / "new.h5", change)
    assert f"{path}: column {column!r} is float64, expected" in fault_of(path)


@pytest.mark.parametrize(("kind", "column"), COLUMNS)
@pytest.mark.parametrize("rows", [-1, 1])
def test_a_column_of_another_length(copy_of, kind, column, rows):
    path = copy_of(kind)
    with h5py.File(path, "r+") as file:
        file[column].resize(len(file[column]) + rows, axis=0)
    assert f"{path}: column {column!r} has shape" in fault_of(path)


@pytest.mark.parametrize(
    ("index", "value", "fault"),
    [
        ("ep_len", 46, "episode 5: ep_offset is 225, but the lengths before add up to 226"),
        ("ep_len", -45, "episode 4: ep_len is -45"),
        ("ep_offset", 9, "episode 4: ep_offset is 9, but the lengths before add up to 180"),
    ],
)
def test_lengths_that_do_not_add_up(copy, index, value, fault):
    with h5py.File(copy, "r+") as file:
        file[index][4] = value
    assert fault_of(copy) == f"{copy}: {fault}"


@pytest.mark.parametrize("missing", ["ep_len", "ep_offset"])
def test_an_index_that_is_not_there(copy, missing):
    with h5py.File(copy, "r+") as file:
        del file[missing]
    assert str(copy) in fault_of(copy) and missing in fault_of(copy)


def test_a_column_that_came_later_and_a_fingerprint_of_something_else(copy, tmp_path, episodes_path):
    with h5py.File(copy, "r+") as file:
        file["reward"] = np.zeros(len(file["action"]))
    assert "column 'reward' has no checksums" in fault_of(copy)
    other = Path(shutil.copy(episodes_path, tmp_path / "other.h5"))
    with h5py.File(other, "r+") as file:
        file.attrs["fingerprint"] = "0" * 16
    assert "fingerprint" in fault_of(other)


@pytest.mark.parametrize(("key", "value"), [("seed", 1), ("env_id", "cjepa/PushT-v1"), ("note", "mine")])
def test_a_changed_attribute(copy, key, value):
    with h5py.File(copy, "r+") as file:
        file.attrs[key] = value
    assert fault_of(copy) == f"{copy}: an attribute has changed since it was written"


@pytest.mark.parametrize("kept", [0, 100, 0.1, 0.5, 0.9, -1])
def test_a_truncated_file(copy, kept):
    content = copy.read_bytes()
    copy.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    assert str(copy) in fault_of(copy)


def test_bytes_that_flip_anywhere_never_end_in_a_traceback(copy):
    """Also where HDF5 keeps its own tables."""
    content = copy.read_bytes()
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(40):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 20):
            damaged[place] ^= 1 << int(rng.integers(8))
        copy.write_bytes(damaged)
        found += fault_of(copy) is not None
    assert found == 40


@pytest.mark.slow
def test_every_file_of_a_data_set(tmp_path, episodes_path):
    folder = tmp_path / "set"
    folder.mkdir()

    def other_pixels(_, episode: dict) -> None:
        episode["pixels"] ^= 1

    def one_more_column(_, episode: dict) -> None:
        episode["pixels"] ^= 2
        episode["reward"] = np.zeros(len(episode["action"]), np.float32)

    first, second = (rewrite(episodes_path, folder / f"a-{n}.h5", change)
                     for n, change in ((1, lambda *_: None), (2, other_pixels)))  # fmt: skip
    assert fault_of(folder) is None
    assert fault_of(folder / "a-*.h5") is None
    third = rewrite(episodes_path, folder / "a-10.h5", one_more_column)
    assert f"{first} and {third} are not one data set: column 'reward' is missing in the first" in fault_of(folder)
    with h5py.File(second, "r+") as file:
        file["state"][0] += 1
    assert f"{second}: episode 0, column 'state'" in fault_of(folder)


def test_exit_codes(copy, episodes_path, tmp_path, capsys):
    assert main(["verify", str(episodes_path)]) == 0
    with h5py.File(copy, "r+") as file:
        file["action"][0] = 9
    assert main(["verify", str(copy)]) == 1
    assert "episode 0, column 'action'" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "none.h5")]) == 2
    with pytest.raises(UserError, match="no such file"):
        fault_of(tmp_path / "none.h5")
