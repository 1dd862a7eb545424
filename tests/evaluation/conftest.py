"""Tiny files of states."""

import contextlib

import numpy as np
import pytest

from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from tests.conftest import ignore_progress


@pytest.fixture
def static_file(tmp_path) -> EpisodeFile:
    """Episode 0 never moves, episode 1 does: 30 px to the right every env step."""
    state = np.tile(np.array([50, 256, 350, 350, 0, 0, 0], np.float32), (12, 1))
    moving = state.copy()
    moving[:, 0] += 30 * np.arange(12)
    with EpisodeWriter(tmp_path / "static.h5", "cjepa-episodes", {}) as writer:
        writer.append({"state": state})
        writer.append({"state": moving})
    return EpisodeFile(tmp_path / "static.h5")


def written_states(path, states) -> EpisodeFile:
    """A file of episodes of 3 env steps, one for each number."""
    with EpisodeWriter(path, "cjepa-episodes", {}) as writer:
        for value in states:
            rows = {"state": np.full((3, 7), value, np.float32), "action": np.full((3, 2), value, np.float32)}
            writer.append(rows)
    return EpisodeFile(path)


def no_progress(title: str, total: float, unit: str):
    """Begins a part of the work that nobody watches, see ``OpenProgress``."""
    return contextlib.nullcontext(ignore_progress)
