"""Bodies on a table: where they are, which no other can move, and which slot shows them."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from cjepa.envs.base import ObjectEnv
from cjepa.evaluation.segmentation import contingency, overlaps, owners
from cjepa.planning.perception import Observation, clip_of
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import device_of, tokenizer_inputs

_LEAST_OVERLAP = 0.1  # IoU of a slot and a body; masks may be as coarse as patches
_FEWEST_SHARE = 0.9  # of a body's pixels, for a slot that always holds it


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


def have_identity(env: ObjectEnv) -> bool:
    """Whether body k is the same thing in all episodes: where shapes differ, the numbering is arbitrary."""
    return "shape" not in env.attribute_names


@torch.inference_mode()
def body_slots(tokenizer: Tokenizer, env: ObjectEnv, seen: Observation) -> dict[str, int]:
    """Slots that always hold one and the same body, by the body's name; empty where slots are not that tidy.

    A body has a slot if that slot owns most of the body's pixels in 9 of 10 frames, and no other body has the slot.

    Args:
        tokenizer: in eval mode.
        env: of the frames.
        seen: the frames, with their states.
    """
    if not have_identity(env):
        return {}
    if tokenizer.info.column == "objects":
        return {name: body for body, name in enumerate(env.body_names)}
    labels_BYX = []
    for state in seen.state_BF:
        env.set_state(state)
        labels_BYX.append(env.render_labels())
    labels_B1YX = torch.from_numpy(np.stack(labels_BYX))[:, None]
    clips = clip_of(seen)._replace(labels_BTYX=labels_B1YX).on(device_of(tokenizer))
    masks_B1SYX = tokenizer.encode(*tokenizer_inputs(tokenizer, clips)).masks_BTSYX.float().cpu()
    owned_B1KS, present_B1K = owners(masks_B1SYX, labels_B1YX)
    share_KS = owned_B1KS.sum(dim=(0, 1)) / present_B1K.sum(dim=(0, 1)).clamp(min=1)[:, None]
    best_K, slot_K = share_KS[:, :-1].max(dim=1)  # the last column has what no slot owns
    slots = {env.body_names[k]: int(slot) for k, slot in enumerate(slot_K) if best_K[k] >= _FEWEST_SHARE}
    return slots if len(set(slots.values())) == len(slots) else {}
