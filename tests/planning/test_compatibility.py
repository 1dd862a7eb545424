import numpy as np
import pytest

from cjepa.errors import UserError
from cjepa.planning.blocks import ActionBlocks
from cjepa.planning.compatibility import check_fits, check_proprio_units
from tests.planning.worlds import PointDynamics, PointWorld, blocks


@pytest.mark.parametrize("proprio_dim", [0, 2])
def test_a_model_that_fits(proprio_dim):
    check_fits(PointDynamics(0.2, proprio_dim), PointWorld(), blocks(), "a.ckpt")


@pytest.mark.parametrize(
    ("dynamics", "stride", "fault"),
    [
        (PointDynamics(), 5, "frame_stride 5 gives 10 action values per block, a.ckpt was trained with 4"),
        (PointDynamics(proprio_dim=1), 2, "PointWorld has 2 proprio values, a.ckpt was trained with 1"),
        # actions in px, as places on a table: the bounds are within a hundredth of their standard deviation
        (PointDynamics(100.0), 2, r"other units.*\[-0.4.*are -0.004 to 0.003 standard deviations"),
        (PointDynamics(0.001), 2, "other units.*are -400 to 300 standard deviations"),
    ],
)
def test_a_model_that_does_not_fit(dynamics, stride, fault):
    env = PointWorld()
    with pytest.raises(UserError, match=fault):
        check_fits(dynamics, env, ActionBlocks.of(env, stride), "a.ckpt")


UNIFORM = np.random.default_rng(0).uniform(-1, 1, (64, 2)).astype(np.float32)


def test_proprioception_in_the_units_of_training():
    """The model has seen values of a standard deviation of 1 around 0."""
    check_proprio_units(PointDynamics(), UNIFORM, "a.ckpt")
    check_proprio_units(PointDynamics(proprio_dim=0), 1000 * UNIFORM, "a.ckpt")
    check_proprio_units(PointDynamics(), 0 * UNIFORM, "a.ckpt")  # of nobody


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (250 + 250 * UNIFORM, "a.ckpt was trained on proprio values in other units.* are 1.37 to 499 standard"),
        (UNIFORM / 512, "a.ckpt was trained on proprio values in other units.* are -0.00"),
    ],
    ids=["px for shares of the table", "shares of the table for px"],
)
def test_proprioception_in_other_units_is_refused(values, told):
    with pytest.raises(UserError, match=told):
        check_proprio_units(PointDynamics(), values, "a.ckpt")
