"""How well tokens match objects, as torchmetrics: segmentation, identity over time, and what the tokens span.

Objects and slots are those of :mod:`cjepa.evaluation.segmentation`. Pixels that no slot covers count against every
score. Every state is a sum over clips (``dist_reduce_fx="sum"``), so that intervals come from resampling episodes
(:func:`cjepa.evaluation.intervals.bootstrap_metric`).

File letters: K labels or objects, N images to score (frames, or whole clips), M values.
"""

from abc import abstractmethod

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchmetrics import Metric

from cjepa.errors import UserError
from cjepa.evaluation.segmentation import adjusted_rand, contingency, overlaps, owners
from cjepa.world_models.collapse import effective_rank

_MOST_LABELS = 255
"""In label images of one byte a pixel, without the background."""


class SlotMetric(Metric):
    """Scores the assignment of pixels to slots against a simulator's label images.

    ``update`` takes ``masks_BTSYX`` (float, the largest owns the pixel) and ``labels_BTYX`` (uint8, 0 = background).
    """

    name: str
    """The fixed word under which results files know this metric."""
    higher_is_better: bool | None = True
    full_state_update = False


class TokenMetric(Metric):
    """Scores the tokens themselves: ``update`` takes ``tokens_BTSD``."""

    name: str
    """The fixed word under which results files know this metric."""
    higher_is_better: bool | None = True
    full_state_update = False


class MeanMetric(SlotMetric):
    """A mean over images, objects or slots; NaN without any."""

    def __init__(self):
        super().__init__()
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    @abstractmethod
    def values(self, masks_BTSYX: Tensor, labels_BTYX: Tensor) -> Tensor:
        """What is averaged: (M,)."""

    def update(self, masks_BTSYX: Tensor, labels_BTYX: Tensor) -> None:
        """Add clips."""
        values_M = self.values(masks_BTSYX, labels_BTYX)
        self.total += values_M.double().sum()
        self.count += values_M.numel()

    def compute(self) -> Tensor:
        """The mean so far."""
        return (self.total / self.count).float()


class ImageMetric(MeanMetric):
    """A mean over frames, or over whole clips, whose name then ends in ``_video``.

    Args:
        video: a clip is one image, time folded into space: an object that changes its slot is split.
    """

    def __init__(self, video: bool = False):
        super().__init__()
        self.video = video
        if video:
            self.name += "_video"

    def counts(self, masks_BTSYX: Tensor, labels_BTYX: Tensor) -> Tensor:
        """Pixels of each label owned by each slot, and by none, in every image: double (N, K, S + 1)."""
        counts_BTKS = contingency(masks_BTSYX, labels_BTYX)
        return (counts_BTKS.sum(dim=1) if self.video else counts_BTKS.flatten(0, 1)).double()


class ForegroundARI(ImageMetric):
    """Adjusted Rand index over the foreground pixels of each image (FG-ARI), averaged over images.

    Hubert and Arabie (1985), as used since Greff et al. (2019); over video as in SAVi (Kipf et al., 2022). What no slot
    covers is a segment of its own. Images with fewer than two objects in view say nothing about separation and are left
    out.
    """

    name = "fg_ari"

    def values(self, masks_BTSYX: Tensor, labels_BTYX: Tensor) -> Tensor:
        """Of every image with two objects."""
        return _known(adjusted_rand(self.counts(masks_BTSYX, labels_BTYX)[:, 1:]))


class ARI(ImageMetric):
    """Adjusted Rand index over all pixels: the background is a segment that should be found too.

    What no slot covers is a segment as well. Images without an object are left out.
    """

    name = "ari"

    def values(self, masks_BTSYX: Tensor, labels_BTYX: Tensor) -> Tensor:
        """Of every image with an object and background."""
        return _known(adjusted_rand(self.counts(masks_BTSYX, labels_BTYX)))


class MeanIoU(ImageMetric):
    """Intersection over union of each object with its slot, one slot an object (Hungarian matching); mean over objects.

    Background that a slot owns counts as part of it. An object for which no slot is left scores 0.
    """

    name = "mean_iou"

    def values(self, masks_BTSYX: Tensor, labels_BTYX: Tensor) -> Tensor:
        """Of every object in view."""
        iou_NKS, present_NK = overlaps(self.counts(masks_BTSYX, labels_BTYX))
        matched_NK = torch.zeros(present_NK.shape, dtype=torch.float64)
        for image, iou_KS in enumerate(iou_NKS.cpu()):
            objects, slots = linear_sum_assignment(iou_KS, maximize=True)
            matched_NK[image, objects] = iou_KS[objects, slots]
        return matched_NK.to(present_NK.device)[present_NK]


