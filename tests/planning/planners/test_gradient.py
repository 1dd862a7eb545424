import pytest
import torch

from cjepa.errors import UserError
from cjepa.planning.planners.gradient import GradientPlanner
from tests.planning.planners.problems import LOW, TARGET_BHA, problem, quadratic


def test_it_comes_as_near_as_it_likes():
    plan = GradientPlanner(num_starts=2, iterations=200).plan(problem())
    torch.testing.assert_close(plan.actions_BHA, TARGET_BHA, atol=1e-3, rtol=0)


def test_the_first_step_by_hand():
    """Adam's first step is the learning rate times half the range, against the sign of the gradient."""
    seen = []

    def cost(actions_BNHA):
        seen.append(actions_BNHA.detach().clone())
        return quadratic(actions_BNHA)

    one = problem(cost)
    GradientPlanner(num_starts=1, iterations=2, learning_rate=0.1).plan(one)
    middle_BHA = one.start()
    expected = middle_BHA + 0.1 * one.half_range * (TARGET_BHA - middle_BHA).sign()
    torch.testing.assert_close(seen[0][:, 0], middle_BHA)
    torch.testing.assert_close(seen[1][:, 0], expected)


def test_several_starts_find_the_better_of_two_valleys():
    def valleys(actions_BNHA):  # of depths 0 at 0.8 and 1 at -0.2; the middle of the bounds leads to the second
        value = actions_BNHA[..., 0, 0]
        return torch.minimum(20 * (value - 0.8).square(), 1 + 20 * (value + 0.2).square())

    one, several = (GradientPlanner(num, 60, initial_std=1.0).plan(problem(valleys)) for num in (1, 16))
    assert (one.actions_BHA[:, 0, 0] + 0.2).abs().max() < 0.05
    assert (several.actions_BHA[:, 0, 0] - 0.8).abs().max() < 0.05


def test_a_cost_without_gradients_is_refused():
    with pytest.raises(UserError, match=r"needs a cost with gradients.*CEM"):
        GradientPlanner().plan(problem(lambda actions_BNHA: quadratic(actions_BNHA.detach())))


def test_a_gradient_that_is_nan_moves_nothing():
    """At the lower bound the square root has an infinite slope."""

    def root(actions_BNHA):
        return (actions_BNHA - LOW).sqrt().sum(dim=(2, 3))

    low_BKHA = LOW.expand(TARGET_BHA.shape)[:, None]
    plan = GradientPlanner(num_starts=1).plan(problem(root), low_BKHA)
    assert torch.equal(plan.actions_BHA, low_BKHA[:, 0]) and not plan.cost_B.any()


@pytest.mark.parametrize(
    ("option", "value"), [("num_starts", 0), ("iterations", 0), ("learning_rate", 0.0), ("initial_std", -1.0)]
)
def test_arguments_are_checked(option, value):
    with pytest.raises(ValueError, match=f"{option} is {value}"):
        GradientPlanner(**{option: value})
