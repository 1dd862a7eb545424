import numpy as np
import pytest
import torch

from cjepa.envs.pusht.env import PushT
from cjepa.errors import UserError
from cjepa.evaluation.planning.plant import observe
from cjepa.planning import costs
from cjepa.planning.agents import Agent, RandomAgent, SimulatorAgent
from cjepa.planning.blocks import ActionBlocks
from cjepa.planning.constraints import Constraint
from cjepa.planning.objectives import LastStepMSE
from cjepa.planning.perception import Observation
from cjepa.planning.planners.base import Planner
from cjepa.planning.planners.cem import CEM
from cjepa.planning.problem import generator_on
from cjepa.planning.world_model_agent import WorldModelAgent
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.tokenizers.slots.starts import LearnedStart
from cjepa.tokenizers.slots.tokenizer import SlotTokenizer
from cjepa.types import Plan
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from tests.contracts import stirred
from tests.planning.worlds import HIGH, LOW, PointWorld, blocks, observation, point_agent

PUSHT_BLOCKS = ActionBlocks.of(PushT(), 5)


def table(agents_at) -> Observation:
    envs = [PushT() for _ in agents_at]
    for env, (x, y) in zip(envs, agents_at, strict=True):
        env.set_state(np.array([x, y, 350.0, 350.0, 0.5, 0.0, 0.0]))
    return observe(envs)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def planned(agent: Agent, now: Observation, goal: Observation, seed: int = 0) -> Plan:
    agent.reset(goal)
    agent.observe(now)
    return agent.plan(seeded(seed))


NOW, GOAL = table([(100, 100), (150, 120)]), table([(150, 100), (150, 60)])


