"""A token file that says which row each of its values is from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cjepa.data.store.episode_writer import EpisodeWriter
from tests.conftest import token_attributes


@pytest.fixture
def numbered_tokens(tmp_path) -> Callable[[list[int]], Path]:
    """Makes a token file of episodes with the given lengths whose values say which row they are from."""

    def make(lengths: list[int]) -> Path:
        path = tmp_path / "numbered.h5"
        row = 0
        with EpisodeWriter(path, "cjepa-tokens", token_attributes(num_slots=1, token_dim=1)) as writer:
            for length in lengths:
                rows = np.arange(row, row + length, dtype=np.float32)
                writer.append(
                    {
                        "tokens": rows[:, None, None].astype(np.float16),
                        "proprio": np.repeat(rows[:, None], 4, axis=1),
                        "action": np.stack([rows, -rows], axis=1),
                        "state": np.repeat(rows[:, None], 7, axis=1),
                    }
                )
                row += length
        return path

    return make
