"""The distance to what a sentence says, by hand: tokens are halved, and the world model's scale doubles them."""

import pytest
import torch

from cjepa.data.splits import Lineage
from cjepa.errors import UserError
from cjepa.evaluation.contents import contents_text
from cjepa.planning.hierarchy import Hierarchy
from cjepa.planning.objectives import ActionCost, Goal, Learned, WeightedSum
from cjepa.planning.planners.cem import CEM
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


def test_parts_of_a_sum_read_with_one_language_model():
    """A goal holds what one model makes of a sentence."""
    one, other = ByHand(), ByHand()
    other.read = lambda sentences: torch.eye(2).flip(0)
    parts = [SentenceGoal(by=by).reading(language, Wide()) for by, language in (("token", one), ("text", other))]
    with pytest.raises(UserError, match="the parts of WeightedSum read sentences with different language models; give"):
        WeightedSum(parts).read(["", ""])
    other.read = lambda sentences: torch.eye(3)
    with pytest.raises(UserError, match="different language models"):
        WeightedSum(parts).read(["", ""])
    assert torch.equal(WeightedSum([parts[0], parts[0]]).read(["", ""]), torch.eye(2))


def test_it_says_what_its_language_model_has_learned_from(tmp_path):
    path, lineage = tmp_path / "last.ckpt", Lineage("of these", 3, [], [1])._asdict()
    parts = {"hyper_parameters": {"_class_path": "cjepa.language.training.LanguageTraining"}, "lineage": lineage}
    torch.save({"state_dict": {}, **parts}, path)
    both = WeightedSum([ActionCost(), SentenceGoal(str(path))])
    assert both.learned({}) == [Learned(f"language model {path}", lineage)]


def test_its_costs_are_decided_by_the_content_of_its_checkpoint(tmp_path):
    """Kept plans are told apart by this text, at any depth of what was asked."""
    path, texts = tmp_path / "last.ckpt", []
    for content in (b"one", b"one", b"another"):
        path.write_bytes(content)
        hierarchy = Hierarchy("macro", CEM(), WeightedSum([SentenceGoal(str(path))]))
        texts.append(contents_text({"hierarchy": hierarchy}))
    assert texts[0] == texts[1] != texts[2]
    assert "no-such.ckpt" in contents_text(SentenceGoal("no-such.ckpt"))  # refused where it is read
