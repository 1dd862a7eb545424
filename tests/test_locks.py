"""A folder for one process: who comes second is told who works there."""

import errno
import os
import subprocess
import sys

import pytest

from cjepa.errors import UserError
from cjepa.locks import only_process, refuse_busy
from tests.processes import started

HOLD = "import sys, time; from pathlib import Path; from cjepa.locks import only_process\n"
HOLD += "with only_process(Path(sys.argv[1]), 'other work'): print('held', flush=True); time.sleep(60)"


@pytest.fixture(params=["locks", "no locks"])
def file_system(request, monkeypatch):
    """With locks and without."""
    if request.param == "no locks":

        def refuse(*_):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr("fcntl.flock", refuse)
    return request.param


def test_a_second_one_is_told_who_is_there(tmp_path, file_system):
    folder = tmp_path / "new" / "folder"
    with only_process(folder, "my work"):
        with pytest.raises(UserError, match=f"my work already runs, process {os.getpid()} on .* since 20") as refusal:
            with only_process(folder, "my work"):
                pytest.fail("two at a time")
        with pytest.raises(UserError, match="my work already runs"):
            refuse_busy(folder, "my work")
        assert ("grants no locks" in str(refusal.value)) == (file_system == "no locks")
    refuse_busy(folder, "my work")
    with only_process(folder, "my work"):
        pass


def test_an_error_releases_the_folder(tmp_path, file_system):
    with pytest.raises(RuntimeError), only_process(tmp_path, "my work"):
        raise RuntimeError
    with only_process(tmp_path, "my work"):
        pass


def test_a_killed_process_holds_nothing(tmp_path):
    with started([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"other|my work already runs, process {holder.pid} "):
            with only_process(tmp_path, "my work"):
                pytest.fail("two at a time")
    with only_process(tmp_path, "my work"):
        pass
