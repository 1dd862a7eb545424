import numpy as np
import pytest

from cjepa.data.splits import SPLIT_SHARES, Lineage, lineage_of, split_episodes
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.envs.pusht.env import PushT
from cjepa.errors import UserError
from cjepa.evaluation.planning.pairs import (
    PairSource,
    common_to,
    draw_pairs,
    held_out_by_seed,
    held_out_from,
    held_out_from_objectives,
)
from cjepa.planning.objectives import LastStepMSE, Learned, WeightedSum
from cjepa.planning.probe_error import ProbeError
from tests.conftest import EPISODE_ENV_STEPS, NUM_EPISODES
from tests.evaluation.conftest import written_states
from tests.planning.worlds import Taught

GOAL_ENV_STEPS = 25


def test_pairs_are_states_of_one_given_episode(episodes):
    held_out = np.array([3, 8, 11])
    drawn = draw_pairs(episodes, held_out, PushT(), 12, GOAL_ENV_STEPS, seed=1).trials
    assert len(drawn) == 12
    for episode, start_row, start, goal, _ in drawn:
        assert episode in held_out
        states = episodes.episode(episode)["state"]
        row = start_row - episodes.offsets[episode]
        assert 0 <= row < EPISODE_ENV_STEPS - GOAL_ENV_STEPS
        np.testing.assert_array_equal(start, states[row])
        np.testing.assert_array_equal(goal, states[row + GOAL_ENV_STEPS])
        assert not PushT().is_success(start, goal)


def test_every_episode_is_used_before_any_twice(episodes):
    pairs = draw_pairs(episodes, np.arange(NUM_EPISODES), PushT(), 20, GOAL_ENV_STEPS, seed=0)
    assert len({pair.episode for pair in pairs.trials}) >= NUM_EPISODES - pairs.num_trivial


@pytest.mark.parametrize("seed", range(8))
def test_episodes_whose_first_pair_was_trivial_come_before_any_twice(episodes, seed):
    class FirstThreeAreTrivial(PushT):
        tests = 0

        def is_success(self, state, goal_state):
            self.tests += 1
            return self.tests <= 3

    drawn = draw_pairs(episodes, np.arange(6), FirstThreeAreTrivial(), 9, GOAL_ENV_STEPS, seed)
    assert sorted(drawn.episodes[:6]) == list(range(6)) and drawn.num_trivial == 3
    assert len(set(drawn.episodes[6:])) == 3


def test_a_given_goal_is_that_of_all_pairs(static_file):
    goal = np.array([50.0, 256, 350, 350, 0, 0, 0])  # where both episodes begin
    drawn = draw_pairs(static_file, np.arange(2), PushT(), 4, 3, 0, goal)
    assert [pair.episode for pair in drawn.trials] == [1] * 4 and drawn.num_trivial >= 3
    assert all(np.array_equal(pair.goal_state, goal) for pair in drawn.trials)
    unknown = draw_pairs(static_file, np.arange(2), PushT(), 4, 3, 0, np.full(7, np.nan))
    assert unknown.num_trivial == 0 and sorted(unknown.episodes) == [0, 0, 1, 1]


