"""Which slot owns which object: pixel counts of masks against label images, and what is computed from them.

The simulator's label images decide what is an object; a slot owns the pixels where its mask is the largest, and larger
than what the masks of all slots leave of the pixel.

File letters: K labels or objects, N images to score (frames, or whole clips).
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from cjepa.errors import UserError


def contingency(masks_BTSYX: Tensor, labels_BTYX: Tensor) -> Tensor:
    """Pixels of each label owned by each slot: long ``(B, T, K, S + 1)``, label 0 (background) included.

    The last column has what no slot covers: the pixels of which the masks, summing to at most 1, leave more than the
    largest of them has. Any leading dimensions will do in place of B, T.

    Raises:
        UserError: a mask is not finite; the slot of the largest NaN would own everything.
    """
    rest = 1 - masks_BTSYX.sum(dim=-3, keepdim=True)
    if not bool(rest.isfinite().all()):
        raise UserError("masks contain values that are not finite; the training of the tokenizer diverged")
    masks_BTSYX = torch.cat([masks_BTSYX, rest.clamp(min=0)], dim=-3)
    *leading, slots, height, width = masks_BTSYX.shape
    owner_NYX = masks_BTSYX.max(dim=-3).indices.reshape(-1, height, width)  # 10x as fast as argmax on a CPU
    labels_NYX = labels_BTYX.long().reshape(-1, height, width)
    num_labels = int(labels_NYX.max()) + 1
    image_N11 = torch.arange(len(owner_NYX), device=owner_NYX.device)[:, None, None]
    cell_NYX = (image_N11 * num_labels + labels_NYX) * slots + owner_NYX
    counts = torch.bincount(cell_NYX.flatten(), minlength=len(owner_NYX) * num_labels * slots)
    return counts.reshape(*leading, num_labels, slots)


def owners(masks_BTSYX: Tensor, labels_BTYX: Tensor) -> tuple[Tensor, Tensor]:
    """Which slot, or none, has most pixels of each object: long one-hot (B, T, K, S + 1), and bool (B, T, K) in view.

    Objects out of view have zeros.
    """
    counts_BTKS = contingency(masks_BTSYX, labels_BTYX)[:, :, 1:]
    present_BTK = counts_BTKS.sum(dim=3) > 0
    owned_BTKS = one_hot(counts_BTKS.argmax(dim=3), counts_BTKS.shape[3])
    return owned_BTKS * present_BTK[..., None], present_BTK


def adjusted_rand(counts_NKS: Tensor) -> Tensor:
    """Adjusted Rand index from pixel counts: double (N,); NaN where fewer than two labels are in view."""
    counts_NKS = counts_NKS.double()
    pairs = _pairs(counts_NKS).sum(dim=(1, 2))
    pairs_true = _pairs(counts_NKS.sum(dim=2)).sum(dim=1)
    pairs_slots = _pairs(counts_NKS.sum(dim=1)).sum(dim=1)
    expected = pairs_true * pairs_slots / _pairs(counts_NKS.sum(dim=(1, 2)))
    best = (pairs_true + pairs_slots) / 2
    score_N = torch.where(best == expected, torch.ones_like(best), (pairs - expected) / (best - expected))
    return score_N.where((counts_NKS.sum(dim=2) > 0).sum(dim=1) >= 2, torch.nan)


def overlaps(counts_NKS: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union of objects and slots from pixel counts of :func:`contingency`.

    Returns:
        double (..., K, S), without the background; and bool (..., K), whether an object is in view.
    """
    counts_NKS = counts_NKS.double()
    shared_NKS = counts_NKS[..., 1:, :-1]
    object_NK1 = counts_NKS[..., 1:, :].sum(dim=-1, keepdim=True)
    slot_N1S = counts_NKS[..., :-1].sum(dim=-2, keepdim=True)
    return shared_NKS / (object_NK1 + slot_N1S - shared_NKS).clamp(min=1), object_NK1[..., 0] > 0


def _pairs(counts: Tensor) -> Tensor:
    return counts * (counts - 1) / 2
