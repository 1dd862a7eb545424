"""Where objects are imagined in a frame: markers in place of what no decoder draws, and the paths of plans."""

import numpy as np
import torch

from cjepa import opencv as cv2
from cjepa.reporting.sheets import body_colours
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import device_of
from cjepa.tokenizers.oracle import OracleTokenizer

_RADIUS = 2  # pixels of the frame
_FADED = 0.35  # what is left of the frame under the markers
_PLAN_PX, _DOT_PX = 2, 4  # width of the line of a plan, and radius of the dots where its blocks end
_OTHERS_PX, _OTHERS = 1, 0.45  # width and opacity of the lines of other candidates
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
    for image, places_S2 in zip(marked, places_TS2, strict=True):
        _dots(image, places_S2, colours_SC, _RADIUS)
    return marked


def draw_paths(frame_YXC: np.ndarray, paths_NUO2: np.ndarray, colours_OC: np.ndarray) -> np.ndarray:
    """The way of every body in its colour, uint8 (Y, X, 3): thick with dots in the first path, pale in the others.

    Args:
        frame_YXC: uint8.
        paths_NUO2: x and y in pixels, U places one after the other.
        colours_OC: RGB of the bodies.
    """
    lines_NOU2 = _subpixels(paths_NUO2).swapaxes(1, 2)
    others_YXC = _with_lines(frame_YXC, lines_NOU2[1:], colours_OC, _OTHERS_PX)
    pale_YXC = (_OTHERS * others_YXC + (1 - _OTHERS) * frame_YXC.astype(np.float32)).round().astype(np.uint8)
    drawn_YXC = _with_lines(pale_YXC, lines_NOU2[:1], colours_OC, _PLAN_PX)
    for places_O2 in paths_NUO2[0, 1:]:
        _dots(drawn_YXC, places_O2, colours_OC, _DOT_PX)
    return drawn_YXC


def _with_lines(frame_YXC: np.ndarray, lines_NOU2: np.ndarray, colours_OC: np.ndarray, width: int) -> np.ndarray:
    drawn = np.ascontiguousarray(frame_YXC).copy()
    for lines_OU2 in lines_NOU2[::-1]:  # the best on top
        for line_U2, colour in zip(lines_OU2, colours_OC.tolist(), strict=True):
            cv2.polylines(drawn, [line_U2.astype(np.int32)], False, tuple(colour), width, cv2.LINE_AA, _SUBPIXEL_BITS)
    return drawn


def _dots(image_YXC: np.ndarray, places_S2: np.ndarray, colours_SC: np.ndarray, radius: int) -> None:
    """A dot at every place, drawn into the image."""
    for centre, colour in zip(_subpixels(places_S2).tolist(), colours_SC.tolist(), strict=True):
        size = radius << _SUBPIXEL_BITS
        cv2.circle(image_YXC, tuple(centre), size, tuple(colour), cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)


def _subpixels(places_2: np.ndarray) -> np.ndarray:
    """Places in pixels ``(..., 2)`` as cv2 takes them."""
    return ((places_2 - 0.5) * (1 << _SUBPIXEL_BITS)).clip(-1e6, 1e6).round().astype(int)
