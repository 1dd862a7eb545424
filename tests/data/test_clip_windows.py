"""Where clips start."""

import numpy as np
import pytest

from cjepa.data.clip_windows import clip_starts, evenly_spread
from cjepa.data.store.shards import open_episodes
from cjepa.errors import UserError


def test_no_episode_and_episodes_that_are_too_short_are_told_apart(episodes_path):
    file = open_episodes(episodes_path)
    with pytest.raises(UserError, match=f"none of its {len(file.lengths)} episodes is in this part of the split"):
        clip_starts(file, np.array([], int), 2, 5)
    with pytest.raises(UserError, match="no clip of 500 blocks x 5 env steps = 2500 env steps in 1 episode "):
        clip_starts(file, np.array([0]), 500, 5)


@pytest.mark.parametrize(("count", "expected"), [(3, [0, 4, 9]), (1, [0]), (99, list(range(10)))])
def test_evenly_spread_values_begin_and_end_with_the_first_and_the_last(count, expected):
    assert evenly_spread(np.arange(10), count).tolist() == expected
