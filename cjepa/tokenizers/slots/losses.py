"""Losses that several tokenizers share."""

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

_TEMPERATURE = 0.1


def slot_contrast(content_BTSC: Tensor, used_BTS: Tensor) -> Tensor:
    """Slots of neighbouring frames: the same index alike, all others of the batch apart.

    SlotContrast (Manasyan et al., 2025): InfoNCE over all slots of the batch at two neighbouring frames.

    Args:
        content_BTSC: what slots look like; compared by cosine.
        used_BTS: bool; pairs in which either slot is empty are left out.

    Returns:
        A scalar, 0 for clips of one frame.
    """
    if content_BTSC.shape[1] < 2:
        return content_BTSC.new_zeros(())
    content = normalize(content_BTSC.float(), dim=-1)
    before, after = (rearrange(part, "b t s c -> t (b s) c") for part in (content[:, :-1], content[:, 1:]))
    used = rearrange(used_BTS[:, :-1] & used_BTS[:, 1:], "b t s -> t (b s)")
    logits = torch.einsum("tnc,tmc->tnm", before, after) / _TEMPERATURE
    logits = logits.masked_fill(~used[:, None], -1e4)
    own = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[:2])
    loss = cross_entropy(logits.transpose(1, 2), own, reduction="none")
    return (loss * used).sum() / used.sum().clamp(min=1)