class BestOverlap(ImageMetric):
    """Intersection over union of each object with the slot that covers it best (mBO), averaged over objects.

    Pont-Tuset et al. (2017). Background that a slot owns counts as part of it. Two objects may share a slot.
    """

    name = "mbo"

    def values(self, masks_BTSYX: Tensor, labels_BTYX: Tensor) -> Tensor:
        """Of every object in view."""
        iou_NKS, present_NK = overlaps(self.counts(masks_BTSYX, labels_BTYX))
        return iou_NKS.amax(dim=2)[present_NK]


class ClipConsistency(MeanMetric):
    """Share of (frame, object) at which the object's slot is the one that it has most often in that clip.

    1 = within a clip an index never changes its object, which is never missed. One slot that owns everything is
    consistent too: read it beside FG-ARI.
    """

    name = "clip_consistency"

    def values(self, masks_BTSYX: Tensor, labels_BTYX: Tensor) -> Tensor:
        """1 or 0 for every object in view of every frame."""
        owned_BTKS, present_BTK = owners(masks_BTSYX, labels_BTYX)
        usual_BK = owned_BTKS[..., :-1].sum(dim=1).argmax(dim=2)
        return (owned_BTKS.argmax(dim=3) == usual_BK[:, None])[present_BTK].float()


class SlotConsistency(SlotMetric):
    """Share of (frame, object) at which the object's slot is the one that it has most often over *all* episodes.

    It asks whether slot s is the same thing everywhere, so it needs labels that are: Push-T (1 = agent, 2 = block). In
    Collide labels number the bodies in the order in which they entered, which means nothing.

    Args:
        max_slots: the most slots.
    """

    name = "slot_consistency"

    def __init__(self, max_slots: int = 1024):
        super().__init__()
        # one size in all processes, or their sums could not be added up
        self.add_state("owned", torch.zeros(_MOST_LABELS, max_slots, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("missed", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, masks_BTSYX: Tensor, labels_BTYX: Tensor) -> None:
        """Add clips.

        Raises:
            UserError: there are more slots than ``max_slots``.
        """
        counts_KS = owners(masks_BTSYX, labels_BTYX)[0].sum(dim=(0, 1))
        owned_KS, missed_K = counts_KS[:, :-1], counts_KS[:, -1]
        objects, slots = owned_KS.shape
        if slots > self.owned.shape[1]:
            raise UserError(f"SlotConsistency: {slots} slots, but max_slots is {self.owned.shape[1]}; set max_slots")
        self.owned[:objects, :slots] += owned_KS
        self.missed += missed_K.sum()

    def compute(self) -> Tensor:
        """The share so far; NaN without any."""
        return self.owned.amax(dim=1).sum() / (self.owned.sum() + self.missed)


class EmptySlots(MeanMetric):
    """Share of (frame, slot) at which the slot owns no pixel at all.

    Neither high nor low is better: a tokenizer for up to S objects should leave as many slots empty as there are fewer.
    """

    name = "empty_slots"
    higher_is_better = None

    def values(self, masks_BTSYX: Tensor, labels_BTYX: Tensor) -> Tensor:
        """1 or 0 for every slot of every frame."""
        pixels_BTS = contingency(masks_BTSYX, labels_BTYX).sum(dim=2)[..., :-1]
        return (pixels_BTS == 0).flatten().float()


class EffectiveRank(TokenMetric):
    """In how many directions the tokens spread: 1 = along a line, D = evenly in all.

    Roy and Vetterli (2007): exp of the entropy of the normalised singular values, here of all tokens (slots and frames
    alike) about their mean.
    """

    name = "effective_rank"

    def __init__(self):
        super().__init__()
        # The width of the tokens is not known yet: these grow by broadcasting.
        for state in ("count", "sum_D", "products_DD"):
            self.add_state(state, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, tokens_BTSD: Tensor) -> None:
        """Add clips."""
        tokens_ND = tokens_BTSD.flatten(0, -2).double()
        self.count = self.count + len(tokens_ND)
        self.sum_D = self.sum_D + tokens_ND.sum(dim=0)
        self.products_DD = self.products_DD + tokens_ND.T @ tokens_ND

    def compute(self) -> Tensor:
        """The rank so far; 1 for tokens that are all the same, NaN without any."""
        if self.count == 0:
            return torch.tensor(torch.nan)
        mean_D = self.sum_D / self.count
        covariance_DD = self.products_DD / self.count - mean_D[:, None] * mean_D
        return effective_rank(covariance_DD).float()


def every_metric(max_slots: int) -> list[Metric]:
    """All metrics, in the order in which tables show them."""
    images = [cls(video) for cls in (ForegroundARI, ARI, MeanIoU, BestOverlap) for video in (False, True)]
    return [*images, ClipConsistency(), SlotConsistency(max_slots=max_slots), EmptySlots(), EffectiveRank()]


def _known(values_N: Tensor) -> Tensor:
    return values_N[~values_N.isnan()]
