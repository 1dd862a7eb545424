"""Interventions from Python."""

import numpy as np
import pytest

from cjepa.errors import UserError
from cjepa.evaluation.notebook import SceneLab
from tests.evaluation.simulated import STRIDE


def test_what_if_from_python(collide_model_run, collide_table_path, collide_table):
    scenes = SceneLab(collide_model_run, collide_table_path, scenes=3, horizon_blocks=4)
    assert len(scenes) == 3 and scenes.picture(0).shape == (64, 64, 3)
    body = scenes.bodies(1)[0]
    answer = scenes.what_if(1, "set_velocity", body, (100.0, -50.0))
    assert all(values.shape == (4, 6, 2) for values in answer)
    start = scenes.lab.test.start_B[1] + STRIDE * scenes.lab.history
    rows = collide_table.episode(int(scenes.lab.test.episode_B[1]))
    expected = rows["objects"][start + STRIDE * np.arange(4)][:, :, 1:3]
    np.testing.assert_allclose(answer.true_factual, expected)
    shown = scenes.bodies(1)
    assert np.isfinite(answer.predicted[:, shown]).all() and np.isfinite(answer.factual[:, shown]).all()
    matrix = scenes.influence(1, by="remove")["remove_moved"]
    assert matrix.shape == (6, 6) and np.isfinite(matrix).sum() == len(shown) * (len(shown) - 1)
    assert scenes.contact_hops(1).shape == (6, 6)
    with pytest.raises(UserError, match="expected one of"):
        scenes.what_if(1, "remove", 17)
    with pytest.raises(UserError, match="expected 0..2"):
        scenes.picture(3)
