import numpy as np
import pytest
import torch

from cjepa.errors import UserError
from cjepa.world_models.masks import (
    CentralityMask,
    FixedMask,
    Mask,
    ObjectMask,
    TokenMask,
    TubeMask,
    anchored,
    centrality,
    split_mask,
)
from tests.contracts import concrete_subclasses

MASKS = concrete_subclasses("cjepa.world_models", Mask)


def contract(classes: list[type[Mask]]):
    return pytest.mark.parametrize("cls", classes, ids=lambda cls: cls.__name__)


CONTRACT = contract(MASKS)
RANDOM = contract([cls for cls in MASKS if not issubclass(cls, FixedMask)])
"""Of masks that differ from draw to draw."""


def tokens(batch: int, blocks: int, slots: int) -> torch.Tensor:
    """Normalised tokens of a history; no slot differs from another in distribution."""
    return torch.randn(batch, blocks, slots, 6, generator=seeded(9))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@CONTRACT
@pytest.mark.parametrize("blocks", [1, 2, 3, 7])
@pytest.mark.parametrize("num_masked", [0, 1, 3, 4])
def test_contract_shape_anchor_and_budget(cls, blocks, num_masked):
    mask_BTS = cls(num_masked).sample(tokens(16, blocks, 4), seeded())
    assert mask_BTS.shape == (16, blocks, 4) and mask_BTS.dtype == torch.bool
    assert not mask_BTS[:, 0].any()
    assert (mask_BTS.sum(dim=(1, 2)) == num_masked * (blocks - 1)).all()


@RANDOM
def test_contract_the_generator_decides(cls):
    draw = cls(2).sample(tokens(32, 4, 5), seeded(1))
    assert torch.equal(draw, cls(2).sample(tokens(32, 4, 5), seeded(1)))
    assert not torch.equal(draw, cls(2).sample(tokens(32, 4, 5), seeded(2)))
    mask, generator = cls(2), seeded(1)
    first, second = mask.sample(tokens(32, 4, 5), generator), mask.sample(tokens(32, 4, 5), generator)
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    mask.sample(tokens(32, 4, 5), generator)
    assert torch.equal(before, torch.get_rng_state())  # the global generator is not touched


@RANDOM
def test_contract_every_cell_is_reached_and_equally_often(cls):
    mask_BTS = cls(2).sample(tokens(4000, 4, 5), seeded())
    torch.testing.assert_close(mask_BTS[:, 1:].float().mean(dim=0), torch.full((3, 5), 2 / 5), atol=0.04, rtol=0)


@RANDOM
def test_contract_samples_differ(cls):
    mask_BTS = cls(2).sample(tokens(64, 4, 5), seeded())
    assert len(mask_BTS.flatten(1).unique(dim=0)) > 5


@CONTRACT
def test_contract_more_than_there_is(cls):
    with pytest.raises(UserError, match="num_masked is 5, expected 0 to 4, the number of object tokens"):
        cls(5).sample(tokens(2, 3, 4), seeded())


def test_objects_are_hidden_whole():
    mask_BTS = ObjectMask(2).sample(tokens(100, 5, 4), seeded())
    assert (mask_BTS[:, 1:] == mask_BTS[:, 1:2]).all()
    assert len(mask_BTS[:, 1].unique(dim=0)) == 6  # all pairs of four


