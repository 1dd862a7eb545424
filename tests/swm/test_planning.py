"""Our models and planners in stable-worldmodel's world. Needs the extra `swm`: `make test-swm`."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cjepa import load_world_model
from cjepa.envs.pusht.drawing import Colours
from cjepa.envs.pusht.env import PushT
from cjepa.integrations.stable_worldmodel import PlannerSolver, WithinBounds, WorldModelCost, push_t_world
from cjepa.planning.planners.cem import CEM

pytest.importorskip("stable_worldmodel", reason="the extra `swm` is not installed")

import stable_worldmodel as swm  # noqa: E402

START = np.array([120.0, 300, 350, 200, 0.5, 0, 0])
GOAL = np.array([230.0, 330, 350, 200, 0.5, 0, 0])
"""The agent 114 px further, the block where it is."""
CONFIG = swm.PlanConfig(horizon=2, receding_horizon=1, action_block=5)


@pytest.fixture(scope="module")
def world():
    world = push_t_world(2, max_episode_steps=40)
    yield world
    world.close()


@pytest.fixture(scope="module")
def cost(world) -> WorldModelCost:
    return WorldModelCost(load_world_model("zoo:pusht-best"), world.envs.single_action_space, goal_proprio=(0, 1))


SOLVERS = {
    "CEM": lambda cost: swm.solver.CEMSolver(cost, num_samples=32, n_steps=4, topk=6, var_scale=0.3),
    "iCEM": lambda cost: swm.solver.ICEMSolver(cost, num_samples=32, n_steps=4, topk=6, var_scale=0.3),
    "MPPI": lambda cost: swm.solver.MPPISolver(cost, num_samples=32, n_steps=4, topk=6, var_scale=0.3),
    "gradient": lambda cost: swm.solver.GradientSolver(cost, n_steps=8, num_samples=4, var_scale=0.2),
    "ours": lambda cost: PlannerSolver(cost, CEM(32, 4, 6, initial_std=0.3), batch_size=2),
}


def policy_of(solver, world) -> swm.policy.WorldModelPolicy:
    process = {"action": WithinBounds(world.envs.single_action_space)}
    return swm.policy.WorldModelPolicy(solver, CONFIG, process=process)


def test_its_pictures_are_like_ours(world):
    world.reset(seed=0, options={"state": START, "goal_state": GOAL})
    env = PushT(image_size=64)
    for key, state in (("pixels", START), ("goal", GOAL)):
        env.set_state(state)
        theirs, ours = world.infos[key][0, 0].astype(int), env.render_pixels().astype(int)
        for colour in (Colours().agent, Colours().block):
            covered = (ours == colour).all(axis=-1)  # whole pixels; its outlines are a little darker
            assert covered.sum() > 3
            assert np.abs(np.median(theirs[covered], axis=0) - colour).max() <= 10
        assert np.abs(theirs - ours).mean() < 4  # and nothing else, as the goal marker would be


def test_its_world_moves_as_ours():
    """From rest, through the block and on into a wall."""
    world, env = push_t_world(1), PushT()
    world.reset(seed=0, options={"state": START, "goal_state": GOAL})
    env.set_state(START)
    for action in np.repeat(np.array([[0.6, -0.1], [1.0, -0.5]], np.float32), [8, 10], axis=0):
        world.envs.step(action[None])
        env.advance(action)
    state = env.get_state()
    assert np.linalg.norm(state[2:4] - START[2:4]) > 100 and state[0] > 485  # the block was pushed, the wall reached
    np.testing.assert_allclose(world.infos["state"][0, 0], state, atol=0.1)
    world.close()


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_plans_with_our_model(world, cost, name):
    solver = SOLVERS[name](cost)
    world.set_policy(policy_of(solver, world))
    world.reset(seed=0, options={"state": START, "goal_state": GOAL})
    info = {key: torch.from_numpy(world.infos[key]) for key in ("pixels", "goal", "proprio", "goal_proprio")}
    plan_BHA = solver.solve(info)["actions"]
    both_B2HA = torch.stack([plan_BHA, torch.zeros_like(plan_BHA)], dim=1)
    repeated = {key: values[:, None].expand(-1, 2, *values.shape[1:]) for key, values in info.items()}
    plan_B, nothing_B = cost.get_cost(repeated, both_B2HA).detach().unbind(dim=1)
    assert plan_BHA.shape == (2, 2, 10) and (plan_B < nothing_B).all()


def test_the_agent_reaches_its_goal_in_its_world(world, cost):
    """By its own test of success, on its own pictures."""
    world.set_policy(policy_of(SOLVERS["CEM"](cost), world))
    options = {"state": START, "goal_state": GOAL}
    results = world.evaluate(episodes=2, seed=0, options=options, reset_mode="wait")
    assert results["episode_successes"].all()


def test_actions_stay_within_bounds(world, cost):
    world.set_policy(policy_of(swm.solver.CEMSolver(cost, num_samples=8, n_steps=1, topk=2, var_scale=9.0), world))
    world.reset(seed=0, options={"state": START, "goal_state": GOAL})
    action = world.policy.get_action(world.infos)
    assert action.shape == (2, 2) and (np.abs(action) <= 1).all() and (np.abs(action) == 1).any()


class Units:
    """A scaler as scikit-learn's: the solver's units are fifths of the environment's."""

    def transform(self, values):
        return 5 * values

    def inverse_transform(self, values):
        return values / 5


class Towards(torch.nn.Module):
    """A model of theirs, in scaled actions: each should lead the agent to 60 px further in x."""

    def get_cost(self, info_dict, action_candidates):
        assert info_dict["pixels"].shape[:2] == action_candidates.shape[:2]
        wanted = torch.tensor([3.0, 0.0]).repeat(5)
        return (action_candidates - wanted).square().mean(dim=(2, 3))


def test_our_planner_solves_for_a_model_with_scaled_actions(world):
    solver = PlannerSolver(Towards(), CEM(200, 15, 20, min_std=0.001), batch_size=2, process=Units())
    world.set_policy(swm.policy.WorldModelPolicy(solver, CONFIG, process={"action": Units()}))
    world.reset(seed=0, options={"state": START, "goal_state": GOAL})
    action = world.policy.get_action(world.infos)
    assert np.abs(action - [0.6, 0.0]).max() < 0.03


def test_the_script_of_the_page(tmp_path, monkeypatch, episodes_path):
    """Two episodes, and a small search."""
    page = Path(__file__).parents[2] / "docs" / "stable-worldmodel.md"
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL))
    for given, small in (("range(20)", "range(2)"), ("num_samples=128, n_steps=10", "num_samples=32, n_steps=3")):
        assert code.count(given) == 1
        code = code.replace(given, small)
    (tmp_path / "data").mkdir()
    shutil.copy(episodes_path, tmp_path / "data" / "pusht.h5")
    monkeypatch.chdir(tmp_path)
    script = {}
    exec(compile(code, page.name, "exec"), script)
    assert script["results"]["success_rate"] in (0, 50, 100) and len(script["results"]["episode_successes"]) == 2
