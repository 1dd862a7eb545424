"""What is opened is a list of plain columns with an index that fits, whoever reads it."""

import errno
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from cjepa.cli import main
from cjepa.data.converters.base import open_source
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.store.episodes import Unavailable
from cjepa.data.store.hdf5 import open_hdf5
from cjepa.data.store.verify import verify_data
from cjepa.errors import UserError
from tests.conftest import ignore_progress, token_attributes

LENGTHS = [3, 2, 4]


@pytest.fixture
def path(tmp_path) -> Path:
    """Three small episodes of tokens (2, 3)."""
    with EpisodeWriter(tmp_path / "a.h5", "cjepa-tokens", token_attributes(num_slots=2, token_dim=3)) as writer:
        for length in LENGTHS:
            writer.append({"action": np.ones((length, 2), np.float32), "tokens": np.ones((length, 2, 3), np.float16)})
    return tmp_path / "a.h5"


def replace(file: h5py.File, name: str, values: np.ndarray) -> None:
    del file[name]
    file[name] = values


def move_a_row(file: h5py.File) -> None:
    """From the second episode to the first: lengths that add up, and are those of none."""
    replace(file, "ep_len", np.array([4, 1, 4], np.int32))
    replace(file, "ep_offset", np.array([0, 4, 5]))


def to_external_file(file: h5py.File) -> None:
    del file["action"]
    file.create_dataset("action", (9, 2), "f4", external=[("/etc/passwd", 0, 72)])


def to_external_link(file: h5py.File) -> None:
    del file["action"]
    file["action"] = h5py.ExternalLink("/etc/passwd", "action")


def to_virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((9, 2), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "action", (9, 2))
    replace_with_virtual(file, layout)


def replace_with_virtual(file: h5py.File, layout: h5py.VirtualLayout) -> None:
    del file["action"]
    file.create_virtual_dataset("action", layout)


def to_damaged_chunk(file: h5py.File) -> None:
    """Lengths that no filter here can read."""
    lengths = file["ep_len"][:]
    del file["ep_len"]
    column = file.create_dataset("ep_len", lengths.shape, lengths.dtype, chunks=lengths.shape, compression="gzip")
    column.id.write_direct_chunk((0,), b"not what gzip writes")


def declare(name: str, shape: tuple[int, ...]):
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, shape, "u1", chunks=(1, *[min(side, 64) for side in shape[1:]]))

    return change


