"""Where oracle tokens are in a frame: their imagined places as markers, since there is no decoder."""

import numpy as np
import torch

from cjepa import opencv as cv2
from cjepa.reporting.sheets import body_colours
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import device_of
from cjepa.tokenizers.oracle import OracleTokenizer

_RADIUS = 2  # pixels of the frame
_FADED = 0.35  # what is left of the frame under the markers
_SUBPIXEL_BITS = 4  # cv2 draws antialiased at 1/16 of a pixel


def places_in_pixels(
    tokenizer: Tokenizer, tokens_BTSD: torch.Tensor, table: tuple[float, float] | None, image_size: int
) -> np.ndarray | None:
    """x and y of every token in pixels, (B, T, S, 2); None for tokens without known places.

    Args:
        tokenizer: that made them.
        tokens_BTSD: real or predicted.
        table: least and greatest x and y on it, of the environment, see :class:`~cjepa.envs.base.ObjectEnv`.
        image_size: side of the frames in pixels.
    """
    if not isinstance(tokenizer, OracleTokenizer) or table is None:
        return None
    places_BTS2 = tokenizer.places(tokens_BTSD.to(device_of(tokenizer)))
    if places_BTS2 is None:
        return None
    low, high = table
    return (places_BTS2.cpu().numpy() - low) * (image_size / (high - low))


def place_colours(frame_YXC: np.ndarray, places_S2: np.ndarray) -> np.ndarray:
    """Colours like those of the bodies at the places, uint8 (S, 3)."""
    y_YX, x_YX = np.indices(frame_YXC.shape[:2])
    near_SYX = [np.hypot(x_YX + 0.5 - x, y_YX + 0.5 - y) <= _RADIUS for x, y in places_S2]
    return body_colours(frame_YXC[None], np.stack(near_SYX)[None])


def mark_places(frames_TYXC: np.ndarray, places_TS2: np.ndarray, colours_SC: np.ndarray) -> np.ndarray:
    """A dot in its colour at every place on the pale frame, uint8 (T, Y, X, 3).

    Args:
        frames_TYXC: uint8.
        places_TS2: x and y in pixels.
        colours_SC: RGB of the bodies.
    """
    marked = np.ascontiguousarray((255 - _FADED * (255 - frames_TYXC.astype(np.float32))).round().astype(np.uint8))
    centres_TS2 = ((places_TS2 - 0.5) * (1 << _SUBPIXEL_BITS)).clip(-1e6, 1e6).round().astype(int)
    for image, centres_S2 in zip(marked, centres_TS2, strict=True):
        for centre, colour in zip(centres_S2.tolist(), colours_SC.tolist(), strict=True):
            cv2.circle(
                image, tuple(centre), _RADIUS << _SUBPIXEL_BITS, tuple(colour), cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS
            )
    return marked
