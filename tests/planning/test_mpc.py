import numpy as np
import pytest
import torch

from cjepa.planning.agents import Agent
from cjepa.planning.mpc import MPC
from cjepa.planning.perception import Observation
from cjepa.types import Plan
from tests.conftest import RecordedProgress, ignore_progress
from tests.planning.worlds import blocks, observation, point_agent


class Counting(Agent):
    """Plans numbered blocks: plan p, block h, gives (10 p + h) / 1000."""

    def __init__(self, horizon_blocks: int, history_blocks: int = 1):
        super().__init__(blocks(), horizon_blocks)
        self.history_blocks = history_blocks
        self.seen, self.starts, self.horizons = [], [], []

    def observe(self, now: Observation, actions_BA=None):
        place, action = float(now.proprio_BP[0, 0]), None if actions_BA is None else round(float(actions_BA[0, 0]), 5)
        self.seen.append((round(place, 5), action))

    def plan(self, generator, warm_start_BKHA=None, horizon_blocks=None):
        numbers_H = (10 * len(self.starts) + torch.arange(horizon_blocks)) / 1000
        self.starts.append(warm_start_BKHA)
        self.horizons.append(horizon_blocks)
        return Plan(numbers_H[None, :, None].expand(1, -1, 4), torch.zeros(1))


class Line:
    """A plant of one point that moves along x."""

    def __init__(self, ends_after: int = 10**9):
        self.actions, self.ends_after = [], ends_after

    def observe(self) -> Observation:
        return observation([(round(sum(self.actions), 6), 0.0)])

    def execute(self, actions_BTA):
        assert actions_BTA.shape[::2] == (1, 2)
        self.actions += [round(float(value), 6) for value in actions_BTA[0, :, 0]]

    @property
    def finished(self) -> np.ndarray:
        return np.array([len(self.actions) >= self.ends_after])


def run(loop: MPC, agent: Agent, plant: Line, budget: int, progress=ignore_progress):
    return loop.run(agent, plant, observation([(1, 1)]), budget, torch.Generator(), progress)


@pytest.mark.parametrize(
    ("execute", "blocks_executed"),
    [(3, [0, 1, 2, 10, 11, 12]), (1, [0, 10, 20, 30, 40, 50]), (2, [0, 1, 10, 11, 20, 21])],
)
def test_so_much_of_every_plan_is_executed(execute, blocks_executed):
    plant = Line()
    records = run(MPC(execute), Counting(3), plant, budget=12)
    assert plant.actions == [block / 1000 for block in blocks_executed for _ in range(2)]
    assert [record.env_step for record in records] == list(range(0, 12, 2 * execute))
    assert all(record.seconds > 0 and not record.fallback_B.any() for record in records)


def test_the_budget_ends_within_a_block_and_success_after_one():
    plant, progress = Line(), RecordedProgress()
    run(MPC(3), Counting(3), plant, budget=7, progress=progress)
    assert plant.actions == [0.0, 0.0, 0.001, 0.001, 0.002, 0.002, 0.01] and progress.amounts == [2, 2, 2, 1]
    plant = Line(ends_after=3)
    records = run(MPC(3), Counting(3), plant, budget=100)
    assert len(plant.actions) == 4 and len(records) == 1


@pytest.mark.parametrize("history", [1, 2])
def test_agents_with_a_history_observe_every_block(history):
    agent, plant = Counting(3, history), Line()
    run(MPC(2), agent, plant, budget=8)
    every = [(0.0, None), (0.0, 0.0), (0.002, 0.001), (0.022, 0.01)]
    assert agent.seen == (every if history > 1 else [every[0], every[2]])


def test_warm_starts_are_what_the_last_plan_has_left():
    agent = Counting(3)
    run(MPC(2, warm_start=True), agent, Line(), budget=10)
    assert agent.starts[0] is None
    # the third block of the first plan, then the middle of the bounds, twice
    expected = torch.tensor([0.002, -0.05, -0.05])[None, None, :, None].expand(1, 1, 3, 4)
    torch.testing.assert_close(agent.starts[1], expected)
    agent = Counting(3)
    run(MPC(2), agent, Line(), budget=10)
    assert agent.starts == [None] * 3


def test_elites_follow_the_rest_of_the_plan():
    class WithElites(Counting):
        def plan(self, generator, warm_start_BKHA=None, horizon_blocks=None):
            plan = super().plan(generator, warm_start_BKHA, horizon_blocks)
            return plan._replace(elites_BKHA=torch.stack([plan.actions_BHA + 0.1, plan.actions_BHA + 0.2], dim=1))

    agent = WithElites(3)
    run(MPC(1, warm_start=True), agent, Line(), budget=10)
    expected = torch.tensor([[0.001, 0.002, -0.05], [0.101, 0.102, -0.05], [0.201, 0.202, -0.05]])
    torch.testing.assert_close(agent.starts[1], expected[None, :, :, None].expand(1, 3, 3, 4))
    assert agent.starts[-1].shape == (1, 3, 1, 4)  # near the end of the budget


