"""Bodies on a table: where they are, which no other can move, and which slot shows them."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from cjepa.envs.base import ObjectEnv
from cjepa.evaluation.segmentation import contingency, overlaps

_LEAST_OVERLAP = 0.1  # IoU of a slot and a body; masks may be as coarse as patches


def on_table(objects_BOF: np.ndarray, env: ObjectEnv) -> np.ndarray:
    """Bodies whose centre is on the table, bool ``(B, O)``."""
    column = env.attribute_names.index
    place_BO2 = objects_BOF[..., [column("x"), column("y")]]
    low, high = env.table
    inside_BO = ((place_BO2 > low) & (place_BO2 < high)).all(axis=-1)
    return inside_BO & (objects_BOF[..., column("present")] > 0) if "present" in env.attribute_names else inside_BO


def unpushed(env: ObjectEnv) -> np.ndarray:
    """Which bodies no other can move, bool ``(O,)``."""
    return np.isin(env.body_names, env.unpushed_names)


def places(objects: np.ndarray, env: ObjectEnv) -> np.ndarray:
    """x and y of the bodies, ``(..., O, 2)``."""
    return objects[..., [env.attribute_names.index(name) for name in ("x", "y")]].astype(np.float64)


def match_slots(masks_BSYX: Tensor, labels_BYX: Tensor, visible_BO: np.ndarray) -> np.ndarray:
    """Which slot shows which body, int ``(B, O)``, -1 for none: of all one-to-one matchings, that of largest IoU.

    Args:
        masks_BSYX: the larger owns the pixel.
        labels_BYX: k + 1 for body k.
        visible_BO: bodies to match.
    """
    bodies = visible_BO.shape[1]
    counts_BKS = contingency(masks_BSYX, labels_BYX)
    missing = 1 + bodies - counts_BKS.shape[1]
    counts_BKS = torch.nn.functional.pad(counts_BKS, (0, 0, 0, max(0, missing)))[:, : 1 + bodies]
    overlap_BOS = overlaps(counts_BKS)[0].numpy() * visible_BO[..., None]
    slot_BO = np.full(visible_BO.shape, -1)
    for scene, overlap_OS in enumerate(overlap_BOS):
        for body, slot in zip(*linear_sum_assignment(-overlap_OS), strict=True):
            if overlap_OS[body, slot] >= _LEAST_OVERLAP:
                slot_BO[scene, body] = slot
    return slot_BO
