"""What a JEPA sees and what it predicts."""

import pytest
import torch

from cjepa.tokenizers.jepa.masks import image_view, tube_views


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def is_block(index_M: torch.Tensor, side: int) -> bool:
    rows, columns = index_M // side, index_M % side
    height, width = (int(part.max() - part.min()) + 1 for part in (rows, columns))
    return height * width == len(index_M.unique()) == len(index_M)


@pytest.mark.parametrize("side", [4, 8, 16])
def test_targets_of_an_image_never_overlap_its_context(side):
    for seed in range(20):
        context_BK, targets_BGM = image_view(16, side, generator(seed))
        assert context_BK.shape[1] >= side**2 // 16 and targets_BGM.shape[:2] == (16, 4)
        for context_K, targets_GM in zip(context_BK.tolist(), targets_BGM, strict=True):
            assert len(set(context_K)) == len(context_K) and not set(context_K) & set(targets_GM.flatten().tolist())
            assert all(is_block(target_M, side) for target_M in targets_GM)


def test_shares_of_the_frame():
    """Targets cover 15 to 20 % each; rounding makes up to a row more of it."""
    for seed in range(20):
        view = image_view(2, 14, generator(seed))
        assert 0.12 < view.targets_BGM.shape[2] / 14**2 < 0.24


def test_places_differ_between_images_and_between_draws():
    first, again, other = (image_view(4, 8, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.targets_BGM, again.targets_BGM) and torch.equal(first.context_BK, again.context_BK)
    assert first.targets_BGM.shape != other.targets_BGM.shape or not torch.equal(first.targets_BGM, other.targets_BGM)
    assert len({tuple(targets.flatten().tolist()) for targets in first.targets_BGM}) == 4


def test_every_patch_is_a_target_at_times_and_context_at_others():
    views = [image_view(64, 8, generator(seed)) for seed in range(10)]
    for part in ("context_BK", "targets_BGM"):
        counts = torch.bincount(torch.cat([getattr(view, part).flatten() for view in views]), minlength=64)
        assert counts.min() > 0, part


@pytest.mark.parametrize("times", [1, 3])
def test_tubes_hide_the_same_places_at_all_times(times):
    for seed in range(20):
        short, long = tube_views(8, times, 8, generator(seed))
        assert short.targets_BGM.shape[2] < long.targets_BGM.shape[2]
        for context_BK, targets_BGM in (short, long):
            assert targets_BGM.shape[1] == 1 and context_BK.shape[1] >= 4 * times
            for index_BN in (context_BK, targets_BGM[:, 0]):
                places = (index_BN % 64).unflatten(1, (times, -1))
                assert (places == places[:, :1]).all()
                assert ((index_BN // 64).unflatten(1, (times, -1)) == torch.arange(times)[:, None]).all()
            hidden = torch.zeros(8, 64 * times, dtype=torch.bool).scatter(1, targets_BGM[:, 0], True)
            assert not hidden.gather(1, context_BK).any()
