"""Queries without competition."""

import pytest
import torch

from cjepa.tokenizers.baselines.queries import QueryAttention, QueryTokenizer
from cjepa.tokenizers.grid import cell_centres
from cjepa.tokenizers.slots.slot_attention import Frame, InvariantSlotAttention, SlotState
from cjepa.tokenizers.slots.starts import LearnedStart
from cjepa.tokenizers.slots.tokenizer import SlotTokenizer
from tests.contracts import stirred

SLOTS, WIDTH, SIDE = 3, 8, 4


@pytest.fixture
def attention() -> QueryAttention:
    torch.manual_seed(0)
    return stirred(QueryAttention(WIDTH, WIDTH))


@pytest.fixture(scope="module")
def looked() -> tuple[torch.Tensor, Frame]:
    """Hidden features, and the frame that they are of."""
    generator = torch.Generator().manual_seed(1)
    hidden, hues = torch.randn(2, SIDE**2, WIDTH, generator=generator), torch.rand(2, SIDE**2, 3, generator=generator)
    salience, places = torch.rand(2, SIDE**2, generator=generator), cell_centres(SIDE).expand(2, -1, -1)
    return hidden, Frame(hidden, hues, salience, places)


@pytest.fixture
def guess() -> SlotState:
    content = torch.randn(2, SLOTS, WIDTH, generator=torch.Generator().manual_seed(2))
    ones = torch.ones(2, SLOTS, 1)
    return SlotState(
        content,
        *(0 * ones.expand(-1, -1, 2), 0.5 * ones),
        torch.zeros(2, SLOTS, 2),
        torch.zeros(2, SLOTS, 3),
        ones,
        ones,
    )


@torch.no_grad()
def test_a_query_does_not_know_of_the_others(attention, looked, guess):
    """With slot attention, taking two slots away would leave all cells to the third."""
    together, _ = attention(*looked, guess, iterations=2)
    alone, _ = attention(*looked, SlotState(*(values[:, :1] for values in guess)), iterations=2)
    for first, second in zip(together, alone, strict=True):
        torch.testing.assert_close(first[:, :1], second, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_weights_are_a_softmax_over_cells_in_view_by_hand(looked, guess):
    attention = QueryAttention(WIDTH, WIDTH)
    attention.to_query.weight.zero_()  # every query is indifferent: weights are the salience
    state, weights = attention(*looked, guess, iterations=1)
    salience, places = looked[1].salience_BL + 1e-4, looked[1].places_BL2
    mean = (salience[..., None] * places).sum(dim=1) / salience.sum(dim=1, keepdim=True)
    torch.testing.assert_close(state.position_BS2, mean[:, None].expand(-1, SLOTS, -1), atol=1e-3, rtol=1e-3)
    assert weights.eq(1).all()  # who attends to a cell does not keep others from it


@torch.no_grad()
def test_attention_is_relative_to_the_best_cell(attention, looked, guess):
    _, weights = attention(*looked, guess, iterations=1)
    torch.testing.assert_close(weights.amax(dim=2), torch.ones(2, SLOTS))
    assert weights.min() >= 0 and not torch.allclose(weights.sum(dim=1), torch.ones(2, SIDE**2))


@torch.no_grad()
def test_a_frame_without_foreground_is_finite(attention, looked, guess):
    hidden, frame = looked
    nothing = frame._replace(hues_BL3=0 * frame.hues_BL3, salience_BL=0 * frame.salience_BL)
    state, weights = attention(hidden, nothing, guess, iterations=2)
    assert all(torch.isfinite(values).all() for values in (*state, weights))


@torch.no_grad()
def test_places_are_seen_as_by_slot_attention(looked, guess):
    seen = []
    for attention in (QueryAttention(WIDTH, WIDTH), InvariantSlotAttention(WIDTH, WIDTH)):
        attention.relative_to_hidden.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        attention(*looked, guess, iterations=1)
    assert torch.equal(*seen)


def test_the_attention_is_the_only_part_that_differs():
    ours, theirs = QueryTokenizer(LearnedStart(2, 32)), SlotTokenizer(LearnedStart(2, 32))
    sizes = {name: value.shape for name, value in ours.state_dict().items()}
    assert sizes == {name: value.shape for name, value in theirs.state_dict().items()}
    kinds = {name: type(module) for name, module in theirs.named_modules() if name}
    assert [name for name, module in ours.named_modules() if name and kinds[name] is not type(module)] == ["attention"]


@torch.no_grad()
def test_pixels_that_several_want_are_shared():
    torch.manual_seed(0)
    tokenizer = QueryTokenizer(LearnedStart(2, 32)).eval()
    tokenizer.foreground.background_3YX.zero_()
    pixels = torch.zeros(1, 1, 3, 64, 64)
    pixels[..., 16:24, 16:24] = 1.0
    tokenizer.attention.to_query.weight.zero_()
    masks = tokenizer.encode(pixels).masks_BTSYX[0, 0]
    torch.testing.assert_close(masks[:, 16:24, 16:24], torch.full((2, 8, 8), 0.5))
    assert masks[:, 32:].max() == 0
