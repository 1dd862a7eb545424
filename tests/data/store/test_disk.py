"""Full disks, folders that cannot be written to, files that others hold: one line, exit code 2, nothing lost."""

import errno
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from cjepa.cli import main
from cjepa.data.collect import Collection, collect
from cjepa.data.store.disk import HDF5Target, clear_errors
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.store.parts import read_part
from cjepa.data.store.verify import verify_data
from cjepa.envs.pusht.policy import PushTBehaviour
from cjepa.errors import UserError
from tests.conftest import RecordedProgress, configs, ignore_progress
from tests.processes import ended, started

COLLECT = [*configs("pusht/collect.yaml"), "--episodes", "60", "--episode_env_steps", "40", "--workers", "1"]
MEGABYTE = 1_000_000


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MB, if this machine lets us mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def run(*words: str | Path, file_limit: int | None = None) -> subprocess.CompletedProcess:
    limit = None if file_limit is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit,) * 2)
    program = [sys.executable, "-m", "cjepa.cli", *map(str, words)]
    return subprocess.run(program, capture_output=True, text=True, preexec_fn=limit, timeout=200)


def the_line(done: subprocess.CompletedProcess) -> str:
    """A refused call's one line; anything else fails."""
    assert done.returncode == 2, done.stderr
    *progress, line = done.stderr.strip().splitlines()
    assert "error: " in line and "Traceback" not in done.stderr and "HDF5" not in done.stderr
    assert done.stdout == ""
    return line


@pytest.mark.slow
def test_a_disk_that_is_full(small_disk, capsys):
    """What was finished stays, and goes on once there is room."""
    out = small_disk / "a.h5"
    words = ["collect", *COLLECT, "--out", str(out)]
    line = the_line(subprocess.CompletedProcess(words, main(words), *capsys.readouterr()))
    assert line.endswith("the disk is full; free some space, then repeat the command")
    parts = sorted((small_disk / "a.h5.parts").glob("*.part"))
    assert len(parts) > 5 and all(read_part(path) is not None for path in parts)
    assert not out.exists() and not list(small_disk.rglob("*.partial"))
    subprocess.run(["mount", "-o", "remount,size=40M", small_disk], check=True)
    assert main(words) == 0
    assert verify_data(out, ignore_progress) is None and len(EpisodeFile(out)) == 60


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_file_that_may_not_grow(tmp_path, workers):
    """The merged file is larger than any part; HDF5 must not bring the process down."""
    out = tmp_path / "a.h5"
    line = the_line(run("collect", *COLLECT, "--workers", workers, "--out", out, file_limit=MEGABYTE // 2))
    assert f"{out}: the disk is full" in line
    assert not out.exists() and list((tmp_path / "a.h5.parts").glob("*.part"))


def test_every_write_that_can_fail(tmp_path, monkeypatch):
    """The disk is full after so many bytes: the writer says so and leaves nothing, whichever write it is."""
    values = {"pixels": np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)}
    write = HDF5Target.write
    failed = 0
    for limit in range(0, 40_000, 1_500):

        def full(self, data, limit=limit):
            if self.tell() + len(data) > limit:
                self._failure = self._failure or OSError(errno.ENOSPC, "No space left on device")
                return len(data)
            return write(self, data)

        with monkeypatch.context() as patched:
            patched.setattr(HDF5Target, "write", full)
            try:
                with EpisodeWriter(tmp_path / "a.h5", "cjepa-episodes", {}) as writer:
                    for _ in range(2):
                        writer.append(values)
            except UserError as error:
                assert "a.h5: the disk is full" in str(error)
                assert list(tmp_path.iterdir()) == []
                failed += 1
    assert failed >= 20
    assert verify_data(tmp_path / "a.h5", ignore_progress) is None


def test_a_file_where_the_folder_should_be(tmp_path, capsys):
    (tmp_path / "data").write_text("a file")
    assert main(["collect", *COLLECT, "--out", str(tmp_path / "data" / "a.h5")]) == 2
    assert f"{tmp_path / 'data'} is not a folder; choose another --out" in capsys.readouterr().err
    assert (tmp_path / "data").read_text() == "a file"


def test_a_folder_that_may_not_be_written_to(capsys):
    """Not even root may write into /sys; others may not write into folders of others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path("/sys") if os.geteuid() == 0 else Path(name)
        folder.chmod(0o555)
        if os.access(folder, os.W_OK) and os.geteuid():
            pytest.skip("permissions mean nothing here")
        assert main(["collect", *COLLECT, "--out", str(folder / "a.h5")]) == 2
        assert f"no permission to write in {folder}; choose another --out" in capsys.readouterr().err


def test_a_file_that_another_program_is_writing(tmp_path, episodes, capsys):
    path = tmp_path / "a.h5"
    code = f"""
import h5py
file = h5py.File({str(path)!r}, "w", libver="latest")
file["x"] = 1
file.flush()
print("open", flush=True)
input()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with started([sys.executable, "-c", code], **pipes) as other:
        assert other.stdout.readline() == "open\n"
        for words in (["inspect", path], ["collect", *COLLECT, "--out", path]):
            assert main([str(word) for word in words]) == 2
            line = capsys.readouterr().err
            assert f"{path}: another program is writing to this file; wait for it or stop it" in line
        other.communicate("\n", timeout=60)
    with h5py.File(path) as file:
        assert file["x"][()] == 1


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_file_that_is_cut_short(tmp_path, episodes_path, share, capsys):
    path = tmp_path / "short.h5"
    content = episodes_path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert main(["inspect", str(path)]) == 2
    line = capsys.readouterr().err
    assert str(path) in line and "cut short" in line and "make it again" in line and line.count("\n") == 1


def test_parts_stay_whatever_is_refused(tmp_path, monkeypatch):
    """An interrupted run's parts outlive a later run that fails."""
    job, out = Collection("cjepa/PushT-v0", PushTBehaviour(), 6, 5, seed=0), tmp_path / "a.h5"
    with pytest.raises(KeyboardInterrupt):
        collect(job, out, {}, 1, RecordedProgress(interrupt_at=1))
    (part,) = (tmp_path / "a.h5.parts").glob("*.part")
    before = part.read_bytes(), part.stat().st_mtime_ns

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(UserError, match="the disk is full"):
            collect(job, out, {}, 1, ignore_progress)
    assert (part.read_bytes(), part.stat().st_mtime_ns) == before
    assert len(collect(job, out, {}, 1, ignore_progress)) == 6


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, "no permission to write in data; choose another --out"),
        (errno.EACCES, "no permission"),
        (errno.ENOTDIR, "data is not a folder"),
        (errno.EAGAIN, "another program is writing to this file"),
        (errno.EIO, "Input/output error$"),
    ],
)
def test_what_the_system_refuses(number, told):
    with pytest.raises(UserError, match=rf"^data/a.h5: (?!\[Errno).*{told}"), clear_errors(Path("data/a.h5")):
        raise OSError(number, os.strerror(number))


def test_what_a_killed_process_left_goes_and_what_others_make_stays(tmp_path):
    killed = ended()
    left, others = (tmp_path / f"made.h5.{pid}.partial" for pid in (killed, os.getppid()))
    unrelated = [tmp_path / f"other.h5.{killed}.partial", tmp_path / "made.h5.mine.partial"]
    for path in (left, others, *unrelated):
        path.write_text("half")
    with EpisodeWriter(tmp_path / "made.h5", "cjepa-episodes", {}) as writer:
        writer.append({"state": np.zeros((3, 2), np.float32)})
    assert not left.exists() and all(path.read_text() == "half" for path in (others, *unrelated))
