"""The network that reads tokens and words."""

import pytest
import torch
import yaml

from cjepa.questions.aloe import Aloe
from tests.conftest import EXPERIMENTS

SMALL = {"token_dim": 3, "slots": 2, "frames": 4, "vocabulary": 9, "answers": 5, "question_words": 6, "option_words": 3}
SMALL |= {"dim": 16, "depth": 2, "num_heads": 2, "mlp_dim": 16, "word_dim": 4, "dropout": 0.0}


@pytest.fixture
def reader() -> Aloe:
    torch.manual_seed(0)
    return Aloe(**SMALL).eval()


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tokens = torch.randn(2, 4, 2, 3, generator=torch.Generator().manual_seed(1))
    return tokens, torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([[6, 7], [8, 0]])


def test_the_published_size():
    """Of SlotFormer's ALOE: 12 layers of 144, FFN 512; 82 words of 14 with 2 flags; 7 slots of 128 in 25 frames."""
    config = yaml.safe_load((EXPERIMENTS / "collide" / "aloe_paper.yaml").read_text())
    reader = Aloe(**config["model"]["init_args"]["reader"]["init_args"])
    attention = 144 * 3 * 144 + 3 * 144 + 144 * 144 + 144
    layer = 2 * (144 + 144) + attention + 144 * 512 + 512 + 512 * 144 + 144
    inputs = 128 * 144 + 144 + 82 * 14 + (14 + 2) * 144 + 144
    places = (7 * 25 + 20 + 12 + 1) * 144 + 144  # and the summary itself
    heads = 2 * (144 * 128 + 128) + 128 * 22 + 22 + 128 * 1 + 1
    assert sum(values.numel() for values in reader.parameters()) == 12 * layer + inputs + places + heads == 2_878_851
    assert {block.num_heads for block in reader.blocks} == {8} and {block.dropout.p for block in reader.blocks} == {0.1}


def test_it_scores_all_answers_and_the_option(reader, inputs):
    answers_BC, option_B = reader(*inputs)
    assert answers_BC.shape == (2, 5) and option_B.shape == (2,)


def test_absent_words_are_not_read(reader, inputs):
    """Neither those within a batch's width nor those up to the longest text."""
    expected = reader(*inputs)
    with torch.no_grad():
        reader.embed_word.weight[0] += 100.0
    tokens, question, option = inputs
    wider = torch.nn.functional.pad(question, (0, 3)), torch.nn.functional.pad(option, (0, 1))
    for found in (reader(*inputs), reader(tokens, *wider)):
        torch.testing.assert_close(found, expected)


def test_a_word_of_the_question_is_not_one_of_the_option(reader, inputs):
    tokens, question, option = inputs
    with torch.no_grad():
        reader.place_of_word.zero_()
    swapped = reader(tokens, option, question)
    assert not torch.allclose(swapped[1], reader(tokens, question, option)[1], atol=1e-4)


def test_every_frame_of_every_slot_and_every_word_is_read(reader, inputs):
    tokens, question, option = inputs
    tokens.requires_grad_()
    answers_BC, option_B = reader(tokens, question, option)
    (gradient,) = torch.autograd.grad(answers_BC.sum() + option_B.sum(), tokens)
    assert bool((gradient.abs().sum(dim=-1) > 0).all())
    for changed in (question + (question == 3), question + (question == 1)):
        assert not torch.allclose(reader(tokens, changed, option)[0], answers_BC, atol=1e-5)


def test_joined_frames_are_successive_ones_of_a_slot():
    """An entry holds two frames of one slot: with the first one's weights alone the second one is not read."""
    reader = Aloe(**SMALL | {"joined_frames": 2}).eval()
    with torch.no_grad():
        reader.embed_token.weight[:, 3:] = 0.0
    tokens, word = torch.randn(1, 4, 2, 3), torch.ones(1, 1, dtype=torch.long)
    tokens.requires_grad_()
    (gradient,) = torch.autograd.grad(reader(tokens, word, word)[0].sum(), tokens)
    assert (gradient.abs().sum(dim=(2, 3))[0] > 0).tolist() == [True, False, True, False]
    with pytest.raises(ValueError, match="joined_frames is 3, which does not divide frames 4"):
        Aloe(**SMALL | {"joined_frames": 3})


def test_heads_that_do_not_divide_the_width():
    with pytest.raises(ValueError, match="num_heads is 3, which does not divide dim 16"):
        Aloe(**SMALL | {"num_heads": 3})
