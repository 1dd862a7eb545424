"""Slots to frames and features."""

import pytest
import torch

from cjepa.tokenizers.baselines.decoders import AllocationBlock, PositionEmbedding, SlotMixer, SpatialBroadcastDecoder
from tests.contracts import stirred

SLOTS, DIM, CELLS, OUT = 3, 8, 9, 5


@pytest.fixture
def slots() -> torch.Tensor:
    return torch.randn(2, SLOTS, DIM, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def broadcast() -> SpatialBroadcastDecoder:
    torch.manual_seed(0)
    return stirred(SpatialBroadcastDecoder(DIM, channels=6, image_size=32))


@pytest.fixture
def mixer() -> SlotMixer:
    torch.manual_seed(0)
    return stirred(SlotMixer(DIM, CELLS, OUT, num_blocks=2, num_heads=2, render_dim=16))


@torch.no_grad()
def test_slots_share_every_pixel(broadcast, slots):
    frames, masks = broadcast(slots)
    assert frames.shape == (2, 3, 32, 32) and masks.shape == (2, SLOTS, 32, 32)
    torch.testing.assert_close(masks.sum(dim=1), torch.ones(2, 32, 32))
    assert masks.std(dim=(2, 3)).min() > 1e-3  # a slot is not the same everywhere: it knows where it draws


@torch.no_grad()
def test_a_lone_slot_is_the_frame_and_equal_slots_share_it(broadcast, slots):
    alone, mask = broadcast(slots[:, :1])
    assert mask.eq(1).all()
    frames, masks = broadcast(slots[:, :1].expand(-1, 2, -1))
    torch.testing.assert_close(frames, alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(masks, torch.full_like(masks, 0.5))


@torch.no_grad()
def test_the_order_of_slots_does_not_matter_to_the_frame(broadcast, slots):
    frames, masks = broadcast(slots)
    moved, moved_masks = broadcast(slots[:, [2, 0, 1]])
    torch.testing.assert_close(moved, frames, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(moved_masks, masks[:, [2, 0, 1]], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [4, 60, 96])
def test_frames_of_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match=f"not {size}"):
        SpatialBroadcastDecoder(DIM, channels=6, image_size=size)


@torch.no_grad()
def test_positions_by_hand():
    embedding = PositionEmbedding(1, side=2)
    embedding.project.weight.copy_(torch.tensor([1.0, 10.0])[None, :, None, None])
    embedding.project.bias.fill_(100.0)
    assert embedding(torch.zeros(1, 1, 2, 2))[0, 0].tolist() == [[94.5, 95.5], [104.5, 105.5]]


@torch.no_grad()
def test_mixing_weights_sum_to_one_over_slots(mixer, slots):
    rendered, weights = mixer(slots)
    assert rendered.shape == (2, CELLS, OUT) and weights.shape == (2, SLOTS, CELLS)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, CELLS))
    assert torch.equal(weights, mixer.mixing_weights(slots))
    assert weights.std(dim=2).min() > 1e-4  # cells differ in what they are made of


@torch.no_grad()
def test_a_cell_is_rendered_from_its_mixture_and_place_alone(mixer, slots):
    rendered, weights = mixer(slots)
    cell = weights[1, :, 4] @ slots[1] + mixer.cells_LD[4]
    torch.testing.assert_close(rendered[1, 4], mixer.render(cell), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_order_of_slots_does_not_matter_to_what_is_rendered(mixer, slots):
    rendered, weights = mixer(slots)
    moved, moved_weights = mixer(slots[:, [1, 2, 0]])
    torch.testing.assert_close(moved, rendered, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(moved_weights, weights[:, [1, 2, 0]], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_cells_do_not_see_each_other_in_the_allocation(slots):
    torch.manual_seed(0)
    block = stirred(AllocationBlock(DIM, num_heads=2))
    cells = torch.randn(2, CELLS, DIM)
    changed = cells.clone()
    changed[:, 0] += 1.0
    difference = (block(changed, slots) - block(cells, slots)).abs().amax(dim=(0, 2))
    assert difference[0] > 1e-3 and difference[1:].max() == 0