def to_huge_chunk(file: h5py.File) -> None:
    """A few bytes that decompress to more than memory should hold for one row."""
    del file["action"]
    column = file.create_dataset("action", (9, 2), "u1", maxshape=(None, 2), chunks=(1 << 30, 2), compression="gzip")
    column.id.write_direct_chunk((0, 0), zlib.compress(bytes(18)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: replace(f, "ep_len", np.array([3.0, 2.0, 4.0])), r"ep_len is float64 \(3,\)"),
        (lambda f: replace(f, "ep_len", np.array([[3, 2, 4]])), r"ep_len is int64 \(1, 3\)"),
        (lambda f: replace(f, "ep_len", np.array([3, 2])), "3 entries in ep_offset, but 2 in ep_len"),
        (lambda f: replace(f, "ep_len", np.array([3, -2, 4])), "episode 1: ep_len is -2"),
        (move_a_row, "its index is damaged .the fingerprint does not match"),
        (lambda f: f.attrs.modify("crc32", f.attrs["crc32"] + np.uint32(1)), "the fingerprint does not match"),
        (lambda f: replace(f, "ep_offset", np.array([0, 3, 2**62])), "episode 2: ep_offset is 46"),
        (lambda f: replace(f, "ep_len", np.array([3, 2, 5])), "column 'action' has shape .9, 2., but the episodes"),
        (lambda f: replace(f, "ep_offset", np.array([0, 2, 5])), "episode 1: ep_offset is 2, but the lengths before"),
        (lambda f: declare("ep_len", (10**12,))(f), "column 'ep_len': .* declared, but only 0 bytes"),
        (to_external_file, "column 'action' is stored in other files"),
        (to_external_link, "column 'action' is a link to another file"),
        (to_virtual, "column 'action' is stored in other files"),
        (lambda f: declare("action", (9, 200_000, 200_000, 3))(f), "column 'action': .* MB; at most 256 MB"),
        (lambda f: declare("action", (10**9, 64, 64, 3))(f), "column 'action': .* declared, but only 0"),
        (to_huge_chunk, r"column 'action': chunks of shape \(1073741824, 2\), 2,048 MB each; at most 1,024 MB"),
        (lambda f: f.create_group("more"), "'more' is .*; expected one dataset a column"),
        (lambda f: replace(f, "tokens", f["tokens"][:].reshape(9, 3, 2)), r"'tokens' holds <f2 \[3, 2\]"),
        (lambda f: replace(f, "tokens", f["tokens"][:].view("i2")), r"'tokens' holds <i2 \[2, 3\], was written as <f2"),
        (lambda f: f.create_dataset("more", data=["text"] * 9), "column 'more' holds object, expected numbers"),
        (lambda f: f.create_dataset("more", (9,), h5py.ref_dtype), "column 'more' holds object, expected numbers"),
        (to_damaged_chunk, "its index is damaged"),
        (lambda f: f.attrs.modify("columns", "{"), "its index is damaged"),
        (lambda f: f.attrs.modify("columns", '{"a": 1}'), "its index is damaged .columns is"),
        (lambda f: f.attrs.modify("columns", '["action"]'), r"checksums for \(3, 2\)"),
        (lambda f: f.attrs.create("crc32", np.zeros((2, 2), np.uint32)), r"checksums for \(2, 2\)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_when_the_file_is_opened(path, change, message):
    with h5py.File(path, "r+", libver="latest") as file:
        change(file)
    with pytest.raises(UserError, match=f"^{path}: .*{message}") as raised:
        EpisodeFile(path)
    assert verify_data(path, ignore_progress) == str(raised.value)


@pytest.mark.parametrize(
    "change", [to_external_file, to_external_link, to_virtual, declare("action", (9, 10**6, 10**6))]
)
def test_other_peoples_files_are_opened_with_the_same_care(tmp_path, change):
    with h5py.File(tmp_path / "b.h5", "w", libver="latest") as file:
        file["ep_len"], file["ep_offset"], file["action"] = np.array([9]), np.array([0]), np.ones((9, 2), np.float32)
        change(file)
    with pytest.raises(UserError, match="b.h5: column 'action'"):
        open_source("swm-hdf5", tmp_path / "b.h5", {})


def test_an_index_that_cannot_be_read_is_one_line(tmp_path):
    with h5py.File(tmp_path / "b.h5", "w", libver="latest") as file:
        file["ep_len"], file["ep_offset"], file["action"] = np.array([9]), np.array([0]), np.ones((9, 2), np.float32)
        to_damaged_chunk(file)
    with pytest.raises(UserError, match="b.h5: not a readable HDF5 file"):
        open_source("swm-hdf5", tmp_path / "b.h5", {})


@pytest.fixture
def no_locks(monkeypatch):
    """A file system that grants no locks, as NFS without its lock daemon."""
    real = h5py.File

    class File(real):
        def __init__(self, name, mode, locking=None, **options):
            if locking is not False and mode == "r" and isinstance(name, Path):
                raise OSError(errno.ENOLCK, "Unable to open file (unable to lock file, errno = 37)")
            super().__init__(name, mode, locking=locking, **options)

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("h5py.File", File)
    monkeypatch.setattr("fcntl.flock", refuse)


def test_without_locks_files_are_read_and_the_cause_is_named(path, no_locks, caplog):
    assert EpisodeFile(path).read("action", 0, 9).sum() == 18
    assert f"{path.parent}: this file system grants no locks" in caplog.text and "HDF5_USE_FILE_LOCKING" in caplog.text
    assert verify_data(path, ignore_progress) is None


def test_without_locks_episodes_are_collected(tmp_path, no_locks):
    out = tmp_path / "new.h5"
    words = ["--env_id", "cjepa/PushT-v0", "--policy", "cjepa.envs.policies.RandomPolicy", "--workers", "1"]
    assert main(["collect", *words, "--episodes", "2", "--episode_env_steps", "4", "--out", str(out)]) == 0
    assert EpisodeFile(out).lengths.tolist() == [4, 4]
    assert [entry.name for entry in tmp_path.iterdir()] == ["new.h5"]


def test_a_file_that_is_being_written_is_not_called_damaged(path, monkeypatch):
    def held(*_, **__):
        raise BlockingIOError

    monkeypatch.setattr("h5py.File", held)
    for read in (open_hdf5, EpisodeFile, lambda path: verify_data(path, ignore_progress)):
        with pytest.raises(Unavailable, match="another program is writing to this file"):
            read(path)
