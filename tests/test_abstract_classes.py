"""A class of one's own that lacks a method is named with the method, wherever it is given."""

import pytest

POLICY = "class Half(Policy):\n    def reset(self, rng): pass\n    def start_state(self, env): return None\n"
ENVIRONMENT = "class Empty(ObjectEnv):\n    pass\n\n\ngym.register('half/Empty-v0', entry_point=Empty)\n"
PLANNER = "class Lazy(Planner):\n    pass\n"


@pytest.fixture
def half(tmp_path, monkeypatch):
    """A module ``half_done`` of classes that are not finished."""
    imports = (
        "import gymnasium as gym\nfrom cjepa.envs.base import ObjectEnv\nfrom cjepa.envs.policies import Policy\n"
        "from cjepa.planning.planners.base import Planner\n\n\n"
    )
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "half_done.py").write_text(imports + "\n\n".join([POLICY, ENVIRONMENT, PLANNER]))
    monkeypatch.syspath_prepend(folder)


def test_the_missing_method_is_named(half, refused):
    collect = ["collect", "--out", "made.h5", "--episodes", 1]
    line = refused(*collect, "--env_id", "cjepa/PushT-v0", "--policy", "half_done.Half")
    assert "error: policy: " in line and "half_done.Half is abstract: it lacks act; " in line
    line = refused(*collect, "--env_id", "half_done:half/Empty-v0", "--policy", "StillPolicy")
    assert "env_id half_done:half/Empty-v0" in line and "Empty" in line and "render_labels, render_pixels" in line
    line = refused("plan-baselines", "--episodes", "x.h5", "--out", "out", "--planner", "half_done.Lazy")
    assert "error: planner: " in line and "half_done.Lazy is abstract: it lacks plan; " in line
