import numpy as np
import pytest
import torch

from cjepa.data.splits import SPLIT_SHARES, lineage_of, split_episodes
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.store.shards import open_episodes
from cjepa.errors import UserError
from cjepa.evaluation.contents import contents_text
from cjepa.planning.agents import RandomAgent, SimulatorAgent
from cjepa.planning.constraints import Box
from cjepa.planning.fallbacks import HoldWhenUnsure, HoldWhenWorse
from cjepa.planning.mpc import MPC
from cjepa.planning.planners.base import Planner
from cjepa.planning.planners.cem import CEM
from cjepa.planning.priors import PolicyPrior
from cjepa.tokenizers.encode import fingerprint
from cjepa.types import Plan
from tests.conftest import ignore_progress, token_attributes
from tests.planning.worlds import PointDynamics, PointWorld, blocks, observation, point_agent


class Astray(Planner):
    """Always goes to the upper right."""

    def plan(self, problem, warm_start_BKHA=None):
        actions_BHA = problem.project(torch.full_like(problem.start()[:, None], 9.0))
        return Plan(actions_BHA[:, 0], problem.cost(actions_BHA)[:, 0])


NOW, GOALS = observation([(0, 0), (0, 0)]), observation([(1.2, 1.2), (-0.1, -0.1)])  # the way, and astray
AGENTS = {
    "model": lambda: point_agent(planner=Astray()),
    "simulator": lambda: SimulatorAgent(PointWorld(), Astray(), blocks(), 2),
}


@pytest.mark.parametrize("kind", AGENTS)
def test_it_holds_only_where_doing_nothing_is_expected_to_be_better(kind):
    agent = AGENTS[kind]()
    agent.reset(GOALS)
    agent.observe(NOW)
    plan = agent.plan(torch.Generator())
    actions_BHA, held_B = HoldWhenWorse()(plan, agent, NOW)
    assert held_B.tolist() == [False, True]
    assert torch.equal(actions_BHA[0], plan.actions_BHA[0]) and not actions_BHA[1].any()


def test_nothing_costs_what_the_distance_to_the_goal_costs():
    agent = point_agent()
    agent.reset(GOALS)
    agent.observe(NOW)
    agent.plan(torch.Generator())
    nothing = agent.nothing()
    # of tokens and of proprioception: 1.2^2 and 0.1^2, twice
    torch.testing.assert_close(nothing.cost_B, torch.tensor([2.88, 0.02]), atol=1e-3, rtol=0)
    assert nothing.actions_BHA.shape == (2, 2, 4) and not nothing.actions_BHA.any()


def test_nothing_is_as_near_to_it_as_constraints_allow():
    agent = point_agent(constraints=[Box([0.1, -1.0], 1.0)])
    agent.reset(GOALS)
    agent.observe(NOW)
    agent.plan(torch.Generator())
    torch.testing.assert_close(agent.nothing().actions_BHA, torch.tensor([0.1, 0.0, 0.1, 0.0]).expand(2, 2, 4))


def test_chance_is_never_stopped():
    agent = RandomAgent(blocks(), 2)
    agent.reset(GOALS)
    agent.observe(NOW)
    plan = agent.plan(torch.Generator())
    actions_BHA, held_B = HoldWhenWorse()(plan, agent, NOW)
    assert torch.equal(actions_BHA, plan.actions_BHA) and not held_B.any()


def test_the_loop_holds():
    class Points:
        places, finished = np.zeros((2, 2)), np.zeros(2, bool)

        def observe(self):
            return observation(self.places)

        def execute(self, actions_BTA):
            self.places = self.places + actions_BTA.sum(axis=1)

    plant, loop = Points(), MPC(2, fallback=HoldWhenWorse())
    records = loop.run(point_agent(planner=Astray()), plant, GOALS, 8, torch.Generator(), ignore_progress)
    assert [record.fallback_B.tolist() for record in records] == [[False, True], [True, True]]
    np.testing.assert_allclose(plant.places, [[1.2, 1.2], [0.0, 0.0]], atol=1e-6)


def test_a_search_that_finds_something_is_executed():
    agent = point_agent(planner=CEM(64, 5, 8))
    agent.reset(GOALS)
    agent.observe(NOW)
    assert not HoldWhenWorse()(agent.plan(torch.Generator()), agent, NOW)[1].any()


class Divided(PointDynamics):
    """Two members that disagree by as much as the point is to the right."""

    def predicted(self, state):
        return super().predicted(state)._replace(disagreement_BS=state.place_B2[:, :1])


def divided_agent(**options):
    """Plans for points at 2.0 and 2.2 that go 0.6 to the right with every block: they disagree by 2.9 and 3.1."""
    agent = point_agent(planner=Astray(), **options)
    agent.dynamics = Divided()
    agent.reset(GOALS)
    agent.observe(observation([(2.0, 0.0), (2.2, 0.0)]))
    return agent


