"""Small episode files."""

import numpy as np

from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter


def an_episode(rows: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "pixels": rng.integers(0, 256, (rows, 16, 16, 3), dtype=np.uint8),
        "action": rng.normal(size=(rows, 2)).astype(np.float32),
        "tokens": rng.normal(size=(rows, 3, 4)).astype(np.float16),
        "reward": rng.normal(size=rows),
    }


def write(path, episodes, attributes=None, format="cjepa-episodes") -> EpisodeFile:
    with EpisodeWriter(path, format, attributes or {}) as writer:
        for episode in episodes:
            writer.append(episode)
    return EpisodeFile(path)
