"""Without the libraries that OpenCV needs: what draws says what to install, everything else works."""

import subprocess
import sys

import pytest

from tests.conftest import configs

EVERYTHING = """
import importlib, pkgutil, cjepa
for module in pkgutil.walk_packages(cjepa.__path__, "cjepa."):
    if module.name != "cjepa.envs.pusht.physics":  # gym-pusht imports OpenCV; PushT imports this one when it is made
        importlib.import_module(module.name)
"""
CALL = "import sys; from cjepa.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def without_opencv(tmp_path):
    """Runs Python code where ``import cv2`` fails as it does without libGL."""
    stub = tmp_path / "stub"
    stub.mkdir()
    (stub / "cv2.py").write_text('raise ImportError("libGL.so.1: cannot open shared object file")')

    def run(code: str, *words: str) -> subprocess.CompletedProcess:
        program = f"import sys; sys.path.insert(0, {str(stub)!r})\n{code}"
        return subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)

    return run


@pytest.mark.slow
def test_no_module_imports_it_before_it_draws(without_opencv):
    done = without_opencv(EVERYTHING)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "said"), [("inspect", "megabytes"), ("verify", "pusht.h5")])
def test_files_are_read_without_it(without_opencv, episodes_path, verb, said):
    done = without_opencv(CALL, verb, str(episodes_path))
    assert done.returncode == 0 and said in done.stdout + done.stderr, done.stderr


@pytest.mark.parametrize("env_id", ["cjepa/PushT-v0", "cjepa/Collide-v0"])
def test_what_draws_names_what_to_install(without_opencv, tmp_path, env_id):
    out = tmp_path / "made.h5"
    options = ["--env_id", env_id, "--policy", "StillPolicy", "--episodes", "1", "--workers", "1"]
    done = without_opencv(CALL, "collect", *options, "--out", str(out))
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    line = done.stderr.splitlines()[-1]
    for word in ("cjepa collect: error: OpenCV", "libGL.so.1", "libgl1", "libglib2.0-0", "opencv-python-headless"):
        assert word in line
    assert not out.exists()


@pytest.mark.slow
def test_a_training_that_will_draw_ends_before_its_first_step(without_opencv, episodes_path, tmp_path):
    run = tmp_path / "run"
    words = [*configs("pusht/tokenizer.yaml", "smoke/tokenizer.yaml"), "--data.init_args.path", str(episodes_path)]
    done = without_opencv(CALL, "fit", *words, "--run_dir", str(run))
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.splitlines()[-1].startswith("cjepa fit: error: OpenCV")
    assert not run.exists()
