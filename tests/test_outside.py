"""Classes of the user's own package work everywhere, from `collect` to `plan`, also if it is only in this folder."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cjepa.cli import main
from cjepa.envs.base import ObjectEnv
from cjepa.envs.policies import Policy
from cjepa.files import read_json
from cjepa.planning.objectives import Objective
from cjepa.planning.planners.base import Planner
from cjepa.tokenizers.base import Tokenizer
from cjepa.world_models.masks import Mask
from cjepa.world_models.predictors.base import Predictor
from tests import outside
from tests.contracts import concrete_subclasses

ENV_ID = "own_package.parts:parts/SlowPushT-v0"
SMALL = ["--data.init_args.batch_size=8", "--data.init_args.val_clips=4", "--trainer.max_steps=2"]
SMALL += ["--trainer.val_check_interval=2", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
TINY = ["--pairs=2", "--goal_env_steps=5", "--budget_env_steps=10", "--horizon_blocks=1", "--execute_blocks=1"]


@pytest.mark.parametrize(
    ("package", "base", "expected"),
    [
        ("cjepa.envs", ObjectEnv, outside.SlowPushT),
        ("cjepa.envs", Policy, outside.Calm),
        ("cjepa.tokenizers", Tokenizer, outside.Bands),
        ("cjepa.world_models", Predictor, outside.OwnPredictor),
        ("cjepa.world_models", Mask, outside.OwnMask),
        ("cjepa.planning", Planner, outside.OwnPlanner),
        ("cjepa.planning", Objective, outside.DoubleCost),
    ],
)
def test_contracts_hold_for_classes_outside(package, base, expected):
    assert expected in concrete_subclasses(package, base)


def own(name: str, **init_args) -> str:
    """A class of the package as it is written on a command line."""
    return json.dumps({"class_path": f"own_package.parts.{name}", "init_args": init_args})


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder, with a package in it; the import path is as before afterwards."""
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").touch()
    shutil.copy(outside.__file__, tmp_path / "own_package" / "parts.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.mark.slow
def test_from_collect_to_plan(folder, small_card):
    words = ["--env_id", ENV_ID, "--policy", own("Calm"), "--episodes=20", "--episode_env_steps=30", "--workers=1"]
    assert main(["collect", *words, "--out", "a.h5"]) == 0
    assert main(["tokenize", own("Bands", num_slots=4), "a.h5", "--out", "t.h5", "--device=cpu"]) == 0
    sizes = {"token_dim": 3, "dim": 16, "depth": 1, "num_heads": 2, "mlp_dim": 16}
    parts = {"predictor": json.loads(own("OwnPredictor", **sizes)), "mask": json.loads(own("OwnMask", num_masked=1))}
    model = own("OwnModel", **parts, future_weight=3.0)
    data = ["--data=cjepa.data.token_clips.TokenClips", "--data.init_args.path=t.h5", "--data.init_args.val_blocks=5"]
    assert main(["fit", "--model", model, *data, *SMALL, "--run_dir", "run"]) == 0
    assert read_json(folder / "run" / "run.json")["objective"]["terms"]["future"] == 3.0
    content = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    assert content["hyper_parameters"]["_class_path"] == "own_package.parts.OwnModel"
    # the installed program starts without the current folder among the places to import from
    code = "import sys; sys.path = [p for p in sys.path if p]; from cjepa.cli import main; sys.exit(main(sys.argv[1:]))"
    parts = [
        "--planner",
        own("OwnPlanner", num_samples=4, iterations=1, num_elites=2),
        "--objective",
        own("DoubleCost"),
    ]
    program = [sys.executable, "-c", code]
    plan = ["plan", "run", *TINY, *parts, "--episodes=a.h5", "--env_id", ENV_ID, "--device=cpu", "--num_videos=0"]
    done = subprocess.run([*program, *plan], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = read_json(folder / "run" / "plan" / "run.json")
    assert record["actions"]["planner"]["class"] == "OwnPlanner" and record["objective"]["class"] == "DoubleCost"
    assert main(["test", "run"]) == 0


def test_a_package_that_is_not_there_is_one_line(refused):
    collect = ["collect", "--env_id=cjepa/PushT-v0", "--out=a.h5", "--policy", "missing_package.Calm"]
    fit = ["fit", "--data=cjepa.data.token_clips.TokenClips", "--data.init_args.path=t.h5"]
    model = json.dumps({"class_path": "missing_package.OwnModel", "init_args": {"lr": 0.1}})
    for call, name in ((collect, "Calm"), ([*fit, "--model", model], "OwnModel")):
        told = f"missing_package.{name}: No module named 'missing_package'; install the package, or type the command in"
        assert refused(*call) == f"cjepa {call[0]}: error: {told} the folder that holds it\n"
