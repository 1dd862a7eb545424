"""Arguments of the verbs that no run could make sense of, and files that are not there yet: one line each."""

import subprocess
import sys
from pathlib import Path

import pytest

from cjepa.data.store.parts import ResumableWriter, write_part
from tests.conftest import configs

PLAN = configs("pusht/plan.yaml", "smoke/plan.yaml")
COLLECT = ["collect", *configs("pusht/collect.yaml"), "--out", "x.h5", "--workers", "2"]
COLLIDE_POLICY = "cjepa.envs.collide.policy.CollideBehaviour"
MPC = "cjepa.planning.demonstrators.simulator_mpc.SimulatorMPC"


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (COLLECT, {"episodes": 0, "episode_env_steps": 0, "seed": -1, "workers": -1, "twins": -2}),
        (["convert", "a", "b", "--from", "clevrer"], {"image_size": -1}),
        (["preview", "a.h5"], {"episodes": 0, "seed": -1}),
        (["tokenize", "run", "a.h5", "--out", "t.h5"], {"patch_grid": -1}),
        (["plan", "run", *PLAN], {"pairs": 0, "goal_env_steps": 0, "budget_env_steps": 0, "num_videos": -1}),
        (["plan", "run", *PLAN], {"horizon_blocks": 0, "frame_stride": 0, "seed": -1}),
        (
            ["plan-baselines", *configs("pusht/plan_baselines.yaml")],
            {"pairs": -3, "frame_stride": 0, "seed": -1, "workers": -1},
        ),
    ],
)
def test_numbers_out_of_range_are_named(words, numbers, refused, tmp_path):
    for name, number in numbers.items():
        assert f"error: {name}: expected an integer" in refused(*words, f"--{name}={number}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_policies_have_short_names_unless_they_need_torch(tmp_path):
    code = "import sys; from cjepa.cli import main; assert main(sys.argv[1:]) == 0; assert 'torch' not in sys.modules\n"
    code += "main(['collect', '--help'])"
    words = ["--policy=CollideBehaviour", "--env_id=cjepa/Collide-v0", "--env_kwargs.agent=true", "--episodes=1"]
    words += ["--episode_env_steps=2", "--workers=1", f"--out={tmp_path / 'a.h5'}"]
    done = subprocess.run([sys.executable, "-c", code, "collect", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    _, text = done.stdout.split("usage: cjepa collect ")
    assert COLLIDE_POLICY in text and MPC in "".join(text.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--env_kwargs.image_size=0"], "image_size is 0, expected"),
        (["--policy", MPC, "--policy.init_args.frame_stride=0"], "frame_stride is 0, expected 1 or more"),
        (["--policy", COLLIDE_POLICY], "CollideBehaviour needs Collide with an agent, got PushT"),
        (["--policy", COLLIDE_POLICY, "--env_id=cjepa/Collide-v0"], "with env_kwargs agent: true"),
    ],
)
def test_environments_and_policies_that_do_not_fit(words, told, refused, tmp_path):
    assert told in refused(*COLLECT, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["inspect", "verify", "preview"])
def test_a_file_that_is_unfinished(verb, refused, tmp_path, episodes):
    with pytest.raises(KeyboardInterrupt), ResumableWriter(Path("a.h5"), "cjepa-episodes", {}, "job", True) as writer:
        for index in range(3):
            write_part(writer.part(index), episodes.episode(index))
        raise KeyboardInterrupt
    for path in ("a.h5", "a.h5.parts"):
        line = refused(verb, path)
        assert f"{path}: unfinished, episodes done: 3; repeat the command that makes a.h5" in line
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5.parts"]
