"""Which slot of a tokenizer holds which body of the simulator."""

import numpy as np
import torch

from cjepa.envs.base import ObjectEnv
from cjepa.evaluation.segmentation import owners
from cjepa.planning.perception import Observation, clip_of
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import device_of, tokenizer_inputs

_FEWEST_SHARE = 0.9


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
