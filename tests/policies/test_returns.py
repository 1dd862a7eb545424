import math

import torch

from cjepa.policies.returns import lambda_returns, symexp, two_hot


def test_lambda_returns_by_hand():
    """4 = 2 + 0.5 * 4, and 2.75 = 1 + 0.5 * (0.5 * 3 + 0.5 * 4)."""
    reward, value = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])
    assert lambda_returns(reward, value, 0.5, 0.5).tolist() == [[2.75, 4.0]]
    assert lambda_returns(reward, value, 0.5, 0.0).tolist() == [[1 + 0.5 * 3, 4.0]]  # one step
    assert lambda_returns(reward, value, 0.5, 1.0).tolist() == [[1 + 0.5 * 2 + 0.25 * 4, 4.0]]  # all of them


def test_two_hot_and_symexp_by_hand():
    bins = torch.tensor([-2.0, 0.0, 2.0])
    found = two_hot(torch.tensor([0.5, -2.0, 2.0, 9.0]), bins)
    assert found.tolist() == [[0, 0.75, 0.25], [1, 0, 0], [0, 0, 1], [0, 0, 1]]
    found = symexp(torch.tensor([-math.log(8.0), 0.0, 1.0]))
    torch.testing.assert_close(found, torch.tensor([-7.0, 0.0, math.e - 1]))


def test_the_mean_of_two_hot_values_is_the_value():
    """In bins that are not equally far apart, as the critic is read."""
    bins, values = symexp(torch.linspace(-5, 5, 41)), torch.tensor([[-80.0, -3.3, -0.01], [0.0, 0.4, 140.0]])
    torch.testing.assert_close((two_hot(values, bins) * bins).sum(dim=-1), values)
