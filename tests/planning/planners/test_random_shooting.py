import pytest
import torch

from cjepa.planning.planners.random_shooting import RandomShooting
from tests.planning.planners.problems import HIGH, LOW, B, problem, quadratic


def test_candidates_are_uniform_within_the_bounds():
    seen = []

    def cost(actions_BNHA):
        seen.append(actions_BNHA)
        return quadratic(actions_BNHA)

    RandomShooting(20_000).plan(problem(cost))
    share = (seen[0] - LOW) / (HIGH - LOW)
    torch.testing.assert_close(share.mean(dim=1), torch.full((B, 2, 4), 0.5), atol=0.02, rtol=0)
    torch.testing.assert_close(share.std(dim=1), torch.full((B, 2, 4), 12**-0.5), atol=0.01, rtol=0)


def test_more_candidates_come_nearer():
    costs = [RandomShooting(samples).plan(problem()).cost_B.sum() for samples in (10, 500, 20_000)]
    assert costs[0] > costs[1] > costs[2]


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="num_samples is 0"):
        RandomShooting(0)
