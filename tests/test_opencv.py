"""Without the libraries that OpenCV needs: what draws says what to install, everything else works."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import configs

PROGRAM = """
import contextlib, importlib, io, json, pathlib, pkgutil, sys
stub, calls, answers = sys.argv[1:]
sys.path.insert(0, stub)
import cjepa
from cjepa.cli import main
for module in pkgutil.walk_packages(cjepa.__path__, "cjepa."):
    if module.name != "cjepa.envs.pusht.physics":  # gym-pusht imports OpenCV; PushT imports this one when it is made
        importlib.import_module(module.name)
said = {}
for name, words in json.loads(calls).items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    said[name] = code, out.getvalue(), err.getvalue()
pathlib.Path(answers).write_text(json.dumps(said))
"""
"""Imports every module, then runs commands; one process for all, since to load everything takes long."""


class Answer(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("without-opencv")


@pytest.fixture(scope="module")
def answers(folder, episodes_path) -> dict[str, Answer]:
    """What commands say in a process where ``import cv2`` fails as it does without libGL."""
    (folder / "cv2.py").write_text('raise ImportError("libGL.so.1: cannot open shared object file")')
    one = ["--policy", "StillPolicy", "--episodes", "1", "--workers", "1", "--out", str(folder / "made.h5")]
    training = [*configs("pusht/tokenizer.yaml", "smoke/tokenizer.yaml"), "--data.init_args.path", str(episodes_path)]
    calls = {verb: [verb, str(episodes_path)] for verb in ("inspect", "verify")}
    calls |= {env: ["collect", "--env_id", env, *one] for env in ("cjepa/PushT-v0", "cjepa/Collide-v0")}
    calls["fit"] = ["fit", *training, "--run_dir", str(folder / "run")]
    program = [sys.executable, "-c", PROGRAM, str(folder), json.dumps(calls), str(folder / "answers.json")]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: Answer(*said) for name, said in json.loads((folder / "answers.json").read_text()).items()}


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "said"), [("inspect", "megabytes"), ("verify", "pusht.h5")])
def test_files_are_read_without_it(answers, verb, said):
    answer = answers[verb]
    assert answer.code == 0 and said in answer.out + answer.err, answer.err


@pytest.mark.slow
@pytest.mark.parametrize("env_id", ["cjepa/PushT-v0", "cjepa/Collide-v0"])
def test_what_draws_names_what_to_install(answers, folder, env_id):
    answer = answers[env_id]
    assert answer.code == 2 and "Traceback" not in answer.err, answer.err
    line = answer.err.splitlines()[-1]
    for word in ("cjepa collect: error: OpenCV", "libGL.so.1", "libgl1", "libglib2.0-0", "opencv-python-headless"):
        assert word in line
    assert not (folder / "made.h5").exists()


@pytest.mark.slow
def test_a_training_that_will_draw_ends_before_its_first_step(answers, folder):
    answer = answers["fit"]
    assert answer.code == 2 and "Traceback" not in answer.err, answer.err
    assert answer.err.splitlines()[-1].startswith("cjepa fit: error: OpenCV")
    assert not (folder / "run").exists()
