import pytest
import torch

from cjepa.world_models.masks import Mask, ObjectMask, TokenMask, TubeMask
from tests.contracts import concrete_subclasses

CONTRACT = pytest.mark.parametrize(
    "cls", concrete_subclasses("cjepa.world_models", Mask), ids=lambda cls: getattr(cls, "__name__", None)
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@CONTRACT
@pytest.mark.parametrize("blocks", [1, 2, 3, 7])
@pytest.mark.parametrize("num_masked", [0, 1, 3, 4])
def test_contract_shape_anchor_and_budget(cls, blocks, num_masked):
    mask_BTS = cls(num_masked).sample(16, blocks, 4, seeded())
    assert mask_BTS.shape == (16, blocks, 4) and mask_BTS.dtype == torch.bool
    assert not mask_BTS[:, 0].any()
    assert (mask_BTS.sum(dim=(1, 2)) == num_masked * (blocks - 1)).all()


@CONTRACT
def test_contract_the_generator_decides(cls):
    draw = cls(2).sample(32, 4, 5, seeded(1))
    assert torch.equal(draw, cls(2).sample(32, 4, 5, seeded(1)))
    assert not torch.equal(draw, cls(2).sample(32, 4, 5, seeded(2)))
    mask, generator = cls(2), seeded(1)
    first, second = mask.sample(32, 4, 5, generator), mask.sample(32, 4, 5, generator)
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    mask.sample(32, 4, 5, generator)
    assert torch.equal(before, torch.get_rng_state())  # the global generator is not touched


@CONTRACT
def test_contract_every_cell_is_reached_and_equally_often(cls):
    mask_BTS = cls(2).sample(4000, 4, 5, seeded())
    torch.testing.assert_close(mask_BTS[:, 1:].float().mean(dim=0), torch.full((3, 5), 2 / 5), atol=0.04, rtol=0)


@CONTRACT
def test_contract_samples_differ(cls):
    mask_BTS = cls(2).sample(64, 4, 5, seeded())
    assert len(mask_BTS.flatten(1).unique(dim=0)) > 5


@CONTRACT
@pytest.mark.parametrize("num_masked", [5, -1])
def test_contract_more_than_there_is(cls, num_masked):
    with pytest.raises(ValueError, match=f"{num_masked}.*4"):
        cls(num_masked).sample(2, 3, 4, seeded())


def test_objects_are_hidden_whole():
    mask_BTS = ObjectMask(2).sample(100, 5, 4, seeded())
    assert (mask_BTS[:, 1:] == mask_BTS[:, 1:2]).all()
    assert len(mask_BTS[:, 1].unique(dim=0)) == 6  # all pairs of four


@CONTRACT
def test_contract_drawn_counts_are_the_same_budget_for_every_mask(cls):
    cells = cls(3, random_count=True).sample(4000, 4, 5, seeded()).sum(dim=(1, 2))
    assert (cells % 3 == 0).all()  # whole objects' worth of the three maskable blocks
    torch.testing.assert_close((cells // 3).bincount() / 4000, torch.full((4,), 0.25), atol=0.03, rtol=0)
    assert cells.float().mean().item() == pytest.approx(3 * 3 / 2, rel=0.03)  # half of what a fixed count hides


@CONTRACT
@pytest.mark.parametrize("random_count", [False, True])
def test_contract_one_draw_for_the_batch(cls, random_count):
    mask, generator = cls(2, random_count, shared_in_batch=True), seeded()
    draws = [mask.sample(8, 3, 4, generator) for _ in range(10)]
    assert all((draw == draw[:1]).all() for draw in draws)
    assert len(torch.stack(draws)[:, 0].flatten(1).unique(dim=0)) > 1


def test_tubes_are_contiguous_and_token_masks_are_not():
    def pieces(mask_BTS):  # runs of hidden cells, slot after slot
        cells = mask_BTS[:, 1:].transpose(1, 2).flatten(1).int()
        return 1 + (cells.diff(dim=1) == 1).sum(dim=1) - (cells[:, 0] == 0).int()

    tubes, cells = (cls(1).sample(500, 9, 4, seeded()) for cls in (TubeMask, TokenMask))
    assert pieces(tubes).max() <= 2  # one, or two where the tube runs over the end
    assert (pieces(tubes) == 1).float().mean() > 0.6
    assert pieces(cells).float().mean() > 3
    assert set(tubes.any(dim=1).sum(dim=1).tolist()) == {1, 2}  # slots: tubes begin anywhere
