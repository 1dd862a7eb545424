"""Losses that tokenizers share, worked out by hand."""

import math

import pytest
import torch

from cjepa.tokenizers.slots.losses import slot_contrast

ONE, OTHER = [1.0, 0.0], [0.0, 1.0]
ALL_USED = torch.ones(1, 2, 2, dtype=torch.bool)
SAME = math.log(1 + math.exp(-10))  # cosines of 1 and 0, at a temperature of 0.1


def loss_of(content_BTSC: list, used_BTS: torch.Tensor = ALL_USED) -> float:
    return float(slot_contrast(torch.tensor(content_BTSC), used_BTS))


def test_contrast_by_hand():
    assert loss_of([[[ONE, OTHER], [ONE, OTHER]]]) == pytest.approx(SAME, rel=1e-3)
    assert loss_of([[[ONE, OTHER], [OTHER, ONE]]]) == pytest.approx(10 + SAME)
    assert loss_of([[[ONE, ONE], [ONE, ONE]]]) == pytest.approx(math.log(2))  # nothing tells them apart
    assert loss_of([[[ONE, OTHER], [[5.0, 0.0], [0.0, 0.1]]]]) == pytest.approx(SAME, rel=1e-3)  # cosine: no lengths


def test_contrast_is_with_all_slots_of_the_batch():
    used = torch.ones(2, 2, 1, dtype=torch.bool)
    assert loss_of([[[ONE], [ONE]], [[OTHER], [OTHER]]], used) == pytest.approx(SAME, rel=1e-3)
    assert loss_of([[[ONE], [ONE]], [[ONE], [ONE]]], used) == pytest.approx(math.log(2))


def test_contrast_is_with_the_next_frame_only():
    used = torch.ones(1, 3, 2, dtype=torch.bool)
    swapped_once = [[[ONE, OTHER], [OTHER, ONE], [OTHER, ONE]]]
    assert loss_of(swapped_once, used) == pytest.approx((10 + SAME + SAME) / 2)


def test_contrast_leaves_empty_slots_out():
    swapped = [[[ONE, OTHER], [OTHER, ONE]]]
    for t in (0, 1):  # empty before or after: no pair either way
        used = ALL_USED.clone()
        used[0, t, 1] = False
        assert loss_of(swapped, used) == pytest.approx(0, abs=1e-6)  # the other has nobody to be confused with
    assert loss_of(swapped, torch.zeros_like(ALL_USED)) == 0
    assert loss_of([[[ONE, OTHER]]], ALL_USED[:, :1]) == 0  # one frame


def test_contrast_pulls_a_slot_towards_itself():
    generator = torch.Generator().manual_seed(0)
    content = torch.randn(2, 3, 4, 8, generator=generator).requires_grad_()
    before = slot_contrast(content, torch.ones(2, 3, 4, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(before, content)
    after = slot_contrast(content - 0.1 * gradient, torch.ones(2, 3, 4, dtype=torch.bool))
    assert after < before and gradient.abs().amax(dim=-1).min() > 0
