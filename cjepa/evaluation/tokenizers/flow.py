"""How well a tokenizer's optical flow tells where the simulator's objects go.

File letter: K labels but the background.
"""

import numpy as np
import torch
from torch import Tensor

from cjepa.data.video_clips import VideoClips
from cjepa.evaluation.intervals import Interval, bootstrap
from cjepa.evaluation.tokenizers.tokens import batches
from cjepa.progress import Progress
from cjepa.tokenizers.base import Tokenizer, float_frames
from cjepa.tokenizers.encode import device_of
from cjepa.tokenizers.grid import centroids

_FEWEST_PIXELS = 8  # half of Push-T's agent


@torch.no_grad()
def measure_flow(tokenizer: Tokenizer, data: VideoClips, progress: Progress) -> dict[str, Interval]:
    """``flow_error``: end-point error of the objects' displacement as a share of the displacement; 1 for no flow.

    Args:
        tokenizer: one that ``tells_flow``, in eval mode.
        data: set up, with label images.
        progress: advanced by the number of test frames.

    Returns:
        By name, with an interval over episodes; empty where no object is in view.
    """
    dataset = data.test_dataloader().dataset
    errors, displacements, episodes = [], [], []
    for start_B, batch in batches(data, dataset):
        frames = float_frames(tokenizer, batch.pixels_BTYXC.to(device_of(tokenizer)))
        error_B, displacement_B = displacement_errors(tokenizer.flow(frames).cpu(), batch.labels_BTYX)
        errors.append(error_B.numpy()), displacements.append(displacement_B.numpy())
        episodes.append(data.file.episode_of(start_B))
        progress.advance(len(start_B) * dataset.blocks)
    _, episode_N = np.unique(np.concatenate(episodes), return_inverse=True)
    error_E, displacement_E = (np.bincount(episode_N, np.concatenate(parts)) for parts in (errors, displacements))
    return {"flow_error": bootstrap(error_E, displacement_E)} if displacement_E.any() else {}


def displacement_errors(flow_BT2YX: Tensor, labels_BTYX: Tensor) -> tuple[Tensor, Tensor]:
    """What a clip's objects are told to move, against how the middles of their label images move.

    Args:
        flow_BT2YX: in pixels, x and y, of all frames but the last.
        labels_BTYX: uint8, 0 = background, of all frames; an object counts where two successive frames show 8 pixels.

    Returns:
        Sums over objects and frames of every clip ``(B,)`` in pixels: of the errors, and of the displacements.
    """
    height, width = labels_BTYX.shape[-2:]
    masks_BTKYX = torch.stack([labels_BTYX == 1 + k for k in range(max(1, int(labels_BTYX.max())))], dim=2).float()
    pixels_BTK = masks_BTKYX.sum(dim=(-1, -2))
    place_BTK2 = centroids(masks_BTKYX) * torch.tensor([width, height]) / 2
    seen_BTK = pixels_BTK >= _FEWEST_PIXELS
    counted_BTK = seen_BTK[:, :-1] & seen_BTK[:, 1:]
    told_BTK2 = torch.einsum("btcyx,btkyx->btkc", flow_BT2YX, masks_BTKYX[:, :-1])
    told_BTK2 = told_BTK2 / pixels_BTK[:, :-1, :, None].clamp(min=1)
    true_BTK2 = place_BTK2.diff(dim=1)
    lengths = ((values * counted_BTK[..., None]).norm(dim=-1) for values in (told_BTK2 - true_BTK2, true_BTK2))
    error_B, displacement_B = (length.sum(dim=(1, 2)) for length in lengths)
    return error_B, displacement_B
