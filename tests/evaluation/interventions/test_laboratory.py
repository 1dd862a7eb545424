"""Models and episodes that interventions cannot be tested with are refused."""

from pathlib import Path

import pytest

from cjepa.envs.pusht.env import PushT
from cjepa.errors import UserError
from cjepa.evaluation.interventions.laboratory import SceneProtocol, open_laboratory
from cjepa.progress import NoProgress
from cjepa.world_models.loading import LoadedWorldModel
from tests.evaluation.simulated import STRIDE, SimulatedDynamics


def test_episodes_without_a_table_are_refused(episodes_path, monkeypatch):
    monkeypatch.setattr(PushT, "table", None)
    model = SimulatedDynamics(STRIDE)
    loaded = LoadedWorldModel(model, model.tokenizer, "", {})
    with pytest.raises(UserError, match="give episodes of cjepa/Collide-v0"):
        open_laboratory(loaded, {}, SceneProtocol(str(episodes_path)), episodes_path, NoProgress())


class Feels(SimulatedDynamics):
    """Takes proprioception, of which ``unit`` is one standard deviation."""

    proprio_dim, unit = 4, 150.0

    def normalise(self, clip):
        return super().normalise(clip)._replace(proprio_BTP=clip.proprio_BTP / self.unit)


def test_proprioception_in_other_units_is_refused(collide_episodes_path):
    model = Feels(STRIDE)
    loaded = LoadedWorldModel(model, model.tokenizer, "", {})
    protocol = SceneProtocol(str(collide_episodes_path), scenes=2, val_scenes=2, horizon_blocks=3)
    assert len(open_laboratory(loaded, {}, protocol, Path("a.ckpt"), NoProgress()).test.start_B) == 2
    model.unit /= 512
    with pytest.raises(UserError, match="a.ckpt was trained on proprio values in other units than the environment's"):
        open_laboratory(loaded, {}, protocol, Path("a.ckpt"), NoProgress())


def test_another_number_of_proprio_values_is_refused(collide_episodes_path):
    """Also of a model that knows of no actions."""
    model = Feels(STRIDE)
    model.proprio_dim, model.action_dim = 3, 0
    loaded = LoadedWorldModel(model, model.tokenizer, "", {})
    protocol = SceneProtocol(str(collide_episodes_path), scenes=2, val_scenes=2, horizon_blocks=3)
    with pytest.raises(UserError, match="Collide has 4 proprio values, a.ckpt was trained with 3"):
        open_laboratory(loaded, {}, protocol, Path("a.ckpt"), NoProgress())
