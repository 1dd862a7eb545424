"""Where plain slots begin."""

import pytest
import torch

from cjepa.tokenizers.baselines.initialisers import ConditionedSlots, GaussianSlots, LearnedSlots
from cjepa.tokenizers.hints import hints_from_labels

SLOTS, DIM = 3, 8


@torch.no_grad()
def test_learned_slots_are_the_same_for_every_clip():
    slots = LearnedSlots(SLOTS, DIM)(2)
    assert slots.shape == (2, SLOTS, DIM) and torch.equal(slots[0], slots[1])
    assert (slots[0, 0] - slots[0, 1]).abs().max() > 1e-3


@torch.no_grad()
def test_random_slots_are_fixed_in_eval_mode_only():
    initialiser = GaussianSlots(SLOTS, DIM)
    first, second = initialiser(2), initialiser(2)
    assert not torch.equal(first, second) and not torch.equal(first[0], first[1])
    initialiser.eval()
    fixed = initialiser(2)
    assert torch.equal(fixed, initialiser(2)) and torch.equal(fixed[0], fixed[1])
    assert (fixed[0, 0] - fixed[0, 1]).abs().max() > 1e-3  # equal slots would stay equal


@torch.no_grad()
def test_random_slots_go_on_where_a_checkpoint_left_them():
    trained, resumed = GaussianSlots(SLOTS, DIM), GaussianSlots(SLOTS, DIM)
    trained(2)
    resumed.load_state_dict(trained.state_dict())
    torch.manual_seed(123)  # whatever else is drawn in between
    assert torch.equal(trained(2), resumed(2))


def test_processes_draw_apart(monkeypatch):
    def drawn(rank: int) -> list[torch.Tensor]:
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
        initialiser = GaussianSlots(SLOTS, DIM)
        return [initialiser(1) for _ in range(2)]

    found = [*drawn(rank=0), *drawn(rank=1)]
    assert not any(torch.equal(found[i], found[j]) for i in range(4) for j in range(i))
    monkeypatch.undo()
    assert torch.equal(GaussianSlots(SLOTS, DIM)(1), found[0])


@torch.no_grad()
def test_random_slots_have_the_learned_mean_and_spread():
    initialiser = GaussianSlots(2, 2)
    initialiser.mean_D.copy_(torch.tensor([1.0, -2.0]))
    initialiser.log_std_D.copy_(torch.tensor([0.5, 3.0]).log())
    slots = initialiser(20_000).flatten(0, 1)
    torch.testing.assert_close(slots.mean(dim=0), initialiser.mean_D, atol=0.06, rtol=0)
    torch.testing.assert_close(slots.std(dim=0), torch.tensor([0.5, 3.0]), atol=0, rtol=0.03)


@torch.no_grad()
def test_swapped_hints_swap_the_slots():
    initialiser = ConditionedSlots(SLOTS, DIM)
    hints = torch.tensor([[[torch.nan, torch.nan], [0.5, -0.5], [0.0, 0.25]]])
    slots, swapped = initialiser(1, hints), initialiser(1, hints[:, [0, 2, 1]])
    torch.testing.assert_close(swapped, slots[:, [0, 2, 1]])
    assert (slots[0, 1] - slots[0, 2]).abs().max() > 1e-3


@torch.no_grad()
def test_slots_without_a_hint_are_learned():
    initialiser = ConditionedSlots(SLOTS, DIM)
    hints = torch.full((2, SLOTS, 2), torch.nan)
    assert torch.equal(initialiser(2, hints), initialiser(2)) and torch.isfinite(initialiser(2)).all()
    assert torch.equal(initialiser(2)[0], initialiser.unhinted_SD)


def test_missing_hints_give_finite_gradients():
    initialiser = ConditionedSlots(SLOTS, DIM)
    hints = torch.tensor([[[torch.nan, torch.nan], [0.5, -0.5], [torch.nan, torch.nan]]])
    initialiser(1, hints).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in initialiser.parameters())


def test_other_hints_are_refused():
    with pytest.raises(ValueError, match="hint_dim.*not 3"):
        ConditionedSlots(SLOTS, DIM, hint_dim=3)


@pytest.fixture
def labels() -> torch.Tensor:
    labels = torch.zeros(2, 4, 8, dtype=torch.uint8)
    labels[0, 0, 6:] = 1  # the upper right corner, 2 of 8 pixels wide and 1 of 4 high
    labels[0, 2:, 0] = 2
    labels[0, 1, 1] = 7  # there is no slot for it
    return labels


def test_centres_by_hand(labels):
    hints = hints_from_labels(labels, num_slots=4, hint_dim=2)
    assert hints[0, 1:3].tolist() == [[0.75, -0.75], [-0.875, 0.5]]
    assert hints[0, [0, 3]].isnan().all() and hints[1].isnan().all()


def test_boxes_by_hand(labels):
    hints = hints_from_labels(labels, num_slots=4, hint_dim=4)
    assert hints[0, 1:3].tolist() == [[0.5, -1.0, 1.0, -0.5], [-1.0, 0.0, -0.75, 1.0]]
    assert hints[0, [0, 3]].isnan().all() and hints[1].isnan().all()
