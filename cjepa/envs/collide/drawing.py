"""Pictures of Collide, drawn with OpenCV straight at the wanted size.

A body differs from the background in one direction of colour space only: its material shows in how much, never in
where to. So whatever groups pixels by that direction finds whole bodies.

File letters: A attributes of a body, V vertices of an outline. Points are complex numbers, x + iy: a turn is a product.
"""

import cmath
from collections.abc import Iterator
from functools import cache

import numpy as np

from cjepa import opencv as cv2
from cjepa.envs.collide.world import MATERIAL_NAMES, SHAPES, TABLE_UNITS, Attribute

BACKGROUND = (24, 24, 28)
COLOURS = {
    "red": (228, 38, 38),
    "orange": (244, 122, 20),
    "yellow": (232, 222, 24),
    "green": (40, 190, 44),
    "cyan": (28, 208, 208),
    "blue": (50, 90, 250),
    "purple": (146, 44, 236),
    "pink": (246, 70, 190),
    "lime": (110, 220, 20),
    "mint": (110, 232, 160),
    "sky": (110, 180, 246),
    "salmon": (240, 130, 124),
    "white": (236, 236, 236),
}
COLOUR_NAMES = tuple(COLOURS)
DEFAULT_COLOURS = COLOUR_NAMES[:8]
"""The colours of training data; the next four are for tests of what was never seen, white is the agent's."""

# Share of the difference to the background in a body's core, and the core's size as a share of the body's.
_CORES = [{"rubber": None, "metal": (0.45, 0.55), "agent": (0.25, 0.35)}[name] for name in MATERIAL_NAMES]
_SUBPIXELS = 16
_SUBPIXEL_BITS = 4  # cv2 draws antialiased at 1/16 of a pixel
_HALF_COVERED = 128
_DISC_RIM_PX, _POLYGON_RIM_PX = 0.55, 0.65  # by so much cv2 draws antialiased outlines too large


def _mitres(outline_V2: np.ndarray) -> np.ndarray:
    """How the corners (V, 2) of a convex outline move when all its edges move outwards by 1."""
    edge_V2 = np.roll(outline_V2, -1, axis=0) - outline_V2
    after_V2 = np.stack([edge_V2[:, 1], -edge_V2[:, 0]], axis=1) / np.linalg.norm(edge_V2, axis=1, keepdims=True)
    before_V2 = np.roll(after_V2, 1, axis=0)
    return (before_V2 + after_V2) / (1 + (before_V2 * after_V2).sum(axis=1, keepdims=True))


# Complex (V,) outlines and mitres by the index of the shape, None for the disc.
_POLYGONS = [None if outline_V2 is None else (outline_V2, _mitres(outline_V2)) for outline_V2 in SHAPES.values()]
_REACH = 2.0  # sizes: no corner is farther from its centre
_POLYGONS = [pair and tuple(np.ascontiguousarray(p).view(np.complex128)[:, 0] for p in pair) for pair in _POLYGONS]


def _seen(bodies: np.ndarray) -> Iterator[tuple[int, list[float]]]:
    """Index and row of every body that is at least close to the table."""
    for index, row_A in enumerate(bodies.tolist()):
        margin = _REACH * row_A[Attribute.SIZE]
        near_x = -margin < row_A[Attribute.X] < TABLE_UNITS + margin
        near_y = -margin < row_A[Attribute.Y] < TABLE_UNITS + margin
        if row_A[Attribute.PRESENT] and near_x and near_y:
            yield index, row_A


@cache
def _shade(colour: int, share: float, background: tuple[int, int, int]) -> tuple[int, ...]:
    """The background plus a share of a colour's difference to it."""
    full = COLOURS[COLOUR_NAMES[colour]]
    return tuple(round(b + share * (c - b)) for c, b in zip(full, background, strict=True))


class Painter:
    """Draws bodies (MAX_BODIES, A) at one image size.

    Args:
        image_size: side of the square frames in pixels.
        background: RGB of the table.
    """

    def __init__(self, image_size: int, background: tuple[int, int, int]):
        self.image_size = image_size
        self.background = background
        self._px_per_unit = image_size / TABLE_UNITS
        self._empty = np.empty((image_size, image_size, 3), np.uint8)
        self._empty[:] = background

    def pixels(self, bodies: np.ndarray) -> np.ndarray:
        """Antialiased frame, uint8 (image_size, image_size, 3)."""
        frame = self._empty.copy()
        for _, row_A in _seen(bodies):
            colour = int(row_A[Attribute.COLOUR])
            self._fill(frame, row_A, 1.0, _shade(colour, 1.0, self.background))
            core = _CORES[int(row_A[Attribute.MATERIAL])]
            if core is not None:
                self._fill(frame, row_A, core[1], _shade(colour, core[0], self.background))
        return frame

    def labels(self, bodies: np.ndarray) -> np.ndarray:
        """Label image uint8 (image_size, image_size): k + 1 where body k covers at least half of a pixel."""
        labels = np.zeros((self.image_size, self.image_size), np.uint8)
        coverage = np.empty_like(labels)
        for index, row_A in _seen(bodies):
            coverage.fill(0)
            self._fill(coverage, row_A, 1.0, (255,))
            np.copyto(labels, np.uint8(index + 1), where=coverage >= _HALF_COVERED)
        return labels

    def _fill(self, image: np.ndarray, row_A: list[float], scale: float, colour: tuple[int, ...]) -> None:
        # cv2's pixel centres are at whole numbers, hence the half
        centre = complex(row_A[Attribute.X], row_A[Attribute.Y]) * self._px_per_unit - (0.5 + 0.5j)
        size = scale * row_A[Attribute.SIZE] * self._px_per_unit
        polygon = _POLYGONS[int(row_A[Attribute.SHAPE])]
        if polygon is None:
            place = round(centre.real * _SUBPIXELS), round(centre.imag * _SUBPIXELS)
            radius = max(round((size - _DISC_RIM_PX) * _SUBPIXELS), 0)
            cv2.circle(image, place, radius, colour, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)
        else:
            outline_V, mitres_V = polygon
            turn = cmath.rect(1.0, row_A[Attribute.ANGLE])
            corners_V = (size * outline_V - _POLYGON_RIM_PX * mitres_V) * turn + centre
            points_V2 = np.rint(corners_V.view(np.float64) * _SUBPIXELS).astype(np.int32).reshape(-1, 2)
            cv2.fillConvexPoly(image, points_V2, colour, cv2.LINE_AA, _SUBPIXEL_BITS)
