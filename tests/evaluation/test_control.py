import numpy as np
import pytest
import torch

from cjepa.data.store.episode_file import EpisodeFile, EpisodeWriter
from cjepa.envs.pusht.env import PushT
from cjepa.errors import UserError
from cjepa.evaluation.control import Pair, draw_pairs, run_trials
from cjepa.planning.agents import Agent, RandomAgent
from tests.conftest import EPISODE_ENV_STEPS, NUM_EPISODES, RecordedProgress, ignore_progress

GOAL_ENV_STEPS = 25


class Scripted(Agent):
    """Gives actions out of a fixed list per trial, so many env steps at a time."""

    def __init__(self, actions: np.ndarray, env_steps: int):
        self.actions, self.env_steps, self.calls = actions, env_steps, 0

    def act(self, now, goal, generator):
        start = self.calls * self.env_steps
        self.calls += 1
        return self.actions[:, start : start + self.env_steps]


def idle(trials: int, env_steps: int = 5) -> Scripted:
    return Scripted(np.zeros((trials, 200, 2), np.float32), env_steps)


@pytest.fixture(scope="module")
def pairs(episodes):
    return draw_pairs(episodes, np.arange(NUM_EPISODES), PushT(), 20, GOAL_ENV_STEPS, seed=0)


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


def run(agent, pairs, budget=50, recorded=0, seed=0, progress=ignore_progress):
    return run_trials(agent, PushT, pairs, budget, seed, recorded, progress)


def test_pairs_are_states_of_one_given_episode(episodes):
    held_out = np.array([3, 8, 11])
    drawn = draw_pairs(episodes, held_out, PushT(), 12, GOAL_ENV_STEPS, seed=1).trials
    assert len(drawn) == 12
    for episode, start_row, start, goal in drawn:
        assert episode in held_out
        states = episodes.episode(episode)["state"]
        row = start_row - episodes.offsets[episode]
        assert 0 <= row < EPISODE_ENV_STEPS - GOAL_ENV_STEPS
        np.testing.assert_array_equal(start, states[row])
        np.testing.assert_array_equal(goal, states[row + GOAL_ENV_STEPS])
        assert not PushT().is_success(start, goal)


def test_every_episode_is_used_before_any_twice(pairs):
    assert len({pair.episode for pair in pairs.trials}) >= NUM_EPISODES - pairs.num_trivial


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


def test_replaying_the_episode_reaches_its_goal(episodes, pairs):
    rows = [(pair.start_row, pair.start_row + GOAL_ENV_STEPS) for pair in pairs.trials]
    actions = np.stack([episodes.read("action", *span) for span in rows])
    trials = run(Scripted(actions, GOAL_ENV_STEPS), pairs.trials, budget=GOAL_ENV_STEPS)
    # the block's velocity is not in a state, so a restored run drifts a little
    assert trials.success.mean() >= 0.8
    assert np.median(trials.final_error[:, 0]) < 1
    np.testing.assert_array_equal(trials.success, (trials.final_error < 1).all(axis=1))


def test_doing_nothing_fails(pairs):
    trials = run(idle(20), pairs.trials, budget=10)
    assert trials.success.dtype == bool and not trials.success.any()
    assert (trials.final_error >= 1).any(axis=1).all()


def test_a_trial_stops_at_its_first_success():
    def state(x):
        return np.array([x, 100.0, 350.0, 350.0, 0.0, 0.0, 0.0])

    near, far = (Pair(0, 0, state(100.0), state(goal)) for goal in (150.0, 400.0))
    right = np.zeros((2, 60, 2), np.float32)
    right[..., 0] = 0.2
    progress = RecordedProgress()
    trials = run(Scripted(right, 5), [near, far], budget=12, recorded=1, progress=progress)
    assert trials.success.tolist() == [True, False]
    assert progress.amounts == [5, 5, 2]  # the far one goes on until the budget is spent
    (frames,), (plans,) = trials.frames, trials.plans
    assert 3 < len(frames) < 12  # as many as it took, and the start
    assert all(plan.shape == (5, 2) for plan in plans) and len(plans) <= 2
    assert 0 < trials.final_error[0, 0] < 1  # it stays where it succeeded
    env = PushT()
    env.set_state(state(100.0))
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame, env.render_pixels())
        assert bool(env.is_success(env.get_state(), state(150.0))) is (index == len(frames) - 1)
        env.advance(right[0, 0])


def test_it_ends_when_all_have_succeeded():
    start, goal = (np.array([x, 100.0, 350.0, 350.0, 0.0, 0.0, 0.0]) for x in (100.0, 150.0))
    right = np.zeros((1, 200, 2), np.float32)
    right[..., 0] = 0.2
    progress = RecordedProgress()
    trials = run(Scripted(right, 4), [Pair(0, 0, start, goal)], budget=200, progress=progress)
    assert trials.success.all() and sum(progress.amounts) < 20


def test_the_agent_sees_where_it_is_and_its_goal(pairs):
    trials = run(idle(3), pairs.trials[:3], budget=15)
    assert len(trials.replan_situations) == 3
    first = trials.replan_situations[0]
    for index, pair in enumerate(pairs.trials[:3]):
        env = PushT()
        for found, expected in ((first, pair.start_state), (trials.goals, pair.goal_state)):
            env.set_state(expected)
            np.testing.assert_array_equal(found.pixels_BYXC[index], env.render_pixels())
            np.testing.assert_array_equal(found.proprio_BP[index], env.proprio())
            np.testing.assert_allclose(found.state_BF[index], expected, atol=1e-9)


def test_the_seed_decides(pairs):
    agent = RandomAgent(env_steps=10, action_dim=2)
    first, again, other = (run(agent, pairs.trials[:4], 20, seed=seed).final_error for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    # what is recorded changes nothing
    np.testing.assert_array_equal(first, run(agent, pairs.trials[:4], 20, recorded=2).final_error)


def test_agents_do_not_draw_from_the_global_generator(pairs):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    run(RandomAgent(5, 2), pairs.trials[:2], 5)
    assert torch.equal(before, torch.get_rng_state())
