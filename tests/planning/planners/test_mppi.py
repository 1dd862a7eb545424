import pytest
import torch

from cjepa.planning.planners.mppi import MPPI, path_weights, spread
from tests.planning.planners.problems import LOW, problem

INF, NAN = float("inf"), float("nan")


def test_weights_by_hand():
    cost_BK = torch.tensor([[1.0, 2.0, 5.0], [0.0, 0.0, 4.0], [3.0, INF, INF], [INF, INF, INF]])
    weight_BK = path_weights(cost_BK, torch.tensor([2.0, 1.0, NAN, NAN]), temperature=0.5)
    first = torch.tensor([1.0, 2.718281828**-1, 2.718281828**-4])  # (cost - 1) / (0.5 x 2) is 0, 1 and 4
    second = torch.tensor([1.0, 1.0, 2.718281828**-8])
    torch.testing.assert_close(weight_BK[0], first / first.sum())
    torch.testing.assert_close(weight_BK[1], second / second.sum())
    assert weight_BK[2].tolist() == [1.0, 0.0, 0.0]
    torch.testing.assert_close(weight_BK[3], torch.full((3,), 1 / 3))


def test_equal_costs_count_alike():
    torch.testing.assert_close(path_weights(torch.full((1, 4), 7.0), torch.zeros(1), 2.0), torch.full((1, 4), 0.25))


def test_the_spread_of_costs_leaves_out_those_that_are_not_finite():
    cost_BN = torch.tensor([[1.0, 3.0, INF, NAN], [2.0, 2.0, 2.0, 2.0], [5.0, NAN, NAN, NAN]])
    spread_B = spread(cost_BN)
    torch.testing.assert_close(spread_B[:2], torch.tensor([2**0.5, 0.0]))
    assert not spread_B[2].isfinite()


def test_one_iteration_by_hand():
    """Two candidates of costs 0 and 1: weights, mean and deviation of what comes next."""
    drawn, seen = torch.tensor([0.0, 1.0]), []

    class TwoCandidates(type(problem())):
        def noise(self, num_samples):
            return drawn.reshape(1, 2, 1, 1).expand(self.batch, -1, self.horizon_blocks, len(LOW))

    def cost(actions_BNHA):
        seen.append(actions_BNHA[0, :, 0, 0].clone())
        return (actions_BNHA[..., 0, 0] * 4).round()  # 0 at the middle, 1 at a quarter

    one = problem(cost)
    MPPI(2, 2, 2, temperature=2.0, initial_std=0.25).plan(
        TwoCandidates(cost, -torch.ones(4), torch.ones(4), 1, one.horizon_blocks, one.generator)
    )
    share = torch.sigmoid(torch.tensor(-(2**0.5)))  # exp(-1 / (2 std)) : 1, and the std of 0 and 1 is 1 / sqrt(2)
    share = torch.exp(torch.tensor(-(2**0.5) / 2)) / (1 + torch.exp(torch.tensor(-(2**0.5) / 2)))
    mean, std = share * 0.25, (share * (1 - share)).sqrt() * 0.25
    torch.testing.assert_close(seen[0], torch.tensor([0.0, 0.25]))
    torch.testing.assert_close(seen[1], torch.stack([torch.tensor(0.0), mean + std]))


@pytest.mark.parametrize(
    ("option", "value"), [("temperature", 0.0), ("max_std", 0.01), ("num_elites", 1), ("iterations", 0)]
)
def test_arguments_are_checked(option, value):
    with pytest.raises(ValueError, match=f"{option} is {value}"):
        MPPI(**{option: value})
