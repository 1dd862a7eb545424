"""A class of one's own that lacks a method is named with the method, wherever it is given."""

import pytest

from tests.conftest import configs

POLICY = "class Half(Policy):\n    def reset(self, rng): pass\n    def start_state(self, env): return None\n"
ENVIRONMENT = "class Empty(ObjectEnv):\n    pass\n\n\ngym.register('half/Empty-v0', entry_point=Empty)\n"
PLANNER = "class Lazy(Planner):\n    pass\n"
FALLBACK = "class Still(Fallback):\n    pass\n"
CLIPS = "class Clips(EpisodeClips):\n    def training_clips(self): pass\n"
MODEL = "class Model(DynamicsTraining):\n    def __init__(self):\n        super().__init__(1e-3, 0.0, 1)\n"
OUTER = (
    MODEL.replace("Model", "Outer") + "        self.dynamics = Inner()\n    def loss_terms(self, batch, rng): pass\n"
)
INNER = "class Inner(Dynamics):\n    def step(self, state, actions_BA): pass\n    def normalise(self, clip): pass\n"
CLASSES = [POLICY, ENVIRONMENT, PLANNER, FALLBACK, CLIPS, MODEL, OUTER, INNER]


@pytest.fixture
def half(tmp_path, monkeypatch):
    """A module ``half_done`` of classes that are not finished."""
    imports = (
        "import gymnasium as gym\nfrom cjepa.envs.base import ObjectEnv\nfrom cjepa.envs.policies import Policy\n"
        "from cjepa.planning.planners.base import Planner\nfrom cjepa.planning.fallbacks import Fallback\n"
        "from cjepa.data.clip_module import EpisodeClips\nfrom cjepa.world_models.dynamics import Dynamics\n"
        "from cjepa.world_models.dynamics_training import DynamicsTraining\n\n\n"
    )
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "half_done.py").write_text(imports + "\n\n".join(CLASSES))
    monkeypatch.syspath_prepend(folder)


def test_the_missing_method_is_named(half, refused):
    collect = ["collect", "--out", "made.h5", "--episodes", 1]
    line = refused(*collect, "--env_id", "cjepa/PushT-v0", "--policy", "half_done.Half")
    assert "error: policy: " in line and "half_done.Half is abstract: it lacks act; " in line
    line = refused(*collect, "--env_id", "half_done:half/Empty-v0", "--policy", "StillPolicy")
    assert "env_id half_done:half/Empty-v0" in line and "Empty" in line and "render_labels, render_pixels" in line
    assert "creator" not in line
    line = refused("plan-baselines", "--episodes", "x.h5", "--out", "out", "--planner", "half_done.Lazy")
    assert "error: planner: " in line and "half_done.Lazy is abstract: it lacks plan; " in line


def test_the_missing_method_is_named_whatever_else_is_allowed_in_its_place(half, refused):
    """Where the class may also be null, and where a class makes another one."""
    line = refused("plan", "run", *configs("pusht/plan.yaml"), "--episodes", "x.h5", "--fallback", "half_done.Still")
    assert "error: fallback: " in line and "but half_done.Still is abstract: it lacks __call__; add what" in line
    fit = ["fit", *configs("pusht/cjepa.yaml")]
    for option in ("--data", "--data.class_path"):
        line = refused(*fit, f"{option}=half_done.Clips")
        assert "error: data: " in line and "half_done.Clips is abstract: it lacks held_out_clips; add what" in line
    line = refused(*fit, "--model=half_done.Model")
    assert "error: model: " in line and "but half_done.Model is abstract: it lacks loss_terms; add what" in line
    line = refused(*fit, "--model=half_done.Outer")
    assert "error: Inner is abstract: it lacks denormalise, observe, predicted; add what" in line