def test_pairs_are_seeded(episodes):
    first, again, other = (
        [p.start_row for p in draw_pairs(episodes, np.arange(NUM_EPISODES), PushT(), 8, 25, seed).trials]
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_trivial_pairs_are_left_out_and_counted(static_file):
    drawn = draw_pairs(static_file, np.arange(2), PushT(), 4, 3, seed=0)
    assert [pair.episode for pair in drawn.trials] == [1] * 4
    assert 3 <= drawn.num_trivial <= 4  # the episodes take turns
    with pytest.raises(UserError, match="static.h5: only 0 of 2 pairs"):
        draw_pairs(static_file, np.array([0]), PushT(), 2, 3, seed=0)


def test_episodes_may_be_too_short(static_file):
    assert {p.start_row for p in draw_pairs(static_file, np.array([1]), PushT(), 3, 11, seed=0).trials} == {12}
    with pytest.raises(UserError, match="static.h5.*12"):
        draw_pairs(static_file, np.array([1]), PushT(), 3, 12, seed=0)


def test_states_have_to_be_the_environments(tmp_path):
    for name, rows, fault in (
        ("none.h5", {"action": np.zeros((9, 2), np.float32)}, "none.h5: no column 'state'"),
        ("short.h5", {"state": np.zeros((9, 5), np.float32)}, r"short.h5: states of shape \(5,\).*PushT.*\(7,\)"),
    ):
        with EpisodeWriter(tmp_path / name, "cjepa-episodes", {}) as writer:
            writer.append(rows)
        with pytest.raises(UserError, match=fault):
            draw_pairs(EpisodeFile(tmp_path / name), np.array([0]), PushT(), 1, 3, seed=0)


def test_settings_are_chosen_on_validation_episodes(tmp_path):
    file = written_states(tmp_path / "a.h5", range(40))
    splits = split_episodes(40, SPLIT_SHARES, 1)
    for lineage in (lineage_of(file, 1, [])._asdict(), {}):
        held_out = held_out_from(file, lineage, {"split_seed": 1}, "val")
        assert held_out.episodes.tolist() == splits["val"].tolist() != splits["test"].tolist()
        assert held_out.account.startswith("2 val episodes")
    assert held_out_by_seed(file, 1, "val").episodes.tolist() == splits["val"].tolist()


@pytest.mark.parametrize("split_seed", [0, 1, 2, 3])
def test_a_model_is_tested_on_episodes_of_its_own_split(tmp_path, split_seed):
    """Another seed has other training episodes: those of the default split would be among them."""
    file = written_states(tmp_path / "a.h5", range(40))
    trained = split_episodes(40, SPLIT_SHARES, split_seed)["train"]
    lineage = lineage_of(file, split_seed, [])._asdict()
    held_out = held_out_from(file, lineage, {"split_seed": 9})
    assert len(held_out.episodes) == 2 and not set(held_out.episodes) & set(trained)
    assert held_out.account == f"2 test episodes of the training's split (split_seed {split_seed})"


def test_excluded_episodes_are_not_tested(tmp_path):
    file = written_states(tmp_path / "a.h5", range(40))
    first, second = split_episodes(40, SPLIT_SHARES, 0)["test"]
    lineage = lineage_of(file, 0, [int(first)])._asdict()
    assert held_out_from(file, lineage, {}).episodes.tolist() == [second]
    with pytest.raises(UserError, match="a.h5: none of its 40 episodes is in the test part of the split of the model"):
        held_out_from(file, lineage_of(file, 0, [int(first), int(second)])._asdict(), {})


def test_other_episodes_are_wholly_held_out(tmp_path):
    lineage = lineage_of(written_states(tmp_path / "a.h5", range(40)), 0, [])._asdict()
    held_out = held_out_from(written_states(tmp_path / "b.h5", range(100, 130)), lineage, {})
    assert held_out.episodes.tolist() == list(range(30))
    assert held_out.account == "all 30 episodes: the model was trained on none of them"
    chosen_by = held_out_from(written_states(tmp_path / "c.h5", range(100, 130)), lineage, {}, "val")
    assert chosen_by.episodes.tolist() == held_out.episodes.tolist()
    assert chosen_by.account.startswith(f"{held_out.account}; --split test takes the same")


def test_another_version_of_the_training_episodes_is_refused(tmp_path):
    lineage = lineage_of(written_states(tmp_path / "a.h5", range(40)), 0, [])._asdict()
    with pytest.raises(UserError, match="b.h5: another version of the episodes"):
        held_out_from(written_states(tmp_path / "b.h5", range(20, 60)), lineage, {})


@pytest.mark.parametrize(
    ("data", "split_seed", "said"),
    [
        ({"split_seed": 3}, 3, "split_seed 3 (as in the training)"),
        ({}, 0, "split_seed 0 (the default, since the checkpoint does not say)"),
    ],
)
def test_an_old_checkpoint_has_the_split_of_its_options(tmp_path, data, split_seed, said):
    file = written_states(tmp_path / "a.h5", range(40))
    expected = split_episodes(40, SPLIT_SHARES, split_seed)["test"]
    held_out = held_out_from(file, {}, data)
    assert held_out.episodes.tolist() == expected.tolist() == held_out_by_seed(file, split_seed).episodes.tolist()
    assert said in held_out.account and "does not say which episodes" in held_out.account
    left_out = held_out_from(file, {}, data | {"exclude_episodes": [int(expected[0])]})
    assert left_out.episodes.tolist() == expected[1:].tolist()


def test_two_models_have_only_some_episodes_in_common(episodes):
    one, other = PairSource(np.array([1, 4, 7]), "three"), PairSource(np.array([4, 7, 9]), "three others")
    both = common_to(episodes, [("world model", one), ("policy", other)])
    assert both.episodes.tolist() == [4, 7]
    assert both.account == "2 episodes in common: world model: three; policy: three others"
    with pytest.raises(UserError, match="no episode is held out from all at once .world model: three; policy: another"):
        common_to(episodes, [("world model", one), ("policy", PairSource(np.array([2]), "another"))])


def test_without_a_seed_all_episodes_give_pairs(episodes):
    """As they do for models that were trained on none of them."""
    source = held_out_by_seed(episodes, None)
    assert source.episodes.tolist() == list(range(20)) and source.account == "all 20 episodes"
    assert len(held_out_by_seed(episodes, 0).episodes) == 1


def test_what_every_objective_has_learned_from_counts_once(episodes):
    """Of all parts of a sum, and on another level under the same name."""
    made = [Learned("language model", lineage_of(episodes, seed, ())._asdict()) for seed in (0, 1, 2)]
    objectives = [(WeightedSum([Taught(made[0]), Taught(made[1])]), {}), (Taught(made[2], made[0]), {})]
    found = held_out_from_objectives(episodes, objectives, "val")
    parts = [split_episodes(NUM_EPISODES, SPLIT_SHARES, seed)["val"].tolist() for seed in (0, 1, 2)]
    assert [(name, source.episodes.tolist()) for name, source in found] == [("language model", part) for part in parts]


def test_whose_part_of_the_split_is_empty_is_told(tmp_path):
    few = written_states(tmp_path / "few.h5", range(10))
    learned = Learned("probe of tokens.h5", lineage_of(few, 0, ())._asdict())
    with pytest.raises(UserError, match="none of its 10 episodes is in the test part of the split of the probe of tok"):
        held_out_from_objectives(few, [(Taught(learned), {})])


def test_a_probe_is_not_used_on_episodes_that_it_was_fitted_on(episodes, tokens_path):
    """All episodes are others than those of the world model, by whose seed the probe splits them."""
    lineage = Lineage("of others", 5, [], [1])._asdict()
    objective = WeightedSum([LastStepMSE(), ProbeError(str(tokens_path))])
    ((name, source),) = held_out_from_objectives(episodes, [(objective, lineage)])
    assert name == f"probe of {tokens_path}" and len(held_out_from(episodes, lineage, {}).episodes) == NUM_EPISODES
    assert source.episodes.tolist() == split_episodes(NUM_EPISODES, SPLIT_SHARES, 5)["test"].tolist()
    (learned,) = ProbeError(str(tokens_path), split_seed=3).learned({})
    assert learned.lineage == lineage_of(episodes, 3, ())._asdict()
