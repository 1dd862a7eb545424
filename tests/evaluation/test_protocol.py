from types import SimpleNamespace

import pytest

from cjepa.errors import UserError
from cjepa.evaluation.protocol import PlanningProtocol, goal_state_of, with_environment

PUSHT, COLLIDE = "cjepa/PushT-v0", "cjepa/Collide-v0"


def file(**attributes) -> SimpleNamespace:
    return SimpleNamespace(path="a.h5", attributes=attributes)


@pytest.mark.parametrize("given", [{}, {"env_id": COLLIDE}, {"env_id": COLLIDE, "env_kwargs": {"agent": True}}])
def test_the_environment_is_that_of_the_episodes(given):
    recorded = file(env_id=COLLIDE, env_kwargs='{"agent": true}')
    protocol = with_environment(PlanningProtocol("a.h5", **given), recorded)
    assert (protocol.env_id, protocol.env_kwargs) == (COLLIDE, {"agent": True})
    assert protocol.make_env().agent


def test_a_default_is_no_other_value():
    recorded = file(env_id=PUSHT, env_kwargs="{}")
    assert with_environment(PlanningProtocol("a.h5", env_kwargs={"image_size": 64}), recorded).env_kwargs == {}


@pytest.mark.parametrize(
    ("given", "attributes", "fault"),
    [
        ({"env_id": PUSHT}, {"env_id": COLLIDE}, f"--env_id {PUSHT}: a.h5 has episodes of {COLLIDE}"),
        (
            {"env_kwargs": {"image_size": 96}},
            {"env_id": PUSHT, "env_kwargs": '{"image_size": 64}'},
            "--env_kwargs: image_size is 96, but a.h5 was recorded with 64",
        ),
        ({}, {}, "a.h5 does not name its environment; give --env_id"),
        ({}, {"env_id": "some.module:Some-v0"}, "a.h5.*give --env_id some.module:Some-v0"),
        ({}, {"env_id": PUSHT, "env_kwargs": "[1]"}, "a.h5: its attribute env_kwargs is .* expected a JSON object"),
    ],
)
def test_another_environment_is_refused(given, attributes, fault):
    with pytest.raises(UserError, match=fault):
        with_environment(PlanningProtocol("a.h5", **given), file(**attributes))


def test_episodes_that_do_not_name_their_environment_take_it_from_the_call():
    protocol = with_environment(PlanningProtocol("a.h5", env_id=PUSHT, env_kwargs={"image_size": 96}), file())
    assert protocol.make_env().image_size == 96
    assert with_environment(PlanningProtocol("a.h5", env_id=PUSHT), file()).make_env().image_size == 64


def test_whole_plans_are_executed_unless_told_otherwise():
    assert PlanningProtocol("a.h5", horizon_blocks=4).control_loop().execute_blocks == 4
    assert PlanningProtocol("a.h5", horizon_blocks=4, execute_blocks=1).control_loop().execute_blocks == 1


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"execute_blocks": 6}, r"execute_blocks is 6, expected 1..horizon_blocks = 5"),
        ({"warm_start": True}, "warm_start.*execute_blocks below 5"),
    ],
)
def test_the_control_loop_is_checked(options, fault):
    with pytest.raises(UserError, match=fault):
        PlanningProtocol("a.h5", **options).control_loop()


@pytest.mark.parametrize("goal", [[1.0] * 6, [], [float("nan")] * 7])
def test_a_goal_that_is_no_state_is_refused(goal):
    protocol = PlanningProtocol("some.h5", "cjepa/PushT-v0", {}, goal_state=goal)
    with pytest.raises(UserError, match="--goal_state: .*expected 7 finite numbers: a state of cjepa/PushT-v0"):
        goal_state_of(protocol)


def test_a_goal_state():
    assert goal_state_of(PlanningProtocol("some.h5")) is None
    goal = goal_state_of(PlanningProtocol("some.h5", "cjepa/PushT-v0", {}, goal_state=[1, 2, 3, 4, 5, 6, 7]))
    assert goal.tolist() == [1, 2, 3, 4, 5, 6, 7]
