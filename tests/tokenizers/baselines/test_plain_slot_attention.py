"""Slot attention as published, and its recurrence."""

import pytest
import torch
from torch import nn

from cjepa.tokenizers.baselines.initialisers import ConditionedSlots, LearnedSlots
from cjepa.tokenizers.baselines.plain_slot_attention import RecurrentSlots, SlotAttention, attend, weighted_mean
from cjepa.tokenizers.grid import cell_centres
from tests.contracts import stirred

SLOTS, DIM, WIDTH = 3, 8, 5


@pytest.fixture
def attention() -> SlotAttention:
    torch.manual_seed(0)
    return stirred(SlotAttention(DIM, WIDTH))


@pytest.fixture
def features() -> torch.Tensor:
    return torch.rand(2, 16, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def slots() -> torch.Tensor:
    return torch.randn(2, SLOTS, DIM, generator=torch.Generator().manual_seed(2))


def test_slots_compete_for_each_cell_by_hand():
    query = torch.tensor([[[2.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]]])  # a width of 4: divided by 2
    key = torch.tensor([[[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0]]])
    first = torch.tensor([0.5, 1 / (1 + torch.e**-1), 1 / (1 + torch.e**3)])
    torch.testing.assert_close(attend(query, key), torch.stack([first, 1 - first])[None])


def test_weights_are_normalised_again_over_cells_by_hand():
    attention = torch.tensor([[[0.5, 0.25, 0.25], [0.5, 0.75, 0.75]]])
    value = torch.tensor([[[4.0], [8.0], [16.0]]])
    torch.testing.assert_close(weighted_mean(attention, value), torch.tensor([[[8.0], [10.0]]]))


def test_a_slot_that_wins_nothing_is_finite():
    assert weighted_mean(torch.zeros(1, 2, 3), torch.ones(1, 3, 1)).eq(0).all()


@torch.no_grad()
def test_one_iteration_is_the_published_one(attention, features, slots):
    found, weights = attention(features, slots, iterations=1)
    normed = attention.norm_features(features)
    expected = attend(attention.to_query(attention.norm_slots(slots)), attention.to_key(normed))
    torch.testing.assert_close(weights, expected)
    updates = weighted_mean(expected, attention.to_value(normed))
    state = attention.gru(updates[1, 2][None], slots[1, 2][None])  # the slot itself, not its norm, is the state
    torch.testing.assert_close(found[1, 2], state[0])


@torch.no_grad()
def test_slots_are_exchangeable(attention, features, slots):
    order = [2, 0, 1]
    found, weights = attention(features, slots, iterations=3)
    moved, moved_weights = attention(features, slots[:, order], iterations=3)
    torch.testing.assert_close(moved, found[:, order], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(moved_weights, weights[:, order], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_order_of_cells_does_not_matter(attention, features, slots):
    order = torch.randperm(16, generator=torch.Generator().manual_seed(3))
    found, weights = attention(features, slots, iterations=2)
    moved, moved_weights = attention(features[:, order], slots, iterations=2)
    torch.testing.assert_close(moved, found, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(moved_weights, weights[:, :, order], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_each_frame_begins_where_the_last_one_led(attention):
    torch.manual_seed(0)
    predictor = nn.Linear(DIM, DIM)
    recurrence = RecurrentSlots(LearnedSlots(SLOTS, DIM), predictor, WIDTH, iterations=3, later_iterations=1)
    features = torch.rand(2, 3, 16, WIDTH, generator=torch.Generator().manual_seed(4))
    slots, weights, predicted = recurrence(features)
    first, _ = recurrence.corrector(features[:, 0], recurrence.initialiser(2), 3)
    second, second_weights = recurrence.corrector(features[:, 1], predictor(first), 1)
    torch.testing.assert_close(slots[:, 0], first)
    torch.testing.assert_close(slots[:, 1], second)
    torch.testing.assert_close(weights[:, 1], second_weights)
    last, _ = recurrence.corrector(features[:, 2], predictor(second), 1)
    torch.testing.assert_close(predicted, predictor(last))


@torch.no_grad()
def test_a_hint_moves_its_slot_to_the_object():
    """With queries and keys that are the same function of a place, a slot owns the cells around its hint."""
    torch.manual_seed(0)
    width, side = 32, 8
    initialiser = ConditionedSlots(SLOTS, width)
    recurrence = RecurrentSlots(initialiser, nn.Identity(), width, iterations=1, later_iterations=1)
    corrector = recurrence.corrector
    for module in (corrector.to_query, corrector.to_key):
        module.weight.copy_(5 * torch.eye(width))
    initialiser.unhinted_SD.zero_()
    features = initialiser.mlp(cell_centres(side))[None, None]
    for cells in ((9, 54), (54, 9), (14, 49)):
        hints = torch.full((1, SLOTS, 2), torch.nan)
        hints[0, 1:] = cell_centres(side)[list(cells)]
        weights = recurrence(features, hints_BSH=hints).attention_BTSL
        assert weights[0, 0].argmax(dim=0)[list(cells)].tolist() == [1, 2]
