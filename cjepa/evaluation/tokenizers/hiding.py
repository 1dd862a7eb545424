"""Whether an object that is occluded for some frames returns to its slot.

In each clip one object is painted over with the background for 1, 3 or 5 frames, while it stays in view of the
simulator's label images; its slot before is then compared with its slot at the frame at which it is back. Trackers are
tested so for their identity switches after occlusion; here it is known that nothing else is different.

File letters: K objects, W windows of a clip's frames.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from cjepa.data.clip_windows import evenly_spread
from cjepa.data.video_clips import VideoClips
from cjepa.data.video_dataset import VideoDataset
from cjepa.evaluation.held_out import in_eval_mode
from cjepa.evaluation.intervals import Interval, bootstrap
from cjepa.evaluation.segmentation import contingency
from cjepa.evaluation.tokenizers.tokens import batches, encode_batch
from cjepa.progress import Progress
from cjepa.tokenizers.scoring import ScoredTokenizer
from cjepa.types import VideoBatch
from cjepa.world_models.dynamics import take_rows

HIDDEN_FRAMES = (0, 1, 3, 5)
"""For how long; 0 is the control: what is lost though nothing was hidden."""
_WINDOW = max(HIDDEN_FRAMES) + 2  # the frame before and the one after
_CLIPS = 128
_BACKGROUND_FRAMES = 256
_FEWEST_PIXELS = 8  # half of Push-T's agent


class Hiding(NamedTuple):
    """Which object of each clip is hidden, and when: just before it is ``back_B``, for any number of frames."""

    label_B: Tensor
    before_B: Tensor
    """Frame at which its slot is looked up; the same however long it is hidden."""
    back_B: Tensor
    """First frame at which it is back."""


def measure_hiding(module: ScoredTokenizer, data: VideoClips, progress: Progress) -> dict[str, Interval]:
    """Share of hidden objects that come back into the slot that they had, as ``kept_hidden@FRAMES``.

    The clips, the objects and the two frames at which their slots are looked up are the same for every number of
    frames, those of ``kept_hidden@0`` too, in which nothing is painted.

    Args:
        module: trained; it keeps its mode.
        data: set up.
        progress: advanced by a number of frames, of :func:`num_hiding_frames`.

    Returns:
        By name, with intervals over episodes; empty where there are no label images, the clips are shorter than seven
        frames, or no object is in view for so long.
    """
    if (dataset := _clips(data)) is None:
        return {}
    background_YXC = data.sample_frames(_BACKGROUND_FRAMES).median(dim=0).values
    draw_N = torch.rand(len(dataset), generator=torch.Generator().manual_seed(0))
    kept: dict[int, list[np.ndarray]] = {frames: [] for frames in HIDDEN_FRAMES}
    episodes = []
    with in_eval_mode(module):
        for (start_B, batch), draw_B in zip(batches(data, dataset), draw_N.split(data.batch_size), strict=True):
            fitting_B, hiding = choose(batch.labels_BTYX, draw_B)
            batch = take_rows(batch, fitting_B)
            episodes.append(data.file.episode_of(start_B[fitting_B.numpy()]))
            for frames in HIDDEN_FRAMES if fitting_B.any() else ():
                masks = _masks(module, paint_out(batch, hiding, frames, background_YXC), hiding)
                kept[frames].append(is_kept(*masks, batch.labels_BTYX, hiding).numpy())
            progress.advance(len(HIDDEN_FRAMES) * len(start_B) * dataset.blocks)
    _, episode_N, clips = np.unique(np.concatenate(episodes), return_inverse=True, return_counts=True)
    return {
        f"kept_hidden@{frames}": bootstrap(np.bincount(episode_N, np.concatenate(parts)), clips)
        for frames, parts in kept.items()
        if parts
    }


def num_hiding_frames(data: VideoClips) -> int:
    """Frames that :func:`measure_hiding` encodes at most; 0 where there is nothing to measure."""
    dataset = _clips(data)
    return 0 if dataset is None else len(HIDDEN_FRAMES) * len(dataset) * dataset.blocks


def choose(labels_BTYX: Tensor, draw_B: Tensor) -> tuple[Tensor, Hiding]:
    """One object of each clip and a window of seven frames at all of which it is in view.

    In view is what shows at least half as many pixels as at its best in the clip, and eight.

    Args:
        labels_BTYX: uint8, 0 = background.
        draw_B: float in [0, 1), decides between what fits.

    Returns:
        bool (B,), clips with such an object; and the choice for these, in order.
    """
    num_labels = int(labels_BTYX.max())
    pixels_BTK = torch.stack([(labels_BTYX == 1 + k).sum(dim=(2, 3)) for k in range(num_labels or 1)], dim=2)
    most_B1K = pixels_BTK.amax(dim=1, keepdim=True)
    in_view_BTK = (pixels_BTK >= _FEWEST_PIXELS) & (2 * pixels_BTK >= most_B1K)
    fits_BWK = in_view_BTK.unfold(1, _WINDOW, 1).all(dim=-1)
    rank_BN = fits_BWK.flatten(1).cumsum(dim=1)
    count_B = rank_BN[:, -1]
    chosen_B = (rank_BN <= (draw_B * count_B)[:, None].floor()).sum(dim=1)[count_B > 0]
    before_B, object_B = chosen_B // fits_BWK.shape[2], chosen_B % fits_BWK.shape[2]
    return count_B > 0, Hiding(1 + object_B, before_B, before_B + _WINDOW - 1)


def paint_out(batch: VideoBatch, hiding: Hiding, frames: int, background_YXC: Tensor) -> VideoBatch:
    """The clips without their object during the last ``frames`` frames before it is back; labels stay.

    Its outline is drawn softly, into the background about it: a pixel around it is painted too, unless it is another
    object's.

    Args:
        batch: clips with label images.
        hiding: one a clip.
        frames: 0 to 5.
        background_YXC: uint8.
    """
    is_object_BTYX = batch.labels_BTYX == hiding.label_B[:, None, None, None]
    near_BTYX = max_pool2d(is_object_BTYX.float(), kernel_size=3, stride=1, padding=1) > 0
    time_T, back_B1 = torch.arange(is_object_BTYX.shape[1]), hiding.back_B[:, None]
    is_hidden_BT = (time_T >= back_B1 - frames) & (time_T < back_B1)
    painted_BTYX = (is_object_BTYX | near_BTYX & (batch.labels_BTYX == 0)) & is_hidden_BT[:, :, None, None]
    return batch._replace(pixels_BTYXC=torch.where(painted_BTYX[..., None], background_YXC, batch.pixels_BTYXC))


def is_kept(before_BSYX: Tensor, back_BSYX: Tensor, labels_BTYX: Tensor, hiding: Hiding) -> Tensor:
    """Whether the object has the same slot before and after: bool (B,).

    It has a slot if that owns at least half of its pixels.

    Args:
        before_BSYX: masks at ``hiding.before_B``; the larger owns the pixel.
        back_BSYX: masks at ``hiding.back_B``.
        labels_BTYX: label images.
        hiding: one a clip.
    """
    clip_B = torch.arange(len(labels_BTYX))
    slots = []
    for masks_BSYX, frame_B in ((before_BSYX, hiding.before_B), (back_BSYX, hiding.back_B)):
        counts_BKS = contingency(masks_BSYX, labels_BTYX[clip_B, frame_B])
        pixels_BS = counts_BKS[clip_B, hiding.label_B]
        owned_B, slot_B = pixels_BS[:, :-1].max(dim=1)
        slots.append(torch.where(2 * owned_B >= pixels_BS.sum(dim=1), slot_B, -1))
    return (slots[0] == slots[1]) & (slots[0] >= 0)


def _clips(data: VideoClips) -> VideoDataset | None:
    if "masks" not in data.file.columns or data.val_blocks < _WINDOW:
        return None
    dataset = data.test_dataloader().dataset
    dataset.starts = evenly_spread(dataset.starts, _CLIPS)
    return dataset


def _masks(module: ScoredTokenizer, batch: VideoBatch, hiding: Hiding) -> tuple[Tensor, Tensor]:
    """Masks (B, S, Y, X) at the frame before, and at the one at which the object is back; on the CPU."""
    masks_BTSYX = encode_batch(module, batch).masks_BTSYX
    clip_B = torch.arange(len(masks_BTSYX))
    return tuple(masks_BTSYX[clip_B, frame_B] for frame_B in (hiding.before_B, hiding.back_B))
