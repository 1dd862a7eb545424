"""VL-JEPA on object tokens: its losses by hand, and that it learns sentences that it was not trained on."""

import math

import pytest
import torch
from torch import nn

from cjepa.envs.sentences import Statement
from cjepa.errors import UserError
from cjepa.evaluation.language import _right, scores
from cjepa.language.frames import ToldFrames, true_of
from cjepa.language.model import LanguageModel
from cjepa.language.training import LanguageTraining, spoken

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
STATEMENTS = [Statement("block", region) for region in ("left", "right", "upper", "lower")]


class ByHand(LanguageModel):
    """Texts are rows of the identity, objects are their tokens; every sentence wants tokens of 1 with deviation 2."""

    def __init__(self):
        super().__init__(2, dim=2, hidden_dim=4)
        self.predictor = nn.Identity()
        self.log_scale = nn.Parameter(torch.tensor(0.0))

    def read(self, sentences):
        return torch.eye(2)

    def goal(self, text_LW):
        return torch.ones_like(text_LW), torch.full_like(text_LW, 2.0)


def module_of(language: LanguageModel) -> LanguageTraining:
    module = LanguageTraining(language)
    module.statements = STATEMENTS
    return module


def test_infonce_by_hand():
    """The best object of frame 0 fits sentence 0 by 1 and sentence 1 by 0; those of frame 1 fit both by 0.6 and 0.8."""
    tokens = torch.tensor([[[5.0, 0.0], [-1.0, 0.0]], [[3.0, 4.0], [3.0, 4.0]]])
    only_own = torch.eye(2, dtype=torch.bool)
    fit = [[1.0, 0.0], [0.6, 0.8]]
    rows = [math.log(sum(map(math.exp, row))) for row in fit]
    columns = [math.log(math.exp(1.0) + math.exp(0.6)), math.log(math.exp(0.0) + math.exp(0.8))]
    expected = ((rows[0] - 1.0 + rows[1] - 0.8) / 2 + (columns[0] - 1.0 + columns[1] - 0.8) / 2) / 2
    found = module_of(ByHand()).terms_of(tokens, ["", ""], only_own)["text"]
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_sentences_of_others_that_are_true_too_are_no_mistakes():
    tokens = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    both_true = torch.ones(2, 2, dtype=torch.bool)
    assert module_of(ByHand()).terms_of(tokens, ["", ""], both_true)["text"].item() == 0.0


def test_the_likelihood_of_goals_by_hand():
    """One object is at the mean, the other two deviations off in one value, and fits the sentence less."""
    tokens, text = torch.tensor([[[1.0, 1.0], [5.0, 1.0]]]), torch.ones(1, 2)
    squared, deviations = ByHand().goal_errors(tokens, text)
    assert squared.tolist() == [[0.0, 4.0]] and deviations.item() == pytest.approx(2 * math.log(2))
    language = ByHand()
    language.read = lambda sentences: text
    fit = [math.exp(2 / 2**0.5), math.exp(6 / 26**0.5)]
    expected = (2 * math.log(2) + fit[1] / sum(fit) * 2) / 2
    found = module_of(language).terms_of(tokens, [""], torch.ones(1, 1, dtype=torch.bool))["goal"]
    assert found.item() == pytest.approx(expected)


def test_the_token_of_the_body_that_is_named_counts():
    """The body that fits is at (3, 0); another is where the sentence wants it."""
    language = ByHand()
    language.log_scale.data.fill_(9.0)
    frame = ToldFrames(torch.tensor([[[3.0, 0.0], [1.0, 1.0]]]), torch.ones(1, 1))
    found = scores(language, torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]), frame)
    assert found.flatten().tolist() == pytest.approx([0.5**0.5, -5 / 8 - 2 * math.log(2), 1.0])


def test_a_word_that_was_not_learned_is_refused():
    language = LanguageModel(2, dim=2, hidden_dim=4, words=["push", "block"])
    assert language.read(["Push block!", "block"]).shape == (2, 2)
    with pytest.raises(UserError, match="has not learned the word 'left'; train it again"):
        language.read(["push left"])
    with pytest.raises(UserError, match="empty"):
        language.read([" . "])


def test_it_learns_what_sentences_say_and_reads_those_that_were_held_out():
    """Tokens are places, one of the block and one of something else."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    module = module_of(LanguageModel(3, dim=16, hidden_dim=64))

    def frames(n: int) -> ToldFrames:
        tokens = torch.rand(n, 2, 3, generator=generator)
        tokens[..., 2] = torch.tensor([0.0, 1.0])
        true = true_of([{"block": place} for place in tokens[:, 0, :2].numpy()], STATEMENTS, (0.0, 1.0))
        keep = true.any(axis=1)
        return ToldFrames(tokens[keep], torch.from_numpy(true)[keep])

    optimizer = torch.optim.Adam(module.parameters(), 6e-3)
    for _ in range(60):
        terms = module.loss_terms(frames(64), generator)
        optimizer.zero_grad(), module.total(terms).backward(), optimizer.step()
    with torch.no_grad():
        batch = frames(400)
        sentences = [spoken(each, generator, held_out=True) for each in STATEMENTS]
        readings = module.language.read(sentences), module.language.read_bodies(sentences)
        *by, true = scores(module.language, *readings, batch).numpy().swapaxes(0, 1)
    for score_NK in by:
        right, frame = _right(score_NK, true.astype(bool), ["block"] * 4)
        assert len(right) == len(set(frame)) == len(batch.true_BK) and right.mean() > 0.9