def test_no_plan_reaches_beyond_the_budget():
    agent, plant = Counting(3), Line()
    run(MPC(1, warm_start=True), agent, plant, budget=9)  # the last block is one env step long
    assert agent.horizons == [3, 3, 3, 2, 1]
    assert plant.actions == [0.0, 0.0, 0.01, 0.01, 0.02, 0.02, 0.03, 0.03, 0.04]
    assert [None if start is None else start[0, 0, :, 0].tolist() for start in agent.starts] == [
        None,
        pytest.approx([0.001, 0.002, -0.05]),
        pytest.approx([0.011, 0.012, -0.05]),
        pytest.approx([0.021, 0.022]),
        pytest.approx([0.031]),
    ]
    agent = Counting(3)
    run(MPC(3), agent, Line(), budget=8)
    assert agent.horizons == [3, 1]


def test_trials_that_have_ended_leave_the_others_alone():
    """Three points of which one has arrived: the others' plans, warm starts included, are the same to the bit."""

    class Some(Line):
        finished = np.zeros(3, bool)

        def observe(self):
            return observation(self.places)

        def execute(self, actions_BTA):
            self.actions.append(actions_BTA)
            self.places = self.places + self.moves * actions_BTA.sum(axis=1)

    def run_with(first_moves: float) -> list[Plan]:
        plant = Some()
        plant.places, plant.moves = np.zeros((3, 2)), np.array([[first_moves], [1.0], [1.0]])
        plant.finished = np.array([first_moves == 0, False, False])
        goal = observation([(0, 0), (0.9, 0.2), (-0.8, 0.4)])
        arguments = (point_agent(), plant, goal, 8, torch.Generator().manual_seed(0), ignore_progress)
        return [record.plan for record in MPC(1, warm_start=True).run(*arguments)]

    ended, running = run_with(0.0), run_with(1.0)
    assert len(ended) == 4
    for one, other in zip(ended, running, strict=True):
        assert torch.equal(one.actions_BHA[1:], other.actions_BHA[1:])
        assert torch.equal(one.cost_B[1:], other.cost_B[1:])


def test_a_fallback_acts_instead_of_a_plan():
    def stop_after_the_first(plan, agent, now):
        act = plan.actions_BHA[:, 0, 0] >= 0.01
        return torch.where(act[:, None, None], torch.zeros_like(plan.actions_BHA), plan.actions_BHA), act

    plant = Line()
    records = run(MPC(1, fallback=stop_after_the_first), Counting(3), plant, budget=6)
    assert [record.fallback_B.item() for record in records] == [False, True, True]
    assert plant.actions == [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert [record.plan.actions_BHA[0, 0, 0].item() for record in records] == pytest.approx([0, 0.01, 0.02])
    assert [record.actions_BHA[0, 0, 0].item() for record in records] == [0, 0, 0]


def test_surprise_is_the_error_of_the_last_prediction():
    """A world where actions move a point half as far as the model believes."""

    class Sluggish(Line):
        def __init__(self):
            super().__init__()
            self.places = np.zeros((2, 2))

        def observe(self):
            return observation(self.places)

        def execute(self, actions_BTA):
            self.places = self.places + actions_BTA.sum(axis=1) / 2

    plant, starts = Sluggish(), []
    for execute_blocks in (1, 2):
        goal, generator = observation([(0.5, 0.0), (0.0, -0.5)]), torch.Generator().manual_seed(0)
        first, second = MPC(execute_blocks).run(
            point_agent(horizon_blocks=2), plant, goal, 4 * execute_blocks, generator, ignore_progress
        )
        moved = first.plan.actions_BHA[:, :execute_blocks].unflatten(-1, (2, 2)).sum(dim=(1, 2))
        assert first.surprise_B is None
        torch.testing.assert_close(second.surprise_B, (moved / 2).square().mean(dim=1), atol=1e-5, rtol=1e-4)
        plant = Sluggish()
        starts.append(second.surprise_B)
    assert all((surprise_B > 1e-3).all() for surprise_B in starts)


def test_agents_that_expect_nothing_are_never_surprised():
    records = run(MPC(1), Counting(3), Line(), budget=6)
    assert [record.surprise_B for record in records] == [None] * 3
