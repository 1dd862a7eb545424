"""The episodes that every small source is made of."""

import numpy as np

from cjepa.data.store.episodes import Episode

SIZE = 64
FPS = 10


def frames(index: int, rows: int) -> np.ndarray:
    """A bright square on a coloured ground that moves one pixel a row: every row of every episode differs."""
    ground = np.random.default_rng(index).integers(40, 200, 3).astype(np.uint8)
    pixels = np.tile(ground, (rows, SIZE, SIZE, 1))
    for row in range(rows):
        left = 4 + row % (SIZE - 24)
        pixels[row, 8:24, left : left + 16] = 255 - ground
    return pixels


def an_episode(index: int, rows: int = 0) -> Episode:
    """Episode ``index``; lengths differ."""
    rows = rows or 24 + 3 * (index % 4)
    rng = np.random.default_rng(1000 + index)
    return {
        "pixels": frames(index, rows),
        "action": rng.uniform(-1, 1, (rows, 2)).astype(np.float32),
        "proprio": rng.normal(size=(rows, 4)).astype(np.float32),
        "state": rng.normal(size=(rows, 7)).astype(np.float32),
    }