@pytest.fixture
def recorded(tmp_path):
    """A token file of 20 episodes, whose actions move a point by 1 to the right a block.

    In the validation episode of seed 5 it is at 0, 1, 2, ... in frames 0, 1, 2, ...; in all others 100 further.
    """
    (validation,), path = split_episodes(20, SPLIT_SHARES, 5)["val"].tolist(), tmp_path / "t.h5"
    attributes = token_attributes(num_slots=1, token_dim=2)
    attributes["tokenizer_fingerprint"] = fingerprint(point_agent().tokenizer)
    with EpisodeWriter(path, "cjepa-tokens", attributes) as writer:
        for episode in range(20):
            x = np.arange(9) + 100 * (episode != validation)
            places, action = np.stack([x, 0 * x], axis=1).astype(np.float32), np.full((9, 2), 0.5, np.float32)
            writer.append({"tokens": places[:, None], "proprio": places, "action": action})
    return str(path)


def lineage(path):
    return lineage_of(open_episodes(path), 5, ())._asdict()


def test_thresholds_are_quantiles_over_validation_episodes(recorded):
    """Clips of two blocks begin at 0, 1, 2 and 3: one block later the point is at 1 to 4, and at 1.5 to 4.5 on average.

    The medians are 2.5 and 3.
    """
    agent = divided_agent()
    held = HoldWhenUnsure(0.5, recorded).for_agent(agent, lineage(recorded))
    assert held.threshold_by_blocks == [2.5, 3.0]
    assert HoldWhenUnsure(1.0, recorded).for_agent(agent, lineage(recorded)).threshold_by_blocks == [4.0, 4.5]
    (learned,) = held.learned(lineage(recorded))
    assert learned.lineage["split_seed"] == 5 and recorded in learned.name


def test_it_holds_exactly_where_an_ensemble_disagrees_more(recorded):
    agent = divided_agent()
    fitted = HoldWhenUnsure(0.5, recorded).for_agent(agent, lineage(recorded))
    plan = agent.plan(torch.Generator())
    torch.testing.assert_close(agent.disagreement(plan.actions_BHA), torch.tensor([2.9, 3.1]))
    actions_BHA, held_B = fitted(plan, agent, NOW)
    assert held_B.tolist() == [False, True]
    assert torch.equal(actions_BHA[0], plan.actions_BHA[0]) and not actions_BHA[1].any()
    # of one block they are 2.6 and 2.8 off, and the threshold is 2.5
    plan = agent.plan(torch.Generator(), horizon_blocks=1)
    assert fitted(plan, agent, NOW)[1].tolist() == [True, True]
    by_number = HoldWhenUnsure(threshold=2.7).for_agent(agent, {})
    assert by_number(plan, agent, NOW)[1].tolist() == [False, True] and by_number.learned({}) == []


@pytest.mark.parametrize(
    "fallback", [HoldWhenWorse(follow_prior=True), HoldWhenUnsure(threshold=3.0, follow_prior=True)]
)
def test_a_policy_acts_instead_where_one_is_followed(fallback):
    class Left:
        def act(self, tokens_BSD, proprio_BP, goal_BSD):
            return torch.full((len(tokens_BSD), 4), -9.0)

    agent = divided_agent(prior=PolicyPrior(Left()))
    agent.aim(observation([(9.0, 9.0), (-9.0, -9.0)]))
    plan = agent.plan(torch.Generator())
    actions_BHA, followed_B = fallback.for_agent(agent, {})(plan, agent, NOW)
    assert followed_B.tolist() == [False, True]
    assert torch.equal(actions_BHA[0], plan.actions_BHA[0])
    torch.testing.assert_close(actions_BHA[1], torch.full((2, 4), -0.4))  # within the bounds
    with pytest.raises(UserError, match="no policy to follow; give its run with --prior"):
        fallback.for_agent(divided_agent(), {})


def test_a_model_without_members_and_other_tokens_are_refused(recorded, tmp_path):
    agent = point_agent()
    with pytest.raises(UserError, match="disagreement needs a world model that is an ensemble; train one with `cjepa"):
        HoldWhenUnsure(0.5, recorded).for_agent(agent, lineage(recorded))
    with pytest.raises(UserError, match="no-such.h5"):
        HoldWhenUnsure(0.5, "no-such.h5").for_agent(agent, {})
    agent.tokenizer = type(agent.tokenizer)(1, ("x",)).eval()
    with pytest.raises(UserError, match="fallback.init_args.tokens .*t.h5: its tokens are of tokenizer"):
        HoldWhenUnsure(0.5, recorded).for_agent(agent, {})
    with pytest.raises(ValueError, match="quantile is 1.5, expected a share in 0..1"):
        HoldWhenUnsure(1.5)
    with pytest.raises(ValueError, match="threshold is -1, expected 0 or more"):
        HoldWhenUnsure(threshold=-1)


def test_the_content_of_its_tokens_decides_where_it_holds(recorded, tmp_path):
    """Kept plans are told apart by this text."""
    (tmp_path / "same.h5").write_bytes(open_episodes(recorded).path.read_bytes())
    assert contents_text(HoldWhenUnsure(tokens=recorded)) == contents_text(
        HoldWhenUnsure(tokens=str(tmp_path / "same.h5"))
    )
    assert contents_text(HoldWhenUnsure(tokens=recorded)) != contents_text(HoldWhenUnsure(0.9, recorded))
