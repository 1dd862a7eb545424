import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from cjepa.evaluation.budgets import gigaflops, plan_gigaflops
from cjepa.planning.hierarchy import HighLevel
from cjepa.planning.objectives import LeastStepMSE
from cjepa.planning.planners.cem import CEM
from cjepa.planning.planners.gradient import GradientPlanner
from cjepa.planning.planners.icem import ICEM
from cjepa.world_models.transformer import attention
from tests.planning.test_hierarchy import PointMacro
from tests.planning.worlds import PointDynamics, observation, point_agent


class Projected(PointDynamics):
    """Every step costs one product with a 2 x 2 matrix."""

    def step(self, state, actions_BA):
        state = super().step(state, actions_BA)
        return state._replace(place_B2=state.place_B2 @ torch.eye(2))


def test_products_are_counted_with_two_operations_each():
    layer = nn.Linear(3, 5)
    assert gigaflops(layer, torch.zeros(7, 3)) == pytest.approx(2 * 3 * 5 * 7 / 1e9)


def test_attention_and_fused_layers_are_counted():
    def attention(x_BTD):
        return scaled_dot_product_attention(x_BTD, x_BTD, x_BTD)

    assert gigaflops(attention, torch.zeros(2, 4, 8)) == pytest.approx(2 * (2 * 4 * 4 * 8) * 2 / 1e9)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    heads, attended, mlp = 4 * 8 * 8, 2 * 4 * 8, 2 * 8 * 16
    assert gigaflops(layer, torch.zeros(1, 4, 8)) == pytest.approx(2 * 4 * (heads + attended + mlp) / 1e9)


def test_what_pads_short_rows_of_attention_is_not_counted():
    """Four tokens in two heads of width 8."""
    counted = gigaflops(lambda x_BHLK: attention(x_BHLK, x_BHLK, x_BHLK, None), torch.zeros(1, 2, 4, 8))
    assert counted == pytest.approx(2 * (2 * 4 * 4 * 8) * 2 / 1e9)


@pytest.mark.parametrize("horizon", [1, 3])
def test_a_plan_costs_what_all_its_candidates_cost(horizon):
    agent = point_agent(horizon_blocks=horizon, planner=CEM(64, 10, 8))
    agent.dynamics = Projected()
    seen = observation([(0.0, 0.0), (1.0, 1.0)])
    counted = plan_gigaflops(agent, seen, seen)
    assert counted == pytest.approx(64 * 10 * horizon * 2 * 2 * 2 / 1e9, rel=0.01)  # and the plan itself
    agent.planner = ICEM(64, 10, 8)
    assert plan_gigaflops(agent, seen, seen) < counted  # its iterations shrink


@pytest.mark.parametrize("starts", [4, 8])
def test_a_step_along_a_gradient_costs_as_much_again(starts):
    """Its matrix is fixed: only the derivative with respect to what is multiplied with it is taken."""
    agent = point_agent(horizon_blocks=2, planner=GradientPlanner(starts, 5))
    agent.dynamics = Projected()
    seen = observation([(0.0, 0.0), (1.0, 1.0)])
    evaluations = starts * (2 * 5 + 1)
    assert plan_gigaflops(agent, seen, seen) == pytest.approx(evaluations * 2 * 2 * 2 * 2 / 1e9)


class ProjectedMacro(PointMacro):
    """Every long block costs one product with a 2 x 2 matrix."""

    def step(self, state, actions_BA):
        state = super().step(state, actions_BA)
        return state._replace(place_B2=state.place_B2 @ torch.eye(2))


def test_a_plan_on_two_levels_costs_what_both_cost():
    search = CEM(32, 5, 8)
    agent = point_agent(planner=CEM(64, 10, 8), high_level=HighLevel(ProjectedMacro(), search, LeastStepMSE(), 4))
    seen = observation([(0.0, 0.0)])
    counted = plan_gigaflops(agent, seen, seen)
    assert counted == pytest.approx(32 * 5 * 4 * 2 * 2 * 2 / 1e9, rel=0.02)  # the low level is free here
    assert agent.high_level.planner is search
    agent.dynamics = Projected()
    assert plan_gigaflops(agent, seen, seen) == pytest.approx(counted + 64 * 10 * 2 * 2 * 2 * 2 / 1e9, rel=0.02)
