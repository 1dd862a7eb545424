from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from cjepa.errors import UserError
from cjepa.evaluation.planning.protocol import PlanningProtocol, goal_state_of, with_environment

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
        ({}, {"format": "cjepa-tokens"}, "a.h5: contains tokens; give the episode file"),
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


@pytest.mark.parametrize(
    ("options", "fault"),
    [({"goal_state": [1.0] * 7}, "--goal_state: --published_protocol takes"), ({"split": "val"}, "--split val: ")],
)
def test_what_contradicts_the_published_protocol_is_refused(options, fault):
    with pytest.raises(UserError, match=fault):
        PlanningProtocol("a.h5", published_protocol=True, **options)


@pytest.mark.parametrize("goal", [[1.0] * 6, [], [float("nan")] * 7])
def test_a_goal_that_is_no_state_is_refused(goal):
    protocol = PlanningProtocol("some.h5", "cjepa/PushT-v0", {}, goal_state=goal)
    with pytest.raises(UserError, match="--goal_state: .*expected 7 finite numbers: a state of cjepa/PushT-v0"):
        goal_state_of(protocol, with_states(np.zeros((2, 7))))


def with_states(states_TF: np.ndarray) -> SimpleNamespace:
    columns = {"state": (states_TF.shape, states_TF.dtype)}
    return SimpleNamespace(path="a.h5", columns=columns, env_steps=len(states_TF), read=lambda *_: states_TF)


def test_a_goal_state():
    """Up to as far outside of the episodes' states as these differ; what is the same in all of them is not compared."""
    states = with_states(np.array([[100, 0, 0, 0, 0, 0, 0], [200, 9, 9, 9, 9, 9, 0]], np.float32))
    assert goal_state_of(PlanningProtocol("some.h5"), states) is None
    wanted = [299, 2, 3, 4, 5, 6, 7]
    goal = goal_state_of(PlanningProtocol("some.h5", "cjepa/PushT-v0", {}, goal_state=wanted), states)
    assert goal.tolist() == wanted
    for far in ([301, *wanted[1:]], [-1, *wanted[1:]]):
        with pytest.raises(UserError, match=f"--goal_state: value 0 is {far[0]}, but in .* a.h5 it is 100 to 200"):
            goal_state_of(PlanningProtocol("some.h5", "cjepa/PushT-v0", {}, goal_state=far), states)


def test_every_distance_has_a_protocol_with_a_budget_of_its_own():
    protocol = PlanningProtocol("a.h5", goal_offsets=[25, 100], budget_env_steps=50, against="runs/earlier", seed=3)
    parts = protocol.parts()
    assert {name: (part.goal_env_steps, part.budget_env_steps, part.against) for name, part in parts.items()} == {
        "goal-25": (25, 50, "runs/earlier/goal-25"),
        "goal-100": (100, 200, "runs/earlier/goal-100"),
    }
    assert all(part.seed == 3 and part.parts() == {} for part in parts.values())
    assert PlanningProtocol("a.h5").parts() == {}


@pytest.mark.parametrize("offsets", [[], [25, 25]])
def test_distances_that_are_none_or_the_same_are_refused(offsets):
    with pytest.raises(UserError, match="--goal_offsets: .* expected different numbers"):
        PlanningProtocol("a.h5", goal_offsets=offsets)


def test_shifts_seeds_and_distances_are_all_combined():
    protocol = PlanningProtocol("a.h5", goal_offsets=[25, 50], seeds=[1, 2], shift="colours", seed=3)
    parts = protocol.parts()
    assert list(parts)[:5] == [
        *(f"as-recorded-seed-{seed}-goal-{offset}" for seed in (1, 2) for offset in (25, 50)),
        "shift-colours-seed-1-goal-25",
    ]
    last = parts["shift-colours-seed-2-goal-50"]
    assert (last.shift, last.agent_seed, last.seed, last.goal_env_steps) == ("colours", 2, 3, 50)
    assert len(parts) == 8 and parts["as-recorded-seed-1-goal-25"].shift is None
    assert PlanningProtocol("a.h5", seed=3).agent_seed == 3


def test_a_shift_changes_the_environment_or_its_states():
    push_t = PlanningProtocol("a.h5", "cjepa/PushT-v0", {"image_size": 80})
    state = np.array([100.0, 100.0, 256.0, 256.0, 0.0, 0.0, 0.0])
    frames = []
    for protocol in (push_t, replace(push_t, shift="colours")):
        env = protocol.make_env()
        env.set_state(protocol.shifted(state))
        frames.append(env.render_pixels())
    assert frames[0].shape == frames[1].shape == (80, 80, 3) and (frames[0] != frames[1]).any()
    collide = PlanningProtocol("a.h5", "cjepa/Collide-v0", {"agent": True}, shift="count")
    env = collide.make_env()
    env.reset(seed=0)
    env.set_state(collide.shifted(env.get_state()))
    assert env.objects()[:, 0].sum() == 2
