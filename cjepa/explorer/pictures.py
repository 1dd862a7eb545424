"""What the page draws: frames, the empty table, each body cut out of a frame, and numbers, as JSON takes them."""

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from cjepa import opencv as cv2
from cjepa.envs import make_env
from cjepa.envs.base import ObjectEnv

_SIDE_PX = 320
_RIM_PX = 5  # how far the smooth rim of a body may reach beyond its label


def drawing_of(env: ObjectEnv) -> ObjectEnv:
    """Another simulator like ``env`` that draws larger frames; ``env`` itself where its image size is fixed."""
    if not hasattr(env, "image_size"):
        return env
    return make_env(env.spec.id, {**env.spec.kwargs, "image_size": _SIDE_PX})


def data_url(pixels: np.ndarray) -> str:
    """A picture uint8 ``(Y, X, 3)`` or ``(Y, X, 4)`` as the address of a PNG that holds it."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def without_bodies(pixels_YXC: np.ndarray, labels_YX: np.ndarray) -> np.ndarray:
    """A copy of a frame, uint8, with the median colour of the background where labels are above 0, and a rim around."""
    near_YX = cv2.dilate((labels_YX > 0).astype(np.uint8), np.ones((_RIM_PX, _RIM_PX), np.uint8)) > 0
    empty_YXC = pixels_YXC.copy()
    if not near_YX.all():
        empty_YXC[near_YX] = np.median(pixels_YXC[~near_YX], axis=0).astype(np.uint8)
    return empty_YXC


def cut_out(
    pixels_YXC: np.ndarray, labels_YX: np.ndarray, body: int, place_2: Sequence[float], px_per_unit: float
) -> dict[str, Any] | None:
    """A body of a frame, transparent around it; None where it cannot be seen.

    Args:
        pixels_YXC: uint8.
        labels_YX: k + 1 for body k.
        body: its number.
        place_2: x and y in units from the upper left corner.
        px_per_unit: of the frame.

    Returns:
        ``image``, ``colour`` (``#rrggbb``), and in units: ``left`` and ``top`` from the body's place, ``width`` and
        ``height``.
    """
    own_YX = labels_YX == body + 1
    if not own_YX.any():
        return None
    covered_YX = cv2.GaussianBlur(np.where(own_YX, 255, 0).astype(np.uint8), (3, 3), 0)  # a smooth rim
    rows, columns = np.flatnonzero(covered_YX.any(axis=1)), np.flatnonzero(covered_YX.any(axis=0))
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    image_YX4 = np.dstack([pixels_YXC[part], covered_YX[part]])
    colour = np.median(pixels_YXC[own_YX], axis=0).astype(int)
    left, top = columns[0] / px_per_unit - place_2[0], rows[0] / px_per_unit - place_2[1]
    height, width = (side / px_per_unit for side in covered_YX[part].shape)
    hexadecimal = "#{:02x}{:02x}{:02x}".format(*colour)
    sizes = {"left": left, "top": top, "width": width, "height": height}
    return {"image": data_url(image_YX4), "colour": hexadecimal, **sizes}


def centres(labels_YX: np.ndarray, bodies: int, px_per_unit: float) -> np.ndarray:
    """Middle of what can be seen of each body, ``(O, 2)`` in units from the upper left corner; NaN if nothing can."""
    found = []
    for body in range(bodies):
        rows, columns = np.nonzero(labels_YX == body + 1)
        middle = (columns.mean(), rows.mean()) if len(rows) else (np.nan, np.nan)
        found.append((np.array(middle) + 0.5) / px_per_unit)
    return np.stack(found)


def plain(values: np.ndarray, digits: int = 2) -> list:
    """Rounded, as nested lists; None for what is not finite, which JSON does not have."""
    rounded = np.round(values.astype(np.float64), digits)
    return np.where(np.isfinite(rounded), rounded.astype(object), None).tolist()
