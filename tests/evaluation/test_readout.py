import math

import numpy as np
import pytest
import torch

from cjepa.envs.collide.env import Collide
from cjepa.envs.pusht.env import PushT
from cjepa.evaluation import probes
from cjepa.evaluation.bodies import body_slots, have_identity
from cjepa.evaluation.planning.futures import look_at
from cjepa.evaluation.readout import Reading, States, fit_readings, reading_error
from cjepa.tokenizers.base import Tokenizer, TokenizerInfo
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.types import Tokens

STATES = [np.array([x, 60.0, 300.0, 300.0, 0.5, 0.0, 0.0]) for x in (60.0, 120.0, 180.0)]


class Colours(Tokenizer):
    """A slot for each colour of Push-T, in an order of its own; a frame may be told to swap them.

    Args:
        swapped: frames in which the slots are the other way round.
    """

    def __init__(self, swapped: tuple[int, ...] = ()):
        super().__init__(TokenizerInfo(2, 1))
        self.swapped = swapped

    def encode(self, pixels_BT3YX):
        is_blue = pixels_BT3YX[:, :, 2] > pixels_BT3YX[:, :, 0] + 0.3  # the agent
        is_grey = (pixels_BT3YX.amax(dim=2) < 0.9) & ~is_blue
        masks = torch.stack([is_grey, is_blue], dim=2).float()
        for frame in self.swapped:
            masks[frame] = masks[frame].flip(1)
        batch, blocks = masks.shape[:2]
        return Tokens(torch.zeros(batch, blocks, 2, 1), masks, torch.zeros(batch, blocks, 2, 2), masks[..., 0, :1])

    def decode(self, slots_BTSD):
        return None


def test_slots_that_always_hold_the_same_body_have_its_name():
    env = PushT()
    assert body_slots(Colours(), env, look_at(env, STATES)) == {"agent": 1, "block": 0}
    assert body_slots(Colours(swapped=(0,)), env, look_at(env, STATES)) == {}  # 2 of 3 frames are not enough


def test_an_oracle_has_one_slot_a_body():
    env = PushT()
    oracle = OracleTokenizer(2, env.attribute_names)
    assert body_slots(oracle, env, look_at(env, STATES)) == {"agent": 0, "block": 1}


def test_bodies_that_are_numbered_by_chance_have_no_slot():
    env = Collide()
    env.reset(seed=0)
    assert not have_identity(env) and have_identity(PushT())
    assert body_slots(OracleTokenizer(6, env.attribute_names), env, look_at(env, [env.get_state()])) == {}


def test_states_of_rows(episodes):
    env = PushT()
    found = States(episodes, np.array([0, 1]), env).objects(np.array([70, 3]))
    state = episodes.read("state", 70, 71)[0]
    assert found.shape == (2, 2, 6)
    np.testing.assert_allclose(found[0, 0, :2], state[:2], rtol=1e-5)
    np.testing.assert_allclose(found[0, 1, :3], state[2:5], rtol=1e-5)


def test_errors_in_px_and_degrees_by_hand():
    env = PushT()
    objects_NOF = np.zeros((2, 2, 6), np.float32)
    objects_NOF[:, 1, :3] = [[100, 200, math.pi - 0.1], [100, 200, 0.0]]
    said = torch.tensor([[103.0, 196.0], [100.0, 200.0]])
    place = Reading("position_error_block", 1, 0, lambda tokens_ND: said.double())
    np.testing.assert_allclose(reading_error(place, torch.zeros(2, 1, 1), objects_NOF, env), [5, 0])
    angle = torch.tensor([-math.pi + 0.1, math.radians(30)])  # the first is 0.2 further on, around the half turn
    turned = torch.stack([angle.cos(), angle.sin()], dim=1).double()
    reading = Reading("angle_error_block", 1, 1, lambda tokens_ND: 7 * turned)  # its length says nothing
    np.testing.assert_allclose(
        reading_error(reading, torch.zeros(2, 1, 1), objects_NOF, env), [math.degrees(0.2), 30], rtol=1e-5
    )


def test_bodies_that_look_alike_after_a_part_of_a_turn():
    env = PushT()
    objects_NOF = np.zeros((1, 2, 6), np.float32)
    quarter = torch.tensor([[math.cos(0.2), math.sin(0.2)]]).double()  # four times 0.05
    reading = Reading("angle_error_block", 1, 4, lambda tokens_ND: quarter)
    found = reading_error(reading, torch.zeros(1, 1, 1), objects_NOF, env)
    np.testing.assert_allclose(found, math.degrees(0.05), rtol=1e-5)


@pytest.mark.slow  # fits three probes
def test_probes_read_tokens_that_hold_the_truth(monkeypatch):
    monkeypatch.setattr(probes, "_STEPS", 500)
    env, rng = PushT(), np.random.default_rng(0)
    objects_NOF = np.zeros((600, 2, 6), np.float32)
    objects_NOF[:, :, :2] = rng.uniform(50, 450, (600, 2, 2))
    objects_NOF[:, 1, 2] = rng.uniform(0, 2 * np.pi, 600)
    angle = objects_NOF[..., 2:3]
    tokens_NSD = torch.from_numpy(np.concatenate([objects_NOF[..., :2] / 100, np.cos(angle), np.sin(angle)], axis=-1))
    readings = fit_readings(tokens_NSD[:500], objects_NOF[:500], np.arange(500) // 10, env)
    names = ["position_error_agent", "position_error_block", "angle_error_block"]  # a disc's angle cannot be seen
    assert [reading.name for reading in readings] == names
    errors = [reading_error(one, tokens_NSD[500:], objects_NOF[500:], env).mean() for one in readings]
    assert errors[0] < 15 and errors[1] < 15 and errors[2] < 8
