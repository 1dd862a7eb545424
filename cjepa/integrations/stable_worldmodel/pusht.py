"""Its Push-T, drawn like ours."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cjepa.envs.pusht.drawing import Colours

_SHADING = 1.2  # its renderer draws the inside of a body lighter than the body's colour by this factor


def _unshaded(colour: Sequence[int]) -> np.ndarray:
    return np.array([round(value / _SHADING) for value in colour], np.uint8)


PUSHT_OPTIONS: dict[str, Any] = {
    "with_target": False,
    "init_value": {"agent.color": _unshaded(Colours().agent), "block.color": _unshaded(Colours().block)},
}
"""Of ``World("swm/PushT-v1", ...)``: no goal marker, and the colours that a tokenizer of our Push-T was trained on."""
