"""Commands in processes of their own: what comes back, what they take, and how they end."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

import cjepa
from cjepa.studies import launcher
from cjepa.studies.executors import LocalProcesses, Outcome
from tests.conftest import EXPERIMENTS

SLEEP = "import time; print('ready', flush=True); time.sleep(60)"
FILL = "x = b'x' * ({} << 20)"
SHARING = """
import torch
from cjepa.data.workers import default_workers
from cjepa.envs.policies import StillPolicy

class Talking(StillPolicy):
    def reset(self, rng):
        print("cores", default_workers(), "threads", torch.get_num_threads(), flush=True)
"""
LAUNCHER = [sys.executable, "-I", "-S", launcher.__file__]


def run(words: list[str], *place) -> Outcome:
    """Run a command line to its end."""
    job = LocalProcesses().start(words, *place)
    while (outcome := job.outcome()) is None:
        time.sleep(0.02)
    return outcome


def launch(folder: Path, *command: str, **options) -> subprocess.Popen:
    words = [*LAUNCHER, str(folder / "measured.json"), *command]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0, **options)


def measured(folder: Path) -> dict:
    return json.loads((folder / "measured.json").read_text())


def test_a_command_of_ours_and_its_error(tmp_path, monkeypatch, capfd):
    """In any folder; one that it cannot import from the folder in which it runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "yaml.py").write_text("raise RuntimeError('of somebody else')")
    outcome = run(["dance"])
    assert outcome.exit_code == 2 and outcome.traceback == ""
    assert outcome.error == "no such command 'dance'; `cjepa --help` lists them"
    assert outcome.seconds > 0 and outcome.peak_memory_mb > 10
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_what_is_done_and_leaves_no_trace_here(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    made = ["collect", "-c", str(EXPERIMENTS / "pusht" / "collect.yaml"), "--episodes=1", "--episode_env_steps=2"]
    outcome = run([*made, "--workers=1", "--out=e.h5"])
    assert (outcome.exit_code, outcome.error, outcome.traceback) == (0, "", "")
    assert outcome.peak_memory_mb > 50
    assert (tmp_path / "e.h5").is_file() and os.environ == before
    assert capfd.readouterr().out == ""


@pytest.mark.slow
def test_a_command_beside_others_has_its_share_of_the_cores_and_shows_nothing_here(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sharing.py").write_text(SHARING)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    words = ["--policy", "sharing.Talking", "--env_id=cjepa/PushT-v0", "--episodes=1", "--episode_env_steps=2"]
    outcome = run(["collect", *words, "--out=e.h5"], 1, tmp_path / "output.txt")
    assert outcome.error == "" and capfd.readouterr() == ("", "")
    shown = (tmp_path / "output.txt").read_text()
    assert "cores 1 threads 1\n" in shown and "100 %" in shown


@pytest.mark.parametrize("nested", [False, True])
def test_a_large_parent_is_not_measured(nested, tmp_path):
    """Peaks are of the command and of what it starts itself."""
    code = FILL.format(100)
    if nested:
        code = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {code!r}])"
    parent = f"import subprocess, sys; {FILL.format(400)}; "
    parent += "process = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE); sys.exit(process.wait())"
    command = [*LAUNCHER, str(tmp_path / "measured.json"), sys.executable, "-S", "-c", code]
    assert subprocess.run([sys.executable, "-S", "-c", parent, *command]).returncode == 0
    assert 100 < measured(tmp_path)["peak_memory_mb"] < 200


def test_the_exit_code_of_a_command(tmp_path):
    launch(tmp_path, sys.executable, "-S", "-c", "raise SystemExit(7)").wait()
    assert measured(tmp_path)["exit_code"] == 7
    launch(tmp_path, sys.executable, "-S", "-c", "import os; os.kill(os.getpid(), 9)").wait()
    assert measured(tmp_path)["exit_code"] == -9


def test_a_command_ends_with_its_parent(tmp_path):
    process = launch(tmp_path, sys.executable, "-S", "-c", SLEEP)
    assert process.stdout.readline() == "ready\n"
    process.stdin.close()  # as the system does when the parent is killed
    assert process.wait(30) == 0
    assert measured(tmp_path)["exit_code"] == -signal.SIGTERM


@pytest.mark.slow
def test_an_interrupted_study_is_130_and_goes_on(tmp_path):
    """The interrupt goes to the study alone; its stage ends, and the same command finishes the work."""
    stage = f"command: collect, configs: [{EXPERIMENTS / 'pusht' / 'collect.yaml'}]"
    args = 'episodes: 30000, workers: 1, out: "${self}/episodes.h5"'
    (tmp_path / "study.yaml").write_text(f"name: long\nstages:\n  episodes: {{{stage}, args: {{{args}}}}}\n")
    parts = tmp_path / "runs" / "studies" / "long" / "episodes" / "episodes.h5.parts"
    environment = os.environ | {"PYTHONPATH": str(Path(cjepa.__file__).parent.parent)}
    command = [sys.executable, "-m", "cjepa.cli", "study", "study.yaml"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    study = subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes)
    while study.poll() is None and not any(parts.glob("*.part")):
        time.sleep(0.1)
    for _ in range(3):  # pymunk's callbacks can swallow an interrupt; a user would press again
        study.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            out, err = study.communicate(timeout=20)
            break
    assert study.returncode == 130
    assert err.splitlines()[-1] == "cjepa study: interrupted; repeat the command to continue"
    assert "Traceback" not in err and "[1/1] episodes: cjepa collect " in out
    assert any(parts.glob("*.part")) and '"seconds"' not in (parts.parent / "stage.json").read_text()
