"""Scores of slots and tokens: values worked out by hand, torchmetrics' own functions, and what must not matter."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_jaccard_index
from torchmetrics.functional.clustering import adjusted_rand_score

from cjepa.errors import UserError
from cjepa.evaluation.metrics import (
    ARI,
    BestOverlap,
    ClipConsistency,
    EffectiveRank,
    EmptySlots,
    ForegroundARI,
    MeanIoU,
    SlotConsistency,
    SlotMetric,
    TokenMetric,
    every_metric,
)
from tests.contracts import concrete_subclasses
from tests.evaluation.segments import LABELS, SPLIT, masks_of

NOBODY = -1


def clip_of(*frames: torch.Tensor) -> torch.Tensor:
    return torch.cat(frames, dim=1)


def score(metric, *clips) -> float:
    for arguments in clips:
        metric.update(*arguments)
    return float(metric.compute())


def some_clips(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(count, 3, 4, 8, 8, generator=generator) / 4
    labels = torch.randint(0, 4, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return masks, labels


def owners_of(masks_BTSYX: torch.Tensor) -> torch.Tensor:
    """Index of the slot that owns each pixel; one more than there are where they leave more than any has."""
    rest = 1 - masks_BTSYX.sum(dim=2, keepdim=True)
    return torch.cat([masks_BTSYX, rest], dim=2).argmax(dim=2)


def some_tokens(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


PERFECT = masks_of([[1, 1, 1, 1], [2, 2, 2, 2], [0, 0, 0, 0]], 3)
SWAPPED = masks_of([[2, 2, 2, 2], [1, 1, 1, 1], [0, 0, 0, 0]], 3)
# slot 0: three pixels of object 1 and two of object 2; slot 1 the other three
MIXED = masks_of([[0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 0]], 2)

SLOT_METRICS = [metric for metric in every_metric(4) if isinstance(metric, SlotMetric)]
SLOT_METRICS += [
    cls() for cls in concrete_subclasses("cjepa.evaluation", SlotMetric) if cls not in map(type, SLOT_METRICS)
]
CONTRACT = pytest.mark.parametrize("metric", SLOT_METRICS, ids=lambda m: f"{type(m).__name__}-{m.name}")


@pytest.fixture(autouse=True)
def fresh():
    for metric in SLOT_METRICS:
        metric.reset()


@CONTRACT
def test_contract_perfect_is_one(metric):
    if metric.higher_is_better:
        assert score(metric, (PERFECT, LABELS)) == 1.0


@CONTRACT
def test_contract_slot_order_does_not_matter(metric):
    masks, labels = some_clips(3)
    expected = score(metric, (masks, labels))
    metric.reset()
    assert score(metric, (masks[:, :, [2, 0, 3, 1]], labels)) == pytest.approx(expected)
    assert abs(expected) < 1


@CONTRACT
def test_contract_two_halves_equal_one_whole(metric):
    masks, labels = some_clips(3)
    whole = score(metric, (masks, labels))
    metric.reset()
    assert score(metric, (masks[:1], labels[:1]), (masks[1:], labels[1:])) == pytest.approx(whole)


@CONTRACT
def test_contract_states_are_sums(metric):
    """What intervals rest on: the states of all clips are the sum of those of each."""
    masks, labels = some_clips(3)
    parts = []
    for clip in range(3):
        metric.reset()
        metric.update(masks[clip : clip + 1], labels[clip : clip + 1])
        parts.append({name: value.clone() for name, value in metric.metric_state.items()})
    metric.reset()
    metric.update(masks, labels)
    for name, value in metric.metric_state.items():
        torch.testing.assert_close(sum(part[name] for part in parts), value)


@CONTRACT
def test_contract_frames_without_objects_add_nothing(metric):
    if metric.higher_is_better:
        alone = score(metric, (SPLIT, LABELS))
        assert score(metric, (PERFECT, torch.zeros_like(LABELS))) == alone


@CONTRACT
def test_contract_nothing_is_nan(metric):
    assert np.isnan(float(type(metric).compute(metric)))


def test_names_are_fixed_words():
    assert [metric.name for metric in every_metric(2)] == [
        *("fg_ari", "fg_ari_video", "ari", "ari_video", "mean_iou", "mean_iou_video", "mbo", "mbo_video"),
        *("clip_consistency", "slot_consistency", "empty_slots", "effective_rank"),
    ]


def test_fg_ari_of_a_split_object_by_hand():
    # pairs together in both 1 + 1 + 6 = 8, in truth 12, in slots 8, of 28: (8 - 96/28) / (10 - 96/28)
    assert score(ForegroundARI(), (SPLIT, LABELS)) == pytest.approx(16 / 23)


def test_fg_ari_of_one_slot_for_everything_is_zero():
    assert score(ForegroundARI(), (masks_of([[0] * 4] * 3, 3), LABELS)) == 0.0


@pytest.mark.parametrize("video", [False, True])
@pytest.mark.parametrize(("cls", "first_label"), [(ForegroundARI, 1), (ARI, 0)])
def test_ari_agrees_with_torchmetrics(cls, first_label, video):
    masks, labels = some_clips(4)
    images = zip(*(v if video else v.flatten(0, 1) for v in (owners_of(masks), labels)), strict=True)
    seen = [(owner[label >= first_label], label[label >= first_label].long()) for owner, label in images]
    expected = torch.stack([adjusted_rand_score(owner, label) for owner, label in seen]).mean()
    assert score(cls(video), (masks, labels)) == pytest.approx(float(expected), abs=1e-5)


def test_fg_ari_leaves_out_frames_with_one_object():
    single = LABELS * (LABELS == 1)
    assert score(ForegroundARI(), (clip_of(SPLIT, SPLIT), clip_of(LABELS, single))) == pytest.approx(16 / 23)
    assert np.isnan(score(ForegroundARI(), (SPLIT, single)))


def test_ari_counts_background_that_a_slot_takes():
    """Both objects found, but slot 2 spills over the background: FG-ARI does not see it, ARI does."""
    spilt = masks_of([[1, 1, 1, 1], [2, 2, 2, 2], [2, 2, 2, 2]], 3)
    assert score(ForegroundARI(), (spilt, LABELS)) == 1.0
    # pairs together in both 6 + 6 + 6, in truth 18, in slots 6 + 28, of 66
    expected = 18 * 34 / 66
    assert score(ARI(), (spilt, LABELS)) == pytest.approx((18 - expected) / (26 - expected))


def test_ari_takes_what_no_slot_covers_for_a_segment():
    """The same segments once with a slot for the background, once with the background left to nobody."""
    uncovered = masks_of([[0, 0, 0, 0], [1, 1, 1, 1], [NOBODY] * 4], 2)
    assert score(ARI(), (PERFECT, LABELS)) == score(ARI(), (uncovered, LABELS)) == 1.0
    faint = 0.4 * masks_of([[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]], 2)  # covers less of any pixel than it leaves
    assert score(ARI(), (faint, LABELS)) == 0.0
    assert score(ForegroundARI(), (faint, LABELS)) == 0.0


def test_what_no_slot_covers_counts_against_all():
    """Slots at the right places that hardly cover anything have found nothing."""
    faint = 0.01 * masks_of([[0, 0, 0, 0], [1, 1, 1, 1], [NOBODY] * 4], 2)
    for metric in (ForegroundARI(), MeanIoU(), BestOverlap(), ClipConsistency(), SlotConsistency()):
        assert score(metric, (faint, LABELS)) == 0.0, metric.name
    # one of four pixels of object 2 is left to nobody: pairs in both 6 + 3, in truth 12, in slots 9, of 28
    holed = masks_of([[0, 0, 0, 0], [1, 1, 1, NOBODY], [NOBODY] * 4], 2)
    expected = 12 * 9 / 28
    assert score(ForegroundARI(), (holed, LABELS)) == pytest.approx((9 - expected) / (10.5 - expected))
    assert score(MeanIoU(), (holed, LABELS)) == score(BestOverlap(), (holed, LABELS)) == pytest.approx((1 + 3 / 4) / 2)


def test_a_frame_at_which_an_object_is_missed_is_not_consistent():
    found = masks_of([[0, 0, 0, 0], [1, 1, 1, 1], [NOBODY] * 4], 2)
    missed = masks_of([[0, 0, 0, 0], [NOBODY] * 4, [NOBODY] * 4], 2)
    clip = clip_of(found, missed, missed), clip_of(*[LABELS] * 3)
    assert score(ClipConsistency(), clip) == score(SlotConsistency(), clip) == pytest.approx(4 / 6)


@pytest.mark.parametrize("cls", [ForegroundARI, ARI, MeanIoU, BestOverlap])
def test_over_video_a_swap_costs(cls):
    """Each frame alone is perfect, but the two slots change objects half way."""
    swap, labels = clip_of(PERFECT, SWAPPED), clip_of(LABELS, LABELS)
    assert score(cls(), (swap, labels)) == 1.0
    assert score(cls(video=True), (swap, labels)) < 0.6
    assert score(cls(video=True), (clip_of(PERFECT, PERFECT), labels)) == 1.0


def test_fg_ari_over_video_by_hand():
    # after a swap each slot has 4 pixels of each object: pairs in both 4 x 6, in truth and slots 2 x 28, of 120
    expected = 56 * 56 / 120
    video = score(ForegroundARI(video=True), (clip_of(PERFECT, SWAPPED), clip_of(LABELS, LABELS)))
    assert video == pytest.approx((24 - expected) / (56 - expected))


def test_over_video_is_the_clip_as_one_image():
    masks, labels = some_clips(2)
    folded = masks.permute(0, 2, 1, 3, 4).flatten(2, 3)[:, None], labels.flatten(1, 2)[:, None]
    for cls in (ForegroundARI, ARI, MeanIoU, BestOverlap):
        assert score(cls(video=True), (masks, labels)) == pytest.approx(score(cls(), folded))


def test_best_overlap_by_hand():
    # slot 1 has two of the four pixels of object 1 and one of background, slot 2 all of object 2 and one of background
    assert score(BestOverlap(), (SPLIT, LABELS)) == pytest.approx((2 / 5 + 4 / 5) / 2)
    assert score(BestOverlap(), (MIXED, LABELS)) == pytest.approx((3 / 10 + 2 / 5) / 2)


def test_mean_iou_by_hand():
    assert score(MeanIoU(), (SPLIT, LABELS)) == pytest.approx((2 / 5 + 4 / 5) / 2)
    # slot 0 overlaps object 1 by 3 of 10 and object 2 by 2 of 11, slot 1 by 1 of 6 and 2 of 5: the best pairing
    assert score(MeanIoU(), (MIXED, LABELS)) == pytest.approx((3 / 10 + 2 / 5) / 2)


def test_one_slot_for_two_objects_is_matched_to_one():
    """Best overlap gives the shared slot to both; one-to-one matching leaves an object with nothing."""
    shared = masks_of([[0] * 4, [0] * 4, [0] * 4], 1)
    assert score(BestOverlap(), (shared, LABELS)) == pytest.approx(4 / 12)
    assert score(MeanIoU(), (shared, LABELS)) == pytest.approx((4 / 12 + 0) / 2)


def test_iou_agrees_with_torchmetrics():
    masks, labels = some_clips(2)
    expected = []
    for owner, label in zip(owners_of(masks).flatten(0, 1), labels.flatten(0, 1), strict=True):
        for number in label[label > 0].unique():
            expected.append(max(binary_jaccard_index((owner == s).int(), (label == number).int()) for s in range(4)))
    assert score(BestOverlap(), (masks, labels)) == pytest.approx(float(torch.stack(expected).mean()), abs=1e-5)


def test_consistency_within_a_clip_and_over_all_by_hand():
    clip, labels = clip_of(PERFECT, PERFECT, SWAPPED, PERFECT), clip_of(*[LABELS] * 4)
    assert score(ClipConsistency(), (clip, labels)) == score(SlotConsistency(), (clip, labels)) == 6 / 8
    # object 2 is in view in the first two frames only
    partly = clip_of(labels[:, :2], labels[:, 2:] * (labels[:, 2:] != 2))
    assert score(SlotConsistency(), (clip, partly)) == pytest.approx((3 + 2) / (4 + 2))
    assert score(ClipConsistency(), (clip, partly)) == pytest.approx((3 + 2) / (4 + 2))


def test_another_index_in_another_clip_matters_over_all_episodes_only():
    clips = [(clip_of(masks, masks), clip_of(LABELS, LABELS)) for masks in (PERFECT, PERFECT, SWAPPED)]
    assert score(ClipConsistency(), *clips) == 1.0
    assert score(SlotConsistency(), *clips) == pytest.approx(2 / 3)


def test_every_label_of_a_byte_has_room_and_counts_as_a_low_one_does():
    clip, labels = clip_of(PERFECT, PERFECT, SWAPPED), clip_of(*[LABELS] * 3)
    high = torch.tensor([0, 254, 255])[labels.long()].to(labels.dtype)
    for metric in SLOT_METRICS:
        assert score(metric.clone(), (clip, high)) == pytest.approx(score(metric.clone(), (clip, labels))), metric.name
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    found = torch.stack([every == label for label in range(1, 256)], dim=2).float()
    assert score(SlotConsistency(), (found, every)) == 1.0
    assert score(SlotConsistency(), (found, every), (found.flip(2), every)) == pytest.approx(128 / 255)


def test_more_slots_than_there_is_room_for_are_named():
    with pytest.raises(UserError, match="3 slots, but max_slots is 2"):
        SlotConsistency(max_slots=2).update(PERFECT, LABELS)


def test_empty_slots_by_hand():
    uncovered = masks_of([[0, 0, 0, 0], [1, 1, 1, 1], [NOBODY] * 4], 4)
    assert score(EmptySlots(), (uncovered, LABELS)) == 2 / 4
    both = clip_of(uncovered, masks_of([[0, 1, 2, 3]] * 3, 4))
    assert score(EmptySlots(), (both, clip_of(LABELS, LABELS))) == 2 / 8
    assert score(EmptySlots(), (0.4 * PERFECT, LABELS)) == 1.0  # nothing is covered more than half


@pytest.mark.parametrize("cls", concrete_subclasses("cjepa.evaluation", TokenMetric), ids=lambda cls: cls.__name__)
def test_contract_of_token_metrics(cls):
    tokens = some_tokens(6, 3, 2, 5)
    whole = score(cls(), (tokens,))
    assert score(cls(), (tokens[:1],), (tokens[1:],)) == pytest.approx(whole)
    assert score(cls(), (tokens.flip(2),)) == pytest.approx(whole)


def test_effective_rank_by_hand():
    # about their mean these have singular values 4, 3, 0 times a constant
    tokens = torch.tensor([[4.0, 0, 0], [-4, 0, 0], [0, 3, 0], [0, -3, 0]])[None, None] + 7
    p, q = 4 / 7, 3 / 7
    assert score(EffectiveRank(), (tokens,)) == pytest.approx(np.exp(-p * np.log(p) - q * np.log(q)))


def test_effective_rank_at_its_ends():
    assert score(EffectiveRank(), (torch.full((2, 3, 2, 5), 3.0),)) == pytest.approx(1.0)
    line = some_tokens(50, 1, 1, 1) * torch.tensor([1.0, 2.0, -1.0])
    assert score(EffectiveRank(), (line,)) == pytest.approx(1.0, abs=1e-4)
    cube = torch.cat([torch.eye(4), -torch.eye(4)])[None, None]
    assert score(EffectiveRank(), (cube,)) == pytest.approx(4.0)


def test_effective_rank_agrees_with_a_singular_value_decomposition():
    tokens = some_tokens(40, 2, 3, 6) * torch.arange(1.0, 7.0)
    flat = tokens.flatten(0, 2)
    p = torch.linalg.svdvals(flat - flat.mean(dim=0))
    p = p / p.sum()
    assert score(EffectiveRank(), (tokens,)) == pytest.approx(float((-(p * p.log()).sum()).exp()), rel=1e-5)


@pytest.mark.parametrize("cls", [MeanIoU, BestOverlap, ForegroundARI, ClipConsistency, SlotConsistency, EmptySlots])
def test_masks_that_are_not_finite_have_no_score(cls):
    labels_BTYX = torch.tensor([[[[1, 1], [2, 0]]]])
    masks_BTSYX = torch.full((1, 1, 2, 2, 2), 0.5)
    masks_BTSYX[0, 0, 1, 0, 0] = torch.nan
    with pytest.raises(UserError, match="masks contain values that are not finite"):
        cls().update(masks_BTSYX, labels_BTYX)
