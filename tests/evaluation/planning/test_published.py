import numpy as np
import pytest

from cjepa.data.splits import SPLIT_SHARES, lineage_of, split_episodes
from cjepa.envs.pusht.env import PushT
from cjepa.errors import UserError
from cjepa.evaluation.planning.published import draw_as_published, trained_on
from tests.evaluation.conftest import written_states


@pytest.mark.parametrize("by_options", [False, True])
def test_the_episodes_are_those_of_the_training(by_options, tmp_path):
    file = written_states(tmp_path / "a.h5", range(40))
    first, *others = split_episodes(40, SPLIT_SHARES, 1)["train"].tolist()
    lineage = {} if by_options else lineage_of(file, 1, [first])._asdict()
    data = {"split_seed": 1, "exclude_episodes": [first]} if by_options else {"split_seed": 9}
    source = trained_on(file, lineage, data)
    assert source.episodes.tolist() == others
    assert source.account == "35 training episodes (split_seed 1), solved pairs included: as published"


def test_episodes_that_the_model_has_not_seen_are_refused(tmp_path):
    lineage = lineage_of(written_states(tmp_path / "a.h5", range(40)), 0, [])._asdict()
    with pytest.raises(UserError, match="--published_protocol .* are not .*b.h5 .* give the file that the model was"):
        trained_on(written_states(tmp_path / "b.h5", range(50, 90)), lineage, {})


def test_every_start_row_is_drawn_once_and_solved_pairs_stay_in(static_file):
    drawn = draw_as_published(static_file, np.arange(2), PushT(), 18, 3, seed=0)
    assert sorted(pair.start_row for pair in drawn.trials) == [*range(9), *range(12, 21)]
    for episode, row, start, goal, _ in drawn.trials:
        assert episode == row // 12
        assert goal[0] - start[0] == (90 if episode else 0) and start[0] == 50 + (30 * (row - 12) if episode else 0)
    assert drawn.num_trivial == 9  # those of the episode that never moves
    with pytest.raises(UserError, match="static.h5: 18 states .* expected at least 19"):
        draw_as_published(static_file, np.arange(2), PushT(), 19, 3, seed=0)


def test_the_draw_is_seeded_and_keeps_to_its_episodes(episodes):
    first, again, other = (
        draw_as_published(episodes, np.array([4, 9]), PushT(), 6, 25, seed).trials for seed in (0, 0, 1)
    )
    rows = [[pair.start_row for pair in drawn] for drawn in (first, again, other)]
    assert rows[0] == rows[1] != rows[2]
    assert {pair.episode for pair in first} <= {4, 9}
    for pair in first:
        np.testing.assert_array_equal(pair.start_state, episodes.read("state", pair.start_row, pair.start_row + 1)[0])


def test_states_have_to_be_the_environments(tmp_path):
    file = written_states(tmp_path / "a.h5", range(3))
    file.columns.pop("state")
    with pytest.raises(UserError, match="no column 'state'"):
        draw_as_published(file, np.arange(3), PushT(), 1, 1, seed=0)
