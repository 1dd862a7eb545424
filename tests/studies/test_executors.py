"""Commands in processes of their own: what comes back, what they take, and how they end."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import cjepa
from cjepa.studies import executors, launcher
from cjepa.studies.executors import LocalProcesses, Outcome
from cjepa.studies.resources import Resources, Share
from tests.conftest import EXPERIMENTS
from tests.processes import started, wait_for

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
ALONE = Share(2, alone=True)
LAUNCHER = [sys.executable, "-I", "-S", launcher.__file__]


def run(words: list[str], share: Share = ALONE, output: Path | None = None) -> Outcome:
    """Run a command line to its end."""
    return wait_for(LocalProcesses().start(words, share, output).outcome)


def test_options_are_read_and_nothing_runs():
    lines = [["dance"], ["init"], ["init", "none"], ["init", "none", "--folders", "2"]]
    assert LocalProcesses().option_faults(lines) == [
        "no such command 'dance'; `cjepa --help` lists them",
        "missing: FOLDER; --help explains it",
        "",
        "--folders: no such option; did you mean --folder?",
    ]


def launch(folder: Path, *command: str, limits: str = "{}", **options) -> subprocess.Popen:
    words = [*LAUNCHER, str(folder / "measured.json"), limits, *command]
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
    outcome = run(["collect", *words, "--out=e.h5"], Share(1, alone=False), tmp_path / "output.txt")
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
    command = [*LAUNCHER, str(tmp_path / "measured.json"), "{}", sys.executable, "-S", "-c", code]
    assert subprocess.run([sys.executable, "-S", "-c", parent, *command], timeout=60).returncode == 0
    assert 100 < measured(tmp_path)["peak_memory_mb"] < 200


def test_the_exit_code_of_a_command(tmp_path):
    launch(tmp_path, sys.executable, "-S", "-c", "raise SystemExit(7)").wait(30)
    assert measured(tmp_path)["exit_code"] == 7
    launch(tmp_path, sys.executable, "-S", "-c", "import os; os.kill(os.getpid(), 9)").wait(30)
    assert measured(tmp_path)["exit_code"] == -9


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux enforces limits")
@pytest.mark.parametrize(("limit_gb", "killed"), [(0.15, True), (0.5, False)])
def test_processes_that_take_too_much_memory_together_are_killed(tmp_path, limit_gb, killed):
    """Each of the two has less than the smaller limit."""
    child = f"import time; {FILL.format(100)}; time.sleep({60 if killed else 1})"
    code = f"import subprocess, sys; {FILL.format(100)}; "
    code += f"sys.exit(subprocess.run([sys.executable, '-S', '-c', {child!r}]).returncode)"
    limits = json.dumps({"memory_gb": limit_gb})
    assert launch(tmp_path, sys.executable, "-S", "-c", code, limits=limits).wait(30) == 0
    found = measured(tmp_path)
    assert (found["passed_memory"], found["exit_code"]) == ((True, -signal.SIGKILL) if killed else (False, 0))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux enforces limits")
def test_a_command_is_held_to_its_cores(tmp_path):
    core = min(os.sched_getaffinity(0))
    code = "import os; print(sorted(os.sched_getaffinity(0)))"
    process = launch(tmp_path, sys.executable, "-S", "-c", code, limits=json.dumps({"cores": [core]}))
    assert process.stdout.readline() == f"[{core}]\n" and process.wait(30) == 0


class Limits(list):
    """What a command is started with, instead of starting it."""

    def __call__(self, words, limits, environment, output, at_end):
        self.append((limits["cores"], environment))
        return at_end


def test_stages_have_cores_and_gpus_of_their_own_until_they_end(monkeypatch):
    limits = Limits()
    monkeypatch.setattr(executors, "CommandProcess", limits)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 5, 6}, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,7")
    local = LocalProcesses()
    end = local.start([], Share(2, False, Resources(cpus=2, gpus=1)))
    local.start([], Share(1, False, Resources(cpus=1, gpus=0)))
    end()
    local.start([], Share(1, True, Resources(cpus=1, gpus=1)))
    local.start([], Share(3, False))
    local.start([], Share(3, True))
    threads = [environment.get("OMP_NUM_THREADS") for _, environment in limits]
    assert [cores for cores, _ in limits] == [[4, 5], [6], [4], [], []] and threads == ["2", "1", "1", "3", None]
    gpus = [environment.get("CUDA_VISIBLE_DEVICES") for _, environment in limits]
    assert gpus == ["2", "", "7", None, None]


@pytest.mark.slow
def test_a_command_that_takes_too_much_memory_says_what_to_raise():
    outcome = run(["info"], Share(1, False, Resources(memory_gb=0.01)))
    assert outcome.error == "its processes took more than 0.01 GB of memory; raise memory_gb in its resources"
    assert outcome.exit_code == -signal.SIGKILL and not outcome.lost


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
    with started(command, cwd=tmp_path, env=environment, **pipes) as study:
        wait_for(lambda: study.poll() is not None or any(parts.glob("*.part")), seconds=200)
        for _ in range(3):  # pymunk's callbacks can swallow an interrupt; a user would press again
            study.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                out, err = study.communicate(timeout=20)
                break
    assert study.returncode == 130
    assert err.splitlines()[-1] == "cjepa study: interrupted; repeat the command to continue"
    assert "Traceback" not in err and "[1/1] episodes: cjepa collect " in out
    assert any(parts.glob("*.part")) and '"seconds"' not in (parts.parent / "stage.json").read_text()
