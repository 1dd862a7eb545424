import numpy as np
import pytest
import torch

from cjepa.errors import UserError
from cjepa.planning import costs
from cjepa.planning.costs import RolloutCost, SimulatorCost
from cjepa.planning.objectives import Goal, Objective
from tests.planning.worlds import PointDynamics, PointState, PointWorld


class Distance(Objective):
    """Of the last predicted place, and how many candidates came at once."""

    def __init__(self):
        self.sizes = []

    def __call__(self, rollout, actions_BNHA, goal):
        assert rollout.tokens_BHSD.shape[:3] == actions_BNHA.shape[:3]
        self.sizes.append(len(actions_BNHA))
        return (rollout.tokens_BHSD[:, :, -1, 0] - goal.tokens_BSD[:, None, 0]).norm(dim=-1)


def a_problem(objective: Objective) -> tuple[RolloutCost, torch.Tensor]:
    places = torch.tensor([[0.0, 0.0], [5.0, 5.0]])
    goal = Goal(torch.tensor([[[1.0, 0.0]], [[5.0, 7.0]]]), torch.zeros(2, 2), torch.ones(2, 2))
    actions = torch.zeros(2, 3, 2, 4)
    actions[:, 1] = 0.25  # 2 blocks of 2 env steps: 1 along both axes
    actions[:, 2, 0, 1] = 2.0
    return RolloutCost(PointDynamics(), PointState(places), goal, objective), actions


@pytest.mark.parametrize("cells", [10**6, 1, 50])
def test_candidates_are_rolled_out_from_their_own_environment(cells, monkeypatch):
    monkeypatch.setattr(costs, "_CELLS_NEAR_THE_CACHES", cells)
    objective = Distance()
    cost, actions = a_problem(objective)
    expected = torch.tensor([[1.0, 1.0, 5**0.5], [2.0, 2**0.5, 0.0]])
    torch.testing.assert_close(cost(actions), expected)
    # a row is (1 + 2) entities x (3 + 1) blocks of cells
    assert objective.sizes == {10**6: [6], 1: [1] * 6, 50: [4, 2]}[cells]


@pytest.mark.parametrize("cells", [10**6, 50])
def test_skipped_environments_cost_nothing_and_change_nothing(cells, monkeypatch):
    monkeypatch.setattr(costs, "_CELLS_NEAR_THE_CACHES", cells)
    objective = Distance()
    cost, actions = a_problem(objective)
    expected = cost(actions)
    expected[0] = 0.0
    objective.sizes.clear()
    skipping = RolloutCost(cost.dynamics, cost.state, cost.goal, objective, torch.tensor([True, False]))
    assert torch.equal(skipping(actions), expected)
    assert sum(objective.sizes) == 3  # candidates of the other environment


def test_an_objective_of_another_shape_is_refused():
    cost, actions = a_problem(lambda rollout, actions_BNHA, goal: rollout.tokens_BHSD.mean())
    with pytest.raises(UserError, match=r"^function: cost_BN gives shape \(\), expected shape \(6, 1\)$"):
        cost(actions)


def test_gradients_reach_the_actions():
    cost, actions = a_problem(Distance())
    actions.requires_grad_()
    cost(actions)[0, 1].backward()
    torch.testing.assert_close(actions.grad[0, 1, 0], torch.tensor([0.0, 1.0, 0.0, 1.0]))
    assert not actions.grad[1].any()


def test_the_simulator_runs_every_candidate_from_the_same_state():
    env = PointWorld()
    actions = torch.zeros(1, 2, 2, 4)
    actions[0, 1] = 0.25
    cost_BN = SimulatorCost(env, np.array([0.0, 0.0]), np.array([1.0, 1.0]))(actions)
    torch.testing.assert_close(cost_BN, torch.tensor([[10 * 2**0.5, 0.0]]), atol=1e-5, rtol=1e-5)
