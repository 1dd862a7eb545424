"""Slot attention in frames of the slots' own."""

import pytest
import torch

from cjepa.tokenizers.grid import cell_centres
from cjepa.tokenizers.slots.slot_attention import Frame, InvariantSlotAttention, SlotState, moments
from tests.contracts import stirred

GRID, SLOTS, WIDTH = 8, 3, 16
GRID_L2 = cell_centres(GRID)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def attention() -> InvariantSlotAttention:
    torch.manual_seed(0)
    return stirred(InvariantSlotAttention(WIDTH, WIDTH)).eval()


def a_guess(memory: tuple[float, ...] = (1.0, 1.0, 1.0)) -> SlotState:
    position = torch.tensor([[[-0.5, 0.25], [0.5, 0.25], [0.0, -0.5]]])
    one = torch.ones(1, SLOTS, 1)
    hue = torch.nn.functional.normalize(drawn(1, SLOTS, 3, seed=1), dim=-1)
    known = torch.tensor(memory)[None, :, None]
    return SlotState(drawn(1, SLOTS, WIDTH, seed=2), position, 0.3 * one, 0 * position, hue, one, known)


@torch.no_grad()
def looked(attention, guess, features, salience) -> tuple[SlotState, torch.Tensor]:
    hues = torch.nn.functional.normalize(drawn(1, GRID**2, 3, seed=3), dim=-1)
    frame = Frame(features, hues, salience, GRID_L2[None])
    return attention(attention.hidden(features), frame, guess, 2)


def test_slots_compete_and_those_without_an_object_own_nothing(attention):
    features, salience = drawn(1, GRID**2, WIDTH), torch.ones(1, GRID**2)
    state, owner = looked(attention, a_guess(memory=(1.0, 0.0, 0.4)), features, salience)
    torch.testing.assert_close(owner.sum(dim=1), torch.ones(1, GRID**2))
    assert owner[0, 1].max() < 1e-6 and owner[0, [0, 2]].min() > 0
    assert state.seen_BS1.flatten().tolist() == pytest.approx([1, 0, 1], abs=1e-3)
    assert state.memory_BS1.flatten().tolist() == pytest.approx([1, 0, 1], abs=1e-3)


def test_a_slot_is_where_what_it_owns_is(attention):
    features, salience = drawn(1, GRID**2, WIDTH), torch.rand(1, GRID**2, generator=torch.Generator().manual_seed(4))
    state, owner = looked(attention, a_guess(), features, salience)
    weight = (owner * salience[:, None])[0, 1]
    weight = weight / weight.sum()
    expected = (weight[:, None] * GRID_L2).sum(dim=0)
    torch.testing.assert_close(state.position_BS2[0, 1], expected, atol=1e-3, rtol=0)
    spread = (weight[:, None] * (GRID_L2 - expected).square()).sum(dim=0).mean().sqrt()
    torch.testing.assert_close(state.scale_BS1[0, 1, 0], spread, atol=1e-3, rtol=0)


def test_slots_that_see_nothing_keep_what_they_knew(attention):
    guess = a_guess(memory=(0.8, 0.5, 0.0))
    state, _ = looked(attention, guess, drawn(1, GRID**2, WIDTH), torch.zeros(1, GRID**2))
    assert state.seen_BS1.eq(0).all()
    for name in set(SlotState._fields) - {"seen_BS1"}:
        torch.testing.assert_close(getattr(state, name), getattr(guess, name))


def test_what_is_seen_does_not_depend_on_where(attention):
    """The frame moves by two cells, and every slot with it: same content and size, elsewhere."""
    inner = torch.zeros(GRID, GRID, dtype=torch.bool)
    inner[1:5, 1:5] = True
    features = drawn(1, GRID, GRID, WIDTH) * inner[..., None]
    shift = torch.tensor([2 * 2 / GRID, 2 * 2 / GRID])
    guess = a_guess()
    moved = guess._replace(position_BS2=guess.position_BS2 + shift)
    rolled = [values.roll((2, 2), dims=(-2, -1)) for values in (inner, features.movedim(-1, 1))]
    here, _ = looked(attention, guess, features.flatten(1, 2), inner.float().flatten()[None])
    there, _ = looked(attention, moved, rolled[1].movedim(1, -1).flatten(1, 2), rolled[0].float().flatten()[None])
    torch.testing.assert_close(there.content_BSK, here.content_BSK, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(there.scale_BS1, here.scale_BS1, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(there.position_BS2, here.position_BS2 + shift, atol=1e-4, rtol=1e-4)


def test_the_order_of_slots_does_not_matter(attention):
    features, salience, order = drawn(1, GRID**2, WIDTH), torch.ones(1, GRID**2), [2, 0, 1]
    guess = a_guess()
    reordered = SlotState(*(values[:, order] for values in guess))
    first, second = (looked(attention, state, features, salience)[0] for state in (guess, reordered))
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one[:, order], other, atol=1e-5, rtol=1e-5)


def test_moments_by_hand():
    weights = torch.zeros(1, 3, 4)
    weights[0, 0] = torch.tensor([1.0, 1.0, 0.0, 0.0])  # the upper row of two by two cells
    weights[0, 1] = torch.tensor([0.0, 0.0, 0.0, 2.0])
    position, scale = moments(weights, cell_centres(2)[None])
    torch.testing.assert_close(position[0], torch.tensor([[0.0, -0.5], [0.5, 0.5], [0.0, 0.0]]), atol=1e-3, rtol=0)
    # half a unit along x, none along y; a single cell has the smallest size there is, and nothing too
    torch.testing.assert_close(scale[0, :, 0], torch.tensor([(0.25 / 2) ** 0.5, 0.05, 0.05]), atol=1e-3, rtol=0)


def test_motion_by_hand():
    """Seen slots: the difference; new, unseen and seeded ones: what the guess said."""
    before, guess = a_guess(memory=(1.0, 1.0, 1.0)), a_guess(memory=(0.8, 0.8, 1.0))
    found = guess._replace(
        position_BS2=before.position_BS2 + torch.tensor([0.1, -0.2]),
        motion_BS2=torch.full((1, SLOTS, 2), 0.5),
        seen_BS1=torch.tensor([[[1.0], [0.0], [1.0]]]),
    )
    motion = found.moved_from(before, guess).motion_BS2
    torch.testing.assert_close(motion[0], torch.tensor([[0.1, -0.2], [0.5, 0.5], [0.5, 0.5]]))
    never = before._replace(memory_BS1=torch.zeros(1, SLOTS, 1))
    assert torch.equal(found.moved_from(never, guess).motion_BS2, found.motion_BS2)
