"""Where bodies would go at constant velocity: what predictions have to be better than."""

import numpy as np

from cjepa.evaluation.bodies import places
from cjepa.evaluation.interventions.laboratory import Laboratory
from cjepa.evaluation.interventions.scenes import Scenes


def extrapolated_tracks(lab: Laboratory, scenes: Scenes, blocks: int) -> np.ndarray:
    """Places at the end of the history and in each of H blocks after it, ``(B, 1 + H, O, 2)``.

    From the simulator's places in the last two blocks of the history; its velocity, if the history has one block.
    """
    place_BTO2 = places(scenes.objects_BTOF[:, : lab.history], lab.env)
    last_BO2 = place_BTO2[:, -1]
    step_BO2 = last_BO2 - place_BTO2[:, -2] if lab.history > 1 else _velocity(lab, scenes) * lab.block_seconds
    return last_BO2[:, None] + np.arange(blocks + 1)[None, :, None, None] * step_BO2[:, None]


def _velocity(lab: Laboratory, scenes: Scenes) -> np.ndarray:
    column = lab.env.attribute_names.index
    return scenes.objects_BTOF[:, lab.history - 1][..., [column("vx"), column("vy")]]
