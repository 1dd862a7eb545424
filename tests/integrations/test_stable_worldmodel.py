"""What stable-worldmodel's harness is given, without it; tests/swm has the harness itself."""

import types

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from cjepa import load_world_model
from cjepa.api import PictureWorldModel
from cjepa.envs.pusht.env import PushT
from cjepa.errors import UserError
from cjepa.integrations.stable_worldmodel import PlannerSolver, WithinBounds, WorldModelCost
from cjepa.planning.planners.cem import CEM
from cjepa.planning.planners.no_search import NoSearch
from cjepa.types import Clip

SPACE = spaces.Box(-1.0, 1.0, (2,), np.float32)
N = 16


@pytest.fixture(scope="module")
def push() -> tuple[dict, torch.Tensor]:
    """What is seen before and after a push of 25 env steps, as an info dictionary of one environment; its actions."""
    env = PushT(image_size=64)
    env.set_state(np.array([150.0, 256, 256, 230, 0.3, 0, 0]))
    seen = {"pixels": env.render_pixels(), "proprio": env.proprio()}
    actions = np.random.default_rng(0).normal([0.25, 0.05], 0.05, (25, 2)).astype(np.float32)
    for action in actions:
        env.advance(action)
    seen |= {"goal": env.render_pixels(), "goal_proprio": env.proprio()}
    return {key: torch.from_numpy(value)[None, None] for key, value in seen.items()}, torch.from_numpy(actions)


@pytest.fixture(scope="module")
def model() -> PictureWorldModel:
    return load_world_model("zoo:pusht-best")


@pytest.fixture(scope="module")
def cost(model) -> WorldModelCost:
    return WorldModelCost(model, SPACE, goal_proprio=(0, 1))


def repeated(info: dict) -> dict:
    """As their solvers give it to a model: the same for every candidate."""
    return {key: values[:, None].expand(-1, N, *values.shape[1:]) for key, values in info.items()}


def candidates(actions: torch.Tensor) -> torch.Tensor:
    """The actions that were taken, among 15 random plans."""
    others_BNHA = torch.rand(1, N, 5, 10, generator=torch.Generator().manual_seed(1)) - 0.5
    others_BNHA[:, 3] = actions.reshape(5, 10)
    return others_BNHA


def test_what_was_done_costs_least(cost, push):
    info, actions = push
    cost_BN = cost.get_cost(repeated(info), candidates(actions))
    assert cost_BN.shape == (1, N) and cost_BN.argmin() == 3
    assert cost_BN[0, 3] < cost_BN.median() / 10


def test_actions_count_as_far_as_they_are_carried_out(cost, push):
    info, actions = push
    far_BNHA = 4 * candidates(actions)
    clipped_BNHA = torch.from_numpy(WithinBounds(SPACE).inverse_transform(far_BNHA.reshape(-1, 2).numpy()))
    assert far_BNHA.abs().max() > 1.5 and clipped_BNHA.abs().max() == 1
    assert torch.equal(
        cost.get_cost(repeated(info), far_BNHA), cost.get_cost(repeated(info), clipped_BNHA.view_as(far_BNHA))
    )


def test_a_moment_is_known_by_its_values(cost, push):
    """Their policies may write the next observation into the same memory."""
    info, actions = push
    info = {key: values.clone() for key, values in info.items()}
    before_BN = cost.get_cost(repeated(info), candidates(actions))
    info["pixels"].copy_(info["goal"]), info["proprio"].copy_(info["goal_proprio"])
    after_BN = cost.get_cost(repeated(info), candidates(actions))
    assert after_BN[0, 3] > 10 * before_BN[0, 3]  # the same push again leads away from the goal


def test_gradients_reach_the_actions_even_after_inference_mode(cost, push):
    info, actions = push
    with torch.inference_mode():
        first_BN = cost.get_cost(repeated(info), candidates(actions))
    actions_BNHA = candidates(actions).requires_grad_()
    cost_BN = cost.get_cost(repeated(info), actions_BNHA)
    cost_BN.sum().backward()
    assert torch.equal(first_BN, cost_BN) and (actions_BNHA.grad.abs().sum(dim=(2, 3)) > 0).all()


def test_the_goal_may_be_a_picture_alone(cost, push):
    info, actions = push
    picture = {key: values for key, values in info.items() if key != "goal_proprio"}
    cost_BN = cost.get_cost(repeated(picture), candidates(actions))
    assert cost_BN.argmin() == 3 and not torch.equal(cost_BN, cost.get_cost(repeated(info), candidates(actions)))