@CONTRACT
def test_contract_drawn_counts_are_the_same_budget_for_every_mask(cls):
    cells = cls(3, random_count=True).sample(tokens(4000, 4, 5), seeded()).sum(dim=(1, 2))
    assert (cells % 3 == 0).all()  # whole objects' worth of the three maskable blocks
    torch.testing.assert_close((cells // 3).bincount() / 4000, torch.full((4,), 0.25), atol=0.03, rtol=0)
    assert cells.float().mean().item() == pytest.approx(3 * 3 / 2, rel=0.03)  # half of what a fixed count hides


@RANDOM
@pytest.mark.parametrize("random_count", [False, True])
def test_contract_one_draw_for_the_batch(cls, random_count):
    mask, generator = cls(2, random_count, shared_in_batch=True), seeded()
    draws = [mask.sample(tokens(8, 3, 4), generator) for _ in range(10)]
    assert all((draw == draw[:1]).all() for draw in draws)
    assert len(torch.stack(draws)[:, 0].flatten(1).unique(dim=0)) > 1


def test_tubes_are_contiguous_and_token_masks_are_not():
    def pieces(mask_BTS):  # runs of hidden cells, slot after slot
        cells = mask_BTS[:, 1:].transpose(1, 2).flatten(1).int()
        return 1 + (cells.diff(dim=1) == 1).sum(dim=1) - (cells[:, 0] == 0).int()

    tubes, cells = (cls(1).sample(tokens(500, 9, 4), seeded()) for cls in (TubeMask, TokenMask))
    assert pieces(tubes).max() <= 2  # one, or two where the tube runs over the end
    assert (pieces(tubes) == 1).float().mean() > 0.6
    assert pieces(cells).float().mean() > 3
    assert set(tubes.any(dim=1).sum(dim=1).tolist()) == {1, 2}  # slots: tubes begin anywhere


@CONTRACT
@pytest.mark.parametrize("shared_in_batch", [False, True])
def test_contract_what_is_hidden_does_not_decide_what_is_hidden(cls, shared_in_batch):
    mask, seen = cls(2, shared_in_batch=shared_in_batch), tokens(32, 4, 5)
    unseen = seen.clone()
    unseen[:, 1:] = torch.nan
    assert torch.equal(mask.sample(seen, seeded()), mask.sample(unseen, seeded()))


@CONTRACT
def test_contract_proprioception_is_hidden_in_a_share_of_the_samples(cls):
    mask_BTE = cls(2, hide_proprio=0.3).sample(tokens(4000, 4, 5), seeded())
    mask_BTS, proprio_BT1 = split_mask(mask_BTE, 5)
    assert mask_BTE.shape == (4000, 4, 6) and not mask_BTE[:, 0].any()
    assert torch.equal(mask_BTS, cls(2).sample(tokens(4000, 4, 5), seeded()))  # the objects' budget is their own
    assert (proprio_BT1[:, 1:] == proprio_BT1[:, 1:2]).all()
    assert proprio_BT1[:, 1].float().mean().item() == pytest.approx(0.3, abs=0.03)


@CONTRACT
def test_contract_one_draw_for_the_batch_hides_proprioception_in_all_or_none(cls):
    mask, generator = cls(1, shared_in_batch=True, hide_proprio=0.5), seeded()
    draws = [mask.sample(tokens(8, 3, 4), generator)[:, 1, 4] for _ in range(20)]
    assert {draw.sum().item() for draw in draws} == {0, 8}


def test_what_is_hidden_gets_the_values_of_the_first_block():
    objects, proprio = torch.arange(6.0).reshape(1, 3, 2, 1), torch.arange(10.0, 13).reshape(1, 3, 1)
    mask = torch.tensor([[[0, 0, 0], [1, 0, 0], [0, 1, 1]]], dtype=torch.bool)  # columns: two objects, proprioception
    known_BTSD, known_BTP = anchored(objects, proprio, mask)
    assert known_BTSD.flatten().tolist() == [0, 1, 0, 3, 4, 1] and known_BTP.flatten().tolist() == [10, 11, 10]
    assert anchored(objects, proprio, mask[..., :2])[1].tolist() == proprio.tolist()


def test_a_mask_without_proprioception_hides_none_of_it():
    mask_BTS = ObjectMask(1).sample(tokens(3, 4, 5), seeded())
    objects, proprio_BT1 = split_mask(mask_BTS, 5)
    assert torch.equal(objects, mask_BTS) and proprio_BT1.shape == (3, 4, 1) and not proprio_BT1.any()


@pytest.mark.parametrize(
    ("slots", "hidden"), [(4, {1}), (4, {1, 3}), (7, {0, 1, 2, 5})], ids=["1 of 4", "2 of 4", "4 of 7"]
)
def test_the_fixed_mask_hides_what_the_published_code_hides(slots, hidden):
    mask, generator = FixedMask(len(hidden)), seeded()
    for _ in range(3):
        mask_BTS = mask.sample(tokens(8, 3, slots), generator)
        assert (mask_BTS[:, 1:] == torch.tensor([slot in hidden for slot in range(slots)])).all()


def test_fixed_masks_of_other_seeds_and_counts():
    def hidden(mask):
        return mask.sample(tokens(100, 2, 6), seeded())[:, 1]

    assert len({tuple(hidden(FixedMask(2, seed=seed))[0].tolist()) for seed in range(20)}) > 5
    assert len(hidden(FixedMask(2, random_count=True)).unique(dim=0)) == 3  # none, one, and that one with another


def test_centrality_by_hand():
    """Three directions in a plane, each object with an edge to the nearest other one."""
    angle_S = torch.tensor([0.0, 60.0, 90.0]).deg2rad()
    directions_BSD = torch.stack([angle_S.cos(), angle_S.sin()], dim=1)[None]
    cos60, cos30 = 0.5, 3**0.5 / 2
    by_length = directions_BSD * torch.tensor([[[1.0], [7.0], [0.1]]])  # cosines do not see it
    torch.testing.assert_close(centrality(by_length, 1), torch.tensor([[0.0, cos60 + cos30, cos30]]))
    torch.testing.assert_close(centrality(directions_BSD, 3), torch.tensor([[cos60, cos60 + cos30, cos30]]))
    assert torch.equal(centrality(directions_BSD[:, :1], 3), torch.zeros(1, 1))  # it has no others


def test_central_objects_are_hidden_with_their_odds():
    angle_S = torch.tensor([0.0, 60.0, 90.0]).deg2rad()
    seen = torch.stack([angle_S.cos(), angle_S.sin()], dim=1).expand(8000, 2, 3, 2)
    hidden_BS = CentralityMask(1, num_neighbours=1).sample(seen, seeded())[:, 1]
    odds = torch.tensor([0.0, 0.5 + 3**0.5 / 2, 3**0.5 / 2]).exp()
    torch.testing.assert_close(hidden_BS.float().mean(dim=0), odds / odds.sum(), atol=0.02, rtol=0)


@pytest.mark.parametrize("shared_in_batch", [False, True])
def test_a_shared_draw_sees_the_mean_object(shared_in_batch):
    class Remembering(ObjectMask):
        def ranks(self, anchors_BSD, generator):
            self.seen = anchors_BSD
            return super().ranks(anchors_BSD, generator)

    mask, history = Remembering(1, shared_in_batch=shared_in_batch), tokens(8, 3, 4)
    mask.sample(history, seeded())
    expected = history[:, 0].mean(dim=0, keepdim=True) if shared_in_batch else history[:, 0]
    torch.testing.assert_close(mask.seen, expected)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (torch.zeros(2, 4, dtype=torch.bool), r"shape \(2, 4\) of torch.bool"),
        (torch.zeros(2, 2, 4), r"shape \(2, 2, 4\) of torch.float32"),
        (np.zeros((2, 2, 4), bool), "a ndarray"),
        (None, "a NoneType"),
    ],
)
def test_a_mask_of_the_users_that_gives_something_else_is_named(given, said):
    class Own(Mask):
        def hide(self, counts_B, blocks, anchors_BSD, generator):
            return given

    with pytest.raises(UserError, match=f"^Own.hide gives {said}, expected shape \\(2, 2, 4\\) of torch.bool$"):
        Own(1).sample(tokens(2, 3, 4), seeded())
