import numpy as np
import pytest
import torch

from cjepa.envs.pusht.env import PushT
from cjepa.planning.agents import RandomAgent, SimulatorAgent, Situation, WorldModelAgent
from cjepa.planning.objectives import LastStepMSE
from cjepa.planning.planners.cem import CEM
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.tokenizers.slots.starts import LearnedStart
from cjepa.tokenizers.slots.tokenizer import SlotTokenizer
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from tests.contracts import stirred

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def situation(agents_at) -> Situation:
    env, rows = PushT(), []
    for x, y in agents_at:
        env.set_state(np.array([x, y, 350.0, 350.0, 0.5, 0.0, 0.0]))
        rows.append((env.render_pixels(), env.objects(), env.proprio(), env.get_state()))
    return Situation(*(np.stack(values) for values in zip(*rows, strict=True)))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


NOW, GOAL = situation([(100, 100), (150, 120)]), situation([(150, 100), (150, 60)])


def test_random_agent():
    agent = RandomAgent(env_steps=25, action_dim=2)
    actions = agent.act(NOW, GOAL, seeded())
    assert actions.shape == (2, 25, 2) and actions.dtype == np.float32
    assert -1 <= actions.min() < -0.8 and 0.8 < actions.max() <= 1
    np.testing.assert_array_equal(actions, agent.act(NOW, GOAL, seeded()))
    assert not np.array_equal(actions, agent.act(NOW, GOAL, seeded(1)))


def test_simulator_agent_plans_what_it_wants():
    env = PushT()
    agent = SimulatorAgent(env, CEM(24, 6, 6), horizon_blocks=1, frame_stride=4)
    actions = agent.act(NOW, GOAL, seeded())
    assert actions.shape == (2, 4, 2) and np.abs(actions).max() <= 1
    for row, state in enumerate(NOW.state_BF):
        env.set_state(state)
        for action in actions[row]:
            env.advance(action)
        before, after = (env.state_error(s, GOAL.state_BF[row]).sum() for s in (state, env.get_state()))
        assert after < 0.4 * before


def agent_with(tokenizer: Tokenizer) -> WorldModelAgent:
    predictor = EntityTransformer(tokenizer.slot_dim, action_dim=10, dim=16, depth=1, num_heads=2, mlp_dim=32)
    model = PredictorDynamics(stirred(predictor)).eval()
    model.action_scale.fit(torch.randn(100, 10))
    return WorldModelAgent(model, tokenizer, CEM(8, 2, 3), LastStepMSE(), horizon_blocks=3, frame_stride=5)


@pytest.fixture
def model_agent() -> WorldModelAgent:
    torch.manual_seed(0)
    return agent_with(SlotTokenizer(LearnedStart(num_slots=3, slot_dim=32)).eval())


def test_world_model_agent_plans_blocks_in_time_order(model_agent):
    actions = model_agent.act(NOW, GOAL, seeded())
    plan = model_agent.plan(NOW, GOAL, seeded())
    assert actions.shape == (2, 15, 2) and actions.dtype == np.float32 and np.abs(actions).max() <= 1
    np.testing.assert_array_equal(actions.reshape(2, 3, 10), plan.actions_BHA.numpy())


def test_world_model_agent_looks_at_pixels_and_proprio_only(model_agent):
    actions = model_agent.act(NOW, GOAL, seeded())
    hidden = ("objects_BOF", "state_BF")
    blind = [s._replace(**{n: np.full_like(getattr(s, n), np.nan) for n in hidden}) for s in (NOW, GOAL)]
    np.testing.assert_array_equal(actions, model_agent.act(*blind, seeded()))
    for part in ("pixels_BYXC", "proprio_BP"):  # and at both of the goal
        other = GOAL._replace(**{part: getattr(NOW, part)})
        assert not torch.equal(
            model_agent.plan(NOW, GOAL, seeded()).cost_B, model_agent.plan(NOW, other, seeded()).cost_B
        )


def test_an_oracle_looks_at_objects_and_proprio_only():
    oracle = OracleTokenizer(2, PushT.attribute_names).eval()
    agent = agent_with(oracle)
    cost_B = agent.plan(NOW, GOAL, seeded()).cost_B
    hidden = ("pixels_BYXC", "state_BF")
    blind = [s._replace(**{n: np.zeros_like(getattr(s, n)) for n in hidden}) for s in (NOW, GOAL)]
    assert torch.equal(agent.plan(*blind, seeded()).cost_B, cost_B)
    other = GOAL._replace(objects_BOF=NOW.objects_BOF)
    assert not torch.equal(agent.plan(NOW, other, seeded()).cost_B, cost_B)


def test_imagined_tokens(model_agent):
    actions = np.random.default_rng(0).uniform(-1, 1, (2, 15, 2)).astype(np.float32)
    tokens = model_agent.imagine(NOW, actions)
    assert tokens.shape == (2, 3, 3, model_agent.tokenizer.slot_dim) and torch.isfinite(tokens).all()
    later = actions.copy()
    later[:, 5:] *= -1
    other = model_agent.imagine(NOW, later)
    torch.testing.assert_close(other[:, 0], tokens[:, 0])
    assert not torch.equal(other[:, 1], tokens[:, 1])
