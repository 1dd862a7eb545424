"""`kill -9` at any moment: what is there opens, what was finished is kept, and the next run makes the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from cjepa.cli import main
from cjepa.data.collect import Collection, collect
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.parts import read_part
from cjepa.data.store.verify import verify_data
from cjepa.envs.pusht.policy import PushTBehaviour
from tests.conftest import configs, ignore_progress
from tests.data.converters.sources import swm_hdf5
from tests.processes import started, wait_for
from tests.sharing import once

PROGRAM = [sys.executable, "-m", "cjepa.cli"]
COLLECT = ["collect", *configs("pusht/collect.yaml"), "--episode_env_steps", "40", "--seed", "3"]
LIBRARY = """
import sys
from pathlib import Path
from cjepa.data.collect import Collection, collect
from cjepa.envs.pusht.policy import PushTBehaviour
from cjepa.progress import NoProgress
if __name__ == "__main__":
    job = Collection("cjepa/PushT-v0", PushTBehaviour(), 60, 40, seed=3)
    collect(job, Path(sys.argv[2]), {}, int(sys.argv[1]), NoProgress())
"""
"""What the command does, without all that it loads: more kills in the same time."""


def start(words: list[str]) -> AbstractContextManager[subprocess.Popen]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return started(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen) -> None:
    _, error = process.communicate(timeout=200)
    assert process.returncode == 0, error.decode()


def kill(process: subprocess.Popen) -> None:
    """The process alone: whatever it has started has to end by itself."""
    process.kill()
    process.communicate(timeout=60)


def parts_of(out: Path) -> list[Path]:
    return sorted(out.with_name(out.name + ".parts").glob("[0-9]*.part"))


def check_what_is_there(out: Path, reference: EpisodeFile, finished: set[str]) -> set[str]:
    """All of it opens and holds the right values; nothing that was there is gone."""
    assert not out.exists() or verify_data(out, ignore_progress) is None
    found = {path.name for path in parts_of(out)}
    assert out.exists() or finished <= found
    for path in parts_of(out):
        episode = read_part(path)
        assert set(episode) == set(reference.columns)
        expected = reference.episode(int(path.name[:7]))
        for name, values in expected.items():
            np.testing.assert_array_equal(episode[name], values)
    return found


def assert_same(out: Path, reference: EpisodeFile) -> None:
    file = EpisodeFile(out)
    assert file.fingerprint == reference.fingerprint and file.columns == reference.columns
    for name in file.columns:
        ours, theirs = (each.read(name, 0, each.env_steps) for each in (file, reference))
        assert ours.tobytes() == theirs.tobytes()
    assert verify_data(out, ignore_progress) is None
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def kill_again_and_again(words: list[str], out: Path, reference: EpisodeFile, kills: int) -> None:
    """Kills at random moments after something new is finished; checks what is left each time."""
    moments = random.Random(0)
    finished: set[str] = set()
    for _ in range(kills):
        with start([*words, str(out)]) as process:
            wait_for(lambda: out.exists() or len(parts_of(out)) > len(finished))  # noqa: B023
            time.sleep(moments.uniform(0, 0.3))
            kill(process)
        finished = check_what_is_there(out, reference, finished)


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """What the library makes if nobody stops it."""
    job = Collection("cjepa/PushT-v0", PushTBehaviour(), 60, 40, seed=3)
    return once(tmp_path_factory, "not-killed.h5", lambda path: collect(job, path, {}, 1, ignore_progress))


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_collect(tmp_path, workers, reference):
    """The file of a run that is killed is that of one that is not."""
    script, out = tmp_path / "collect.py", tmp_path / "killed" / "b.h5"
    script.write_text(LIBRARY)
    words = [sys.executable, str(script), workers]
    kill_again_and_again(words, out, EpisodeFile(reference), kills=3)
    with start([*words, str(out)]) as process:
        finish(process)
    assert_same(out, EpisodeFile(reference))


@pytest.mark.slow
def test_the_command_collect(tmp_path):
    reference, out = tmp_path / "reference" / "a.h5", tmp_path / "killed" / "b.h5"
    words = [*COLLECT, "--episodes", "30", "--workers"]
    assert main([*words, "1", "--out", str(reference)]) == 0
    kill_again_and_again([*PROGRAM, *words, "2", "--out"], out, EpisodeFile(reference), kills=1)
    assert main([*words, "1", "--out", str(out)]) == 0
    assert_same(out, EpisodeFile(reference))


@pytest.mark.slow
def test_the_command_tokenize(tmp_path, slots_run, episodes_path, slot_tokens):
    words, out = ["tokenize", str(slots_run), str(episodes_path), "--out"], tmp_path / "killed" / "b.h5"
    kill_again_and_again([*PROGRAM, *words], out, EpisodeFile(slot_tokens), kills=1)
    assert main([*words, str(out)]) == 0
    assert_same(out, EpisodeFile(slot_tokens))


@pytest.mark.slow
def test_the_command_convert(tmp_path):
    (tmp_path / "source").mkdir()
    source, reference = swm_hdf5(tmp_path / "source", 60), tmp_path / "reference" / "a.h5"
    words, out = ["convert", str(source), "--from", "swm-hdf5", "--image_size", "224"], tmp_path / "killed" / "b.h5"
    assert main([*words, str(reference)]) == 0
    kill_again_and_again([*PROGRAM, *words], out, EpisodeFile(reference), kills=1)
    assert main([*words, str(out)]) == 0
    assert_same(out, EpisodeFile(reference))


def test_a_kill_between_the_last_two_steps(tmp_path, monkeypatch):
    """The file is there, and so are its parts."""
    job = Collection("cjepa/PushT-v0", PushTBehaviour(), 3, 5, seed=0)
    out = tmp_path / "a.h5"
    with monkeypatch.context() as patched:
        patched.setattr("cjepa.data.store.parts._discard", lambda *_: None)
        file = collect(job, out, {}, 1, ignore_progress)
    assert len(parts_of(out)) == 3
    assert collect(job, out, {}, 1, ignore_progress).fingerprint == file.fingerprint
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(tmp_path):
    script = tmp_path / "collect.py"
    script.write_text(LIBRARY.replace("60, 40", "60, 4000"))
    with start([sys.executable, str(script), "2", str(tmp_path / "a.h5")]) as process:

        def living() -> list[int]:
            words = ["ps", "-o", "pid=,stat=", "-s", str(process.pid)]
            rows = (line.split() for line in subprocess.run(words, capture_output=True, text=True).stdout.splitlines())
            return [int(pid) for pid, state in rows if not state.startswith("Z")]

        wait_for(lambda: len(living()) >= 4)  # it, a process that spawns, two workers
        kill(process)
        wait_for(lambda: not living(), seconds=60)


@pytest.mark.slow
def test_two_at_once(tmp_path, reference, capfd):
    """The second one refuses, and the first one does not notice."""
    out = tmp_path / "two" / "a.h5"
    script = tmp_path / "collect.py"
    script.write_text(LIBRARY)
    with start([sys.executable, str(script), "1", str(out)]) as first:
        wait_for(lambda: parts_of(out))
        os.kill(first.pid, signal.SIGSTOP)
        before = {path: path.stat().st_mtime_ns for path in out.parent.rglob("*")}
        for more in ([], ["--no_resume"]):
            assert main([*COLLECT, "--episodes", "60", "--workers", "1", "--out", str(out), *more]) == 2
            assert f"making {out} already runs" in capfd.readouterr().err
        assert {path: path.stat().st_mtime_ns for path in out.parent.rglob("*")} == before
        os.kill(first.pid, signal.SIGCONT)
        finish(first)
    assert_same(out, EpisodeFile(reference))