def test_random_actions_fill_the_bounds():
    agent = RandomAgent(blocks(), horizon_blocks=25)
    here = observation([(0, 0)] * 40)
    actions = agent.blocks.to_env_steps(planned(agent, here, here).actions_BHA)
    assert actions.shape == (40, 50, 2) and actions.dtype == np.float32
    assert (actions >= LOW).all() and (actions <= HIGH).all()
    assert (actions.min(axis=(0, 1)) < LOW + 0.02).all() and (actions.max(axis=(0, 1)) > HIGH - 0.02).all()
    first, again, other = (planned(agent, here, here, seed).actions_BHA for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("kind", ["random", "model", "simulator"])
def test_no_agent_leaves_the_bounds_of_the_environment(kind):
    """The goal is so far away that the best actions are at the bounds, which are not -1 and 1."""
    agent = {
        "random": RandomAgent(blocks(), 2),
        "model": point_agent(),
        "simulator": SimulatorAgent(PointWorld(), CEM(64, 10, 8), blocks(), 2),
    }[kind]
    PointWorld.sent.clear()
    plan = planned(agent, observation([(0, 0), (0, 0)]), observation([(9, 9), (-9, -9)]))
    actions = agent.blocks.to_env_steps(plan.actions_BHA)
    for sent in (actions, np.array(PointWorld.sent or [LOW])):
        assert (sent >= LOW).all() and (sent <= HIGH).all()
    if kind != "random":
        assert (actions[0] > 0.2).all() and (actions[1] < -0.3).all()


@pytest.mark.parametrize("kind", ["model", "simulator"])
def test_a_plan_leads_to_the_goal(kind):
    agent = point_agent() if kind == "model" else SimulatorAgent(PointWorld(), CEM(64, 10, 8), blocks(), 2)
    plan = planned(agent, observation([(0, 0), (1, 1)]), observation([(0.5, -0.5), (1.2, 0.2)]))
    moved = agent.blocks.to_env_steps(plan.actions_BHA).sum(axis=1)
    np.testing.assert_allclose(moved, [[0.5, -0.5], [0.2, -0.8]], atol=0.05)


@pytest.mark.parametrize("kind", ["random", "model", "simulator"])
def test_a_plan_may_be_shorter(kind):
    agent = {
        "random": RandomAgent(blocks(), 5),
        "model": point_agent(horizon_blocks=5),
        "simulator": SimulatorAgent(PointWorld(), CEM(64, 10, 8), blocks(), 5),
    }[kind]
    agent.reset(observation([(0.4, 0.4)]))
    agent.observe(observation([(0, 0)]))
    for horizon in (1, 2):
        plan = agent.plan(seeded(), torch.zeros(1, 1, horizon, 4), horizon)
        assert plan.actions_BHA.shape == (1, horizon, 4)
        if kind != "random":
            moved = agent.blocks.to_env_steps(plan.actions_BHA).sum(axis=1)
            np.testing.assert_allclose(moved, [[0.4, 0.4]], atol=0.05)


def test_the_goal_fixes_the_proprio_values_that_the_environment_names():
    class Last(Planner):
        def plan(self, problem, warm_start_BKHA=None):
            self.goal = problem.cost.goal
            return Plan(problem.start(), torch.zeros(problem.batch))

    for named, fixed in ((None, [1.0, 1.0]), ((0,), [1.0, 0.0])):
        planner = Last()
        planned(point_agent(planner=planner, goal_proprio=named), observation([(0, 0)]), observation([(1, 1)]))
        assert planner.goal.fixed_BP.tolist() == [fixed]


@pytest.mark.parametrize("position_only", [True, False])
def test_a_picture_of_a_goal_says_nothing_of_its_proprioception(position_only):
    agent, goal = point_agent(), observation([(0.5, -0.5)])
    agent.objective = LastStepMSE(position_only=position_only)
    plan = planned(agent, observation([(0, 0)]), goal._replace(proprio_BP=goal.proprio_BP * np.nan))
    np.testing.assert_allclose(agent.blocks.to_env_steps(plan.actions_BHA).sum(axis=1), [[0.5, -0.5]], atol=0.05)


def test_constraints_reach_the_planner():
    class Still(Constraint):
        def project(self, actions_BNTV):
            assert actions_BNTV.shape[2:] == (4, 2)  # env steps, not blocks
            return torch.zeros_like(actions_BNTV)

    agent = point_agent(constraints=[Still()])
    assert not planned(agent, observation([(0, 0)]), observation([(1, 1)])).actions_BHA.any()


def test_history_is_frames_and_the_actions_between_them():
    agent = point_agent(history_blocks=3)
    agent.reset(observation([(9, 9)]))
    agent.observe(observation([(0, 0)]))
    agent.plan(seeded())
    for place, action in ((1, 0.1), (2, 0.2), (3, 0.3)):
        agent.observe(observation([(place, place)]), torch.full((1, 4), action))
    agent.plan(seeded())
    alone, three = agent.dynamics.clips
    assert alone.tokens_BTSD.shape == (1, 1, 1, 2)
    assert three.tokens_BTSD[0, :, 0, 0].tolist() == [1, 2, 3] and three.proprio_BTP[0, :, 1].tolist() == [1, 2, 3]
    torch.testing.assert_close(three.actions_BTA[0, :2, 0], torch.tensor([0.2, 0.3]))
    agent.reset(observation([(9, 9)]))
    agent.observe(observation([(5, 5)]))
    agent.plan(seeded())
    assert agent.dynamics.clips[-1].tokens_BTSD[0, :, 0, 0].tolist() == [5]  # a new trial begins


def test_a_warm_start_reaches_the_search():
    agent = point_agent(planner=CEM(4, 1, 2, initial_std=1e-6))
    agent.reset(observation([(1, 1)]))
    agent.observe(observation([(0, 0)]))
    plan = agent.plan(seeded(), torch.full((1, 1, 2, 4), 0.25))
    torch.testing.assert_close(plan.actions_BHA, torch.full((1, 2, 4), 0.25), atol=1e-4, rtol=0)


class GradientDescent(Planner):
    """Follows the gradient of the cost."""

    def plan(self, problem, warm_start_BKHA=None):
        actions_BHA = problem.start(warm_start_BKHA)
        for _ in range(30):
            with torch.enable_grad():
                actions_BHA = actions_BHA.detach().requires_grad_()
                cost_B = problem.cost(actions_BHA[:, None])[:, 0]
                (gradient_BHA,) = torch.autograd.grad(cost_B.sum(), actions_BHA)
            actions_BHA = problem.project((actions_BHA - 0.1 * gradient_BHA)[:, None])[:, 0].detach()
        return Plan(actions_BHA, problem.cost(actions_BHA[:, None])[:, 0])


def test_costs_have_gradients():
    agent = point_agent(planner=GradientDescent())
    plan = planned(agent, observation([(0, 0)]), observation([(0.5, -0.5)]))
    np.testing.assert_allclose(agent.blocks.to_env_steps(plan.actions_BHA).sum(axis=1), [[0.5, -0.5]], atol=0.05)


def test_a_model_that_predicts_nan_is_reported():
    agent = point_agent()
    with pytest.raises(UserError, match="NaN.*metrics.csv"):
        planned(agent, observation([(np.nan, 0)]), observation([(1, 1)]))


def pusht_agent(tokenizer: Tokenizer, history_blocks: int = 1) -> WorldModelAgent:
    predictor = EntityTransformer(tokenizer.slot_dim, action_dim=10, dim=16, depth=1, num_heads=2, mlp_dim=32)
    dynamics = PredictorDynamics(stirred(predictor)).eval()
    dynamics.action_scale.fit(torch.randn(100, 10))
    parts = (dynamics, tokenizer, CEM(8, 2, 3), LastStepMSE(), PUSHT_BLOCKS, 3, PushT.goal_proprio)
    return WorldModelAgent(*parts, history_blocks=history_blocks)


@pytest.fixture
def model_agent() -> WorldModelAgent:
    torch.manual_seed(0)
    return pusht_agent(SlotTokenizer(LearnedStart(num_slots=3, slot_dim=32)).eval())


def test_world_model_agent_looks_at_pixels_and_proprio_only(model_agent):
    plan = planned(model_agent, NOW, GOAL)
    assert plan.actions_BHA.shape == (2, 3, 10) and plan.actions_BHA.abs().max() <= 1
    hidden = ("objects_BOF", "state_BF")
    blind = [s._replace(**{n: np.full_like(getattr(s, n), np.nan) for n in hidden}) for s in (NOW, GOAL)]
    assert torch.equal(plan.actions_BHA, planned(model_agent, *blind).actions_BHA)
    for part in ("pixels_BYXC", "proprio_BP"):  # and at both of the goal
        other = GOAL._replace(**{part: getattr(NOW, part)})
        assert not torch.equal(plan.cost_B, planned(model_agent, NOW, other).cost_B)


def test_an_oracle_looks_at_objects_and_proprio_only():
    agent = pusht_agent(OracleTokenizer(2, PushT.attribute_names).eval())
    cost_B = planned(agent, NOW, GOAL).cost_B
    hidden = ("pixels_BYXC", "state_BF")
    blind = [s._replace(**{n: np.zeros_like(getattr(s, n)) for n in hidden}) for s in (NOW, GOAL)]
    assert torch.equal(planned(agent, *blind).cost_B, cost_B)
    other = GOAL._replace(objects_BOF=NOW.objects_BOF)
    assert not torch.equal(planned(agent, NOW, other).cost_B, cost_B)


def test_with_a_history_slots_remember_the_whole_trial():
    """With one frame the past changes nothing; with two, even a frame that the model no longer sees."""
    torch.manual_seed(0)
    tokenizer = SlotTokenizer(LearnedStart(num_slots=3, slot_dim=32)).eval()
    for history_blocks, remembers in ((1, False), (2, True)):
        agent, costs = pusht_agent(tokenizer, history_blocks), []
        for first in (NOW, GOAL):
            agent.reset(GOAL)
            agent.observe(first)
            agent.observe(NOW, torch.zeros(2, 10))
            agent.observe(NOW, torch.zeros(2, 10))
            costs.append(agent.plan(seeded()).cost_B)
        assert torch.equal(*costs) is not remembers


def test_imagined_tokens(model_agent):
    planned(model_agent, NOW, GOAL)
    actions_BHA = torch.rand(2, 3, 10, generator=seeded(1)) * 2 - 1
    tokens = model_agent.imagine(actions_BHA)
    assert tokens.shape == (2, 3, 3, model_agent.tokenizer.slot_dim) and torch.isfinite(tokens).all()
    later = actions_BHA.clone()
    later[:, 1:] *= -1
    other = model_agent.imagine(later)
    torch.testing.assert_close(other[:, 0], tokens[:, 0])
    assert not torch.equal(other[:, 1], tokens[:, 1])
    torch.testing.assert_close(model_agent.imagine(actions_BHA[:1]), tokens[:1], atol=2e-2, rtol=2e-2)


def test_environments_are_imagined_in_parts(monkeypatch):
    """Of five environments two at a time, each from its own place."""
    places = [(0.5 * number, -0.5 * number) for number in range(5)]
    agent = point_agent()
    planned(agent, observation(places), observation(places))
    actions_BHA = torch.rand(5, 2, 4, generator=seeded(1))
    monkeypatch.setattr(costs, "_CELLS_NEAR_THE_CACHES", 24)  # (1 token + 2) x (3 blocks + 1), twice
    tokens_BHSD = agent.imagine(actions_BHA)
    moved_BH2 = actions_BHA.unflatten(-1, (2, 2)).sum(dim=2).cumsum(dim=1)
    torch.testing.assert_close(tokens_BHSD[:, :, 0], torch.tensor(places)[:, None] + moved_BH2)


def test_the_distance_to_the_goal_by_hand():
    agent = point_agent()
    agent.reset(observation([(1, 1), (0, 3)]))
    torch.testing.assert_close(agent.goal_distance(observation([(1, 1), (0, 1)])), torch.tensor([0.0, 2.0]))


def test_a_generator_of_another_device_is_decided_by_this_one():
    one = seeded()
    assert generator_on(torch.device("cpu"), one) is one