def test_a_history_of_frames(model, push, monkeypatch):
    """Frames, proprioception and the actions between the frames reach the model in their order."""
    info, actions = push
    dynamics, seen = model.dynamics, []
    observe = dynamics.observe
    monkeypatch.setattr(dynamics, "history_blocks", 2)

    def observed(clip: Clip):
        seen.append(clip)
        return observe(Clip(*(values[:, -1:] for values in clip)))  # it was trained on one frame

    monkeypatch.setattr(dynamics, "observe", observed)
    later = {key: info[f"goal_{key}" if key == "proprio" else "goal"] for key in ("pixels", "proprio")}
    both = {key: torch.cat([info[key], later[key]], dim=1) for key in later}
    known = {**info, **both, "action_history": actions[:5].reshape(1, 1, 10)}
    WorldModelCost(model, SPACE).get_cost(repeated(known), candidates(actions))
    (clip,) = seen
    tokens_TSD = model.tokenizer.encode(both["pixels"][0].numpy())
    np.testing.assert_allclose(clip.tokens_BTSD[0].numpy(), tokens_TSD, atol=1e-4)
    assert torch.equal(clip.proprio_BTP, both["proprio"])
    assert torch.equal(clip.actions_BTA[:, 0], actions[:5].reshape(1, 10))
    with pytest.raises(UserError, match=r'history_keys=\("pixels", "proprio"\)'):
        WorldModelCost(model, SPACE).get_cost(repeated({**known, "proprio": info["proprio"]}), candidates(actions))


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("goal", lambda values: None, r"info without 'goal', only goal_proprio, pixels, proprio"),
        ("pixels", lambda values: values.movedim(-1, -3) / 255, "give WorldModelPolicy no transform"),
        ("pixels", lambda values: values.repeat(1, 1, 2, 2, 1), r"128 x 128 px, .* World\(image_shape=\(64, 64\)\)"),
        ("pixels", lambda values: values.repeat(1, 9, 1, 1, 1), r"pixels of 9 frames, .* PlanConfig\(history_len="),
        ("proprio", lambda values: values[..., :2], r"proprio of shape \(1, 1, 2\) .* \(1, 1, 4\)"),
        ("proprio", lambda values: values * torch.nan, "proprio of shape .* expected finite values"),
    ],
)
def test_observations_that_do_not_fit(cost, push, key, change, message):
    info, actions = push
    changed = {**info, key: change(info[key])}
    with pytest.raises(UserError, match=message):
        cost.get_cost(
            repeated({key: values for key, values in changed.items() if values is not None}), candidates(actions)
        )


def test_blocks_that_do_not_fit(cost, push):
    with pytest.raises(UserError, match=r"candidates of 2 values .* PlanConfig\(action_block=5\)"):
        cost.get_cost(repeated(push[0]), torch.zeros(1, N, 5, 2))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Discrete(4), "expected a Box"),
        (spaces.Box(-np.inf, np.inf, (2,)), "without finite bounds"),
        (spaces.Box(-1, 1, (3,)), "actions of 3 values, .* blocks of 10"),
        (spaces.Box(0, 512, (2,)), "other units"),
    ],
)
def test_action_spaces_that_do_not_fit(model, space, message):
    with pytest.raises(UserError, match=message):
        WorldModelCost(model, space)


class Towards:
    """A model in their manner: the nearer to the goal all actions are, the better; it remembers what it was given."""

    def __init__(self):
        self.infos = []

    def get_cost(self, info_dict: dict, action_candidates: torch.Tensor) -> torch.Tensor:
        self.infos.append(info_dict)
        assert info_dict["goal"].shape[:2] == action_candidates.shape[:2] and info_dict["names"] in (["a", "b"], ["c"])
        return (action_candidates - info_dict["goal"][:, :, :1, None]).square().mean(dim=(2, 3))


class TwiceAsFar:
    """A scaler: the solver's units are halves of the environment's."""

    def transform(self, values: np.ndarray) -> np.ndarray:
        return 2 * values


def solver_of(planner, **options) -> PlannerSolver:
    solver = PlannerSolver(Towards(), planner, **options)
    config = types.SimpleNamespace(horizon=3, action_block=2)
    solver.configure(action_space=batch_space(SPACE, 3), n_envs=3, config=config)
    return solver


INFO = {"goal": torch.tensor([0.5, -0.25, 1.5], dtype=torch.float64)[:, None], "names": ["a", "b", "c"]}


def test_a_planner_solves_for_every_environment():
    solver = solver_of(CEM(200, 20, 20, min_std=0.001), batch_size=2)
    assert (solver.n_envs, solver.horizon, solver.action_dim) == (3, 3, 4)
    outcome = solver(INFO)
    assert outcome["actions"].shape == (3, 3, 4)
    # the third goal lies out of bounds: the nearest that is allowed
    assert (outcome["actions"] - torch.tensor([0.5, -0.25, 1.0])[:, None, None]).abs().max() < 0.05
    assert outcome["costs"] == pytest.approx([0, 0, 0.25], abs=0.01)
    # as many candidates, one dictionary: what a model keeps there is found again
    assert len({id(info) for info in solver.model.infos}) == 2 and len(solver.model.infos) == 40


def test_bounds_are_in_the_units_of_the_solver():
    solver = solver_of(CEM(200, 20, 20, min_std=0.001), batch_size=2, process=TwiceAsFar())
    assert (solver.solve(INFO)["actions"][2] - 1.5).abs().max() < 0.05


def test_a_search_begins_at_what_is_left_of_the_last_plan():
    rest_BHA = torch.full((3, 2, 4), 0.25)
    actions_BHA = solver_of(NoSearch(), batch_size=2).solve(INFO, init_action=rest_BHA)["actions"]
    assert torch.equal(actions_BHA[:, :2], rest_BHA) and not actions_BHA[:, 2].any()
