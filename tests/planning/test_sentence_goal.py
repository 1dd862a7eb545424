"""The distance to what a sentence says, by hand: tokens are halved, and the world model's scale doubles them."""

import pytest
import torch

from cjepa.errors import UserError
from cjepa.planning.objectives import ActionCost, Goal, WeightedSum
from cjepa.planning.sentence_goal import SentenceGoal
from cjepa.types import Rollout
from tests.language.test_language import ByHand
from tests.planning.test_probe_error import Doubled

ACTIONS = torch.zeros(2, 2, 2, 6)


class Wide(Doubled):
    token_dim = 2


def a_case(text_BW):
    """Two environments, two candidates, two blocks, one object at (1, 1), or for the second at (5, 1), then (3, 1)."""
    tokens = torch.full((2, 2, 2, 1, 2), 0.5)
    tokens[:, 1, :, 0, 0] = torch.tensor([2.5, 1.5])
    goal = Goal(torch.zeros(2, 1, 2), torch.zeros(2, 0), torch.zeros(2, 0), text_BW)
    return Rollout(tokens, torch.zeros(2, 2, 2, 0)), ACTIONS, goal


def test_by_token_the_block_that_comes_nearest_counts():
    """Deviations are 2: (3 - 1) / 2, squared, over two values."""
    objective = SentenceGoal().reading(ByHand(), Wide(proprio_dim=0))
    torch.testing.assert_close(objective(*a_case(torch.eye(2))), torch.tensor([[0.0, 0.5], [0.0, 0.5]]))


def test_by_text_environments_have_sentences_of_their_own():
    """Cosines of (1, 1) and (3, 1), and of (5, 1) where x is wanted."""
    objective = SentenceGoal(by="text").reading(ByHand(), Wide(proprio_dim=0))
    expected = torch.tensor([[0.5**0.5, 5 / 26**0.5], [0.5**0.5, 10**-0.5]])
    torch.testing.assert_close(objective(*a_case(torch.eye(2))), 1 - expected)


def test_gradients_reach_the_rollout():
    rollout, actions, goal = a_case(torch.eye(2))
    tokens = rollout.tokens_BHSD.clone().requires_grad_()
    objective = SentenceGoal().reading(ByHand(), Wide(proprio_dim=0))
    objective(rollout._replace(tokens_BHSD=tokens), actions, goal).sum().backward()
    assert tokens.grad[:, 1, 1].abs().sum() > 0


def test_without_a_sentence_it_is_refused_and_in_a_sum_it_reads():
    objective = SentenceGoal().reading(ByHand(), Wide(proprio_dim=0))
    with pytest.raises(UserError, match="no sentence to aim at; give --goal_text"):
        objective(*a_case(None))
    both = WeightedSum([ActionCost(), objective])
    assert torch.equal(both.read(["", ""]), torch.eye(2)) and ActionCost().read([""]) is None
    with pytest.raises(ValueError, match="by is words, expected token or text"):
        SentenceGoal(by="words")
