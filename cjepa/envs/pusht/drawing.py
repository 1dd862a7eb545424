"""Pictures of Push-T, drawn with OpenCV straight at the wanted size.

File letter: V vertices of the T, those of its bar and then those of its stem. Points are complex numbers, x + iy: a
turn is a product.
"""

import cmath
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cjepa import opencv as cv2

TABLE_PX = 512.0
AGENT_RADIUS_PX = 15.0

_WALL_PX = (5.0, 506.0)
_WALL_WIDTH_PX = 4
_SUBPIXELS = 16
_SUBPIXEL_BITS = 4  # cv2 draws antialiased at 1/16 of a pixel
_COVERED = 255  # wholly


class Colours(NamedTuple):
    """RGB, 0 to 255."""

    background: tuple[int, int, int] = (255, 255, 255)
    agent: tuple[int, int, int] = (65, 105, 225)
    block: tuple[int, int, int] = (119, 136, 153)
    goal: tuple[int, int, int] = (144, 238, 144)
    wall: tuple[int, int, int] = (211, 211, 211)


Pose = Sequence[float]
"""x, y (table px) and angle (radians) of the T."""


class Painter:
    """Draws agent, block and goal at one image size.

    Args:
        image_size: side of the square frames in pixels.
        colours: of everything.
        tee: vertices of bar and stem in the T's own coordinates (table px), (4, 2) each.
    """

    def __init__(self, image_size: int, colours: Colours, tee: Sequence[np.ndarray]):
        self.image_size = image_size
        self.colours = colours
        self._scale = image_size / TABLE_PX
        self._tee_V = np.concatenate(tee) @ (1, 1j)
        self._empty = np.full((image_size, image_size, 3), colours.background, np.uint8)
        low, high = ((self._fixed(end),) * 2 for end in _WALL_PX)
        width = max(1, round(_WALL_WIDTH_PX * self._scale))
        cv2.rectangle(self._empty, low, high, colours.wall, width, cv2.LINE_AA, _SUBPIXEL_BITS)

    def pixels(self, agent: Sequence[float], block: Pose, goal: Pose | None) -> np.ndarray:
        """Antialiased frame, uint8 (image_size, image_size, 3); the goal marker lies below, the agent on top."""
        image = self._empty.copy()
        if goal is not None:
            self._fill_tee(image, goal, self.colours.goal)
        self._fill_tee(image, block, self.colours.block)
        self._fill_agent(image, agent, self.colours.agent)
        return image

    def labels(self, agent: Sequence[float], block: Pose, goal: Pose | None) -> np.ndarray:
        """uint8 (image_size, image_size): what covers at least half of a pixel, and nothing above it does.

        0 background, 1 agent, 2 block, 3 goal marker.
        """
        labels = np.zeros((self.image_size, self.image_size), np.uint8)
        coverage = np.zeros_like(labels)
        for label, pose in ((3, goal), (2, block)):
            if pose is not None:
                self._fill_tee(coverage, pose, _COVERED)
                labels[coverage > _COVERED // 2] = label
                coverage.fill(0)
        self._fill_agent(coverage, agent, _COVERED)
        labels[coverage > _COVERED // 2] = 1
        return labels

    def _fixed(self, px: float) -> int:
        """Table px -> cv2 fixed point; a cv2 pixel centre is at integer coordinates, hence the half."""
        return round((px * self._scale - 0.5) * _SUBPIXELS)

    def _fill_tee(self, image: np.ndarray, pose: Pose, colour: int | tuple[int, int, int]) -> None:
        x, y, angle = pose
        corners_V = (self._tee_V * cmath.rect(1.0, angle) + complex(x, y)) * self._scale - (0.5 + 0.5j)
        points = np.rint(corners_V.view(np.float64) * _SUBPIXELS).astype(np.int32).reshape(2, 4, 2)
        for box in points:
            cv2.fillConvexPoly(image, box, colour, cv2.LINE_AA, _SUBPIXEL_BITS)

    def _fill_agent(self, image: np.ndarray, agent: Sequence[float], colour: int | tuple[int, int, int]) -> None:
        centre = self._fixed(agent[0]), self._fixed(agent[1])
        radius = round(AGENT_RADIUS_PX * self._scale * _SUBPIXELS)
        cv2.circle(image, centre, radius, colour, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)
