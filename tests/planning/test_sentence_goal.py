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


class Named(ByHand):
    """Of agents it reads (0, 1), of other bodies (1, 0), wherever they should be."""

    def read(self, sentences):
        return torch.stack([torch.eye(2)[int("agent" in text)] for text in sentences])


BOTH = ["push the block to the left wall", "move the agent to the middle"]
WANTED = torch.eye(2).repeat(1, 2)
"""Of two sentences: what they say, and about what; the only object is meant by both."""


def a_case(text_BW):
    """Two environments, two candidates, two blocks, one object at (1, 1), or for the second at (5, 1), then (3, 1)."""
    tokens = torch.full((2, 2, 2, 1, 2), 0.5)
    tokens[:, 1, :, 0, 0] = torch.tensor([2.5, 1.5])
    goal = Goal(torch.zeros(2, 1, 2), torch.zeros(2, 0), torch.zeros(2, 0), text_BW)
    return Rollout(tokens, torch.zeros(2, 2, 2, 0)), ACTIONS, goal


def test_by_token_the_block_that_comes_nearest_counts():
    """Deviations are 2: (3 - 1) / 2, squared, over two values."""
    objective = SentenceGoal().reading(ByHand(), Wide(proprio_dim=0))
    torch.testing.assert_close(objective(*a_case(WANTED)), torch.tensor([[0.0, 0.5], [0.0, 0.5]]))


def test_by_text_environments_have_sentences_of_their_own():
    """Cosines of (1, 1) and (3, 1), and of (5, 1) where x is wanted; every token is looked at once."""
    language, looked = ByHand(), []
    language.predictor.register_forward_hook(lambda module, given, made: looked.append(made.shape))
    objective = SentenceGoal(by="text").reading(language, Wide(proprio_dim=0))
    expected = torch.tensor([[0.5**0.5, 5 / 26**0.5], [0.5**0.5, 10**-0.5]])
    torch.testing.assert_close(objective(*a_case(WANTED)), 1 - expected)
    assert looked == [(2, 2, 2, 1, 2)]


def test_only_the_object_counts_that_a_sentence_is_about():
    """The block is at (3, 0) and then at (3, 3); the agent is nearer to (1, 1) throughout."""
    language = Named()
    language.log_scale.data.fill_(9.0)  # certain which object is meant
    objective = SentenceGoal().reading(language, Wide(proprio_dim=0))
    tokens = torch.tensor([[[1.5, 0.0], [0.0, 0.5]], [[1.5, 1.5], [0.5, 0.5]]])[None, None]
    goal = Goal(torch.zeros(1, 2, 2), torch.zeros(1, 0), torch.zeros(1, 0), objective.read(BOTH[:1]))
    cost = objective(Rollout(tokens, torch.zeros(1, 1, 2, 0)), ACTIONS[:1, :1], goal)
    torch.testing.assert_close(cost, torch.tensor([[5 / 8]]))


def test_gradients_reach_the_rollout():
    rollout, actions, goal = a_case(WANTED)
    tokens = rollout.tokens_BHSD.clone().requires_grad_()
    objective = SentenceGoal().reading(ByHand(), Wide(proprio_dim=0))
    objective(rollout._replace(tokens_BHSD=tokens), actions, goal).sum().backward()
    assert tokens.grad[:, 1, 1].abs().sum() > 0


def test_without_a_sentence_it_is_refused_and_in_a_sum_it_reads():
    objective = SentenceGoal().reading(ByHand(), Wide(proprio_dim=0))
    with pytest.raises(UserError, match="no sentence to aim at; give --goal_text"):
        objective(*a_case(None))
    both = WeightedSum([ActionCost(), SentenceGoal().reading(Named(), Wide(proprio_dim=0))])
    assert torch.equal(both.read(BOTH), WANTED) and ActionCost().read(BOTH) is None
    with pytest.raises(ValueError, match="by is words, expected token or text"):
        SentenceGoal(by="words")


def test_parts_of_a_sum_read_with_one_language_model():
    """A goal holds what one model makes of a sentence."""
    one, other = Named(), Named()
    other.read = lambda sentences: one.read(sentences).flip(1)
    parts = [SentenceGoal(by=by).reading(language, Wide()) for by, language in (("token", one), ("text", other))]
    with pytest.raises(UserError, match="the parts of WeightedSum read sentences with different language models; give"):
        WeightedSum(parts).read(BOTH)
    other.read = lambda sentences: torch.ones(len(sentences), 3)
    with pytest.raises(UserError, match="different language models"):
        WeightedSum(parts).read(BOTH)
    assert torch.equal(WeightedSum([parts[0], parts[0]]).read(BOTH), WANTED)


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
