import numpy as np
import pytest
import torch
from PIL import Image

from cjepa.data.workers import held_in_workers
from cjepa.envs.pusht.env import PushT
from cjepa.evaluation.planning import control
from cjepa.evaluation.planning.control import plan_seconds, run_trials
from cjepa.evaluation.planning.films import filmed_trials
from cjepa.evaluation.planning.pairs import Pair, draw_pairs
from cjepa.evaluation.planning.plant import Trials, makers
from cjepa.planning.agents import Agent, RandomAgent
from cjepa.planning.blocks import ActionBlocks
from cjepa.planning.mpc import MPC
from cjepa.planning.sub_goals import SubGoals
from cjepa.types import Plan
from tests.conftest import NUM_EPISODES, RecordedProgress, ignore_progress
from tests.planning.worlds import PointWorld, blocks, point_agent

GOAL_ENV_STEPS = 25
USERS_LATENCY_CALLS = control.LATENCY_CALLS
"""Read before the session's own, smaller number is set."""


class Scripted(Agent):
    """Plans of one block out of a fixed list per trial."""

    def __init__(self, actions: np.ndarray, env_steps: int):
        super().__init__(ActionBlocks.of(PushT(), env_steps), horizon_blocks=1)
        self.actions, self.env_steps, self.calls = torch.from_numpy(actions), env_steps, 0

    def plan(self, generator, warm_start_BKHA=None, horizon_blocks=None):
        start = self.calls * self.env_steps
        self.calls += 1
        actions_BTA = self.actions[:, start : start + self.env_steps]
        return Plan(actions_BTA.flatten(1)[:, None], torch.zeros(len(actions_BTA)))


def idle(trials: int) -> Scripted:
    return Scripted(np.zeros((trials, 200, 2), np.float32), 5)


@pytest.fixture(scope="module")
def pairs(episodes):
    return draw_pairs(episodes, np.arange(NUM_EPISODES), PushT(), 20, GOAL_ENV_STEPS, seed=0)


def run(agent, pairs, budget=50, recorded=0, seed=0, progress=ignore_progress, workers=1):
    loop = MPC(agent.horizon_blocks)
    return run_trials(agent, loop, PushT, pairs, budget, seed, recorded, progress, workers=workers)


def test_replaying_the_episode_reaches_its_goal(episodes, pairs):
    rows = [(pair.start_row, pair.start_row + GOAL_ENV_STEPS) for pair in pairs.trials]
    actions = np.stack([episodes.read("action", *span) for span in rows])
    result = run(Scripted(actions, GOAL_ENV_STEPS), pairs.trials, budget=GOAL_ENV_STEPS)
    # the block's velocity is not in a state, so a restored run drifts a little
    assert result.success.mean() >= 0.8
    assert np.median(result.final_error[:, 0]) < 1
    np.testing.assert_array_equal(result.success, (result.final_error < 1).all(axis=1))
    assert result.error_names == ("position", "angle")


def test_doing_nothing_fails(pairs):
    result = run(idle(20), pairs.trials, budget=10)
    assert result.success.dtype == bool and not result.success.any()
    assert (result.final_error >= 1).any(axis=1).all()
    assert result.env_steps_to_success == [None] * 20 and result.num_plans.tolist() == [2] * 20


def state(x: float) -> np.ndarray:
    return np.array([x, 100.0, 350.0, 350.0, 0.0, 0.0, 0.0])


def to_the_right(trials: int) -> np.ndarray:
    actions = np.zeros((trials, 200, 2), np.float32)
    actions[..., 0] = 0.2
    return actions


def test_a_trial_stops_at_its_first_success():
    near, far = (Pair(0, 0, state(100.0), state(goal)) for goal in (150.0, 400.0))
    progress = RecordedProgress()
    result = run(Scripted(to_the_right(2), 5), [near, far], budget=12, recorded=1, progress=progress)
    assert result.success.tolist() == [True, False]
    assert progress.amounts == [5, 5, 2]  # the far one goes on until the budget is spent
    (film,) = result.films
    assert 3 < len(film.frames) < 12  # as many as it took, and the start
    assert result.env_steps_to_success == [len(film.frames) - 1, None]
    assert result.num_plans.tolist() == [1 if len(film.frames) <= 6 else 2, 3]
    assert 0 < result.final_error[0, 0] < 1  # it stays where it succeeded
    assert [len(actions) for actions in result.actions] == [len(film.frames) - 1, 12]
    assert all(np.array_equal(actions, to_the_right(1)[0, : len(actions)]) for actions in result.actions)
    env = PushT()
    env.set_state(state(100.0))
    for index, (frame, error) in enumerate(zip(film.frames, film.error_TE, strict=True)):
        np.testing.assert_array_equal(frame, env.render_pixels())
        np.testing.assert_allclose(error, env.state_error(env.get_state(), state(150.0)))
        assert bool((error < 1).all()) is (index == len(film.frames) - 1)
        env.advance(to_the_right(1)[0, 0])


def test_successes_and_failures_are_filmed_in_turn_and_with_every_step_the_success_so_far_is_said():
    near, far = (Pair(0, 0, state(100.0), state(goal)) for goal in (150.0, 400.0))
    progress = RecordedProgress()
    result = run(Scripted(to_the_right(5), 5), [near, near, near, far, far], 12, recorded=3, progress=progress)
    assert [film.trial for film in result.films] == [0, 1, 3]
    assert [len(film.frames) for film in result.films][-1] == 13 and not result.success[3]
    assert progress.notes[-1] == "success 60 % of 5" and progress.notes[0] in ("success 0 % of 5", progress.notes[-1])
    assert filmed_trials(np.array([False, True, True]), 5) == [0, 1, 2] and filmed_trials(np.ones(3, bool), 2) == [0, 1]
    nowhere = Pair(0, 0, state(100.0), np.full(7, np.nan))
    run(Scripted(to_the_right(1), 5), [nowhere], 5, progress=progress)
    assert progress.notes[-1] == ""  # nobody can say whether a picture is reached


def test_of_a_goal_that_is_a_picture_nothing_else_is_known():
    with held_in_workers(makers(PushT, [Pair(0, 0, state(100.0), np.full(7, np.nan))]), 1) as each:
        goals = Trials(each, [Pair(0, 0, state(100.0), np.full(7, np.nan))], np.zeros((64, 64, 3), np.uint8)).goals
    assert all(np.isnan(values).all() for values in (goals.state_BF, goals.proprio_BP, goals.objects_BOF))


def test_it_ends_when_all_have_succeeded():
    progress = RecordedProgress()
    pair = Pair(0, 0, state(100.0), state(150.0))
    result = run(Scripted(to_the_right(1), 4), [pair], budget=200, progress=progress)
    assert result.success.all() and sum(progress.amounts) < 20


def test_the_agent_sees_where_it_is_and_its_goal(pairs):
    result = run(idle(3), pairs.trials[:3], budget=5)
    for index, pair in enumerate(pairs.trials[:3]):
        env = PushT()
        for found, expected in ((result.starts, pair.start_state), (result.goals, pair.goal_state)):
            env.set_state(expected)
            np.testing.assert_array_equal(found.pixels_BYXC[index], env.render_pixels())
            np.testing.assert_array_equal(found.proprio_BP[index], env.proprio())
            np.testing.assert_allclose(found.state_BF[index], expected, atol=1e-9)


def test_sub_goals_are_seen_as_the_environment_shows_them_or_as_pictures(pairs, tmp_path):
    """Building the way leaves the trials at their starts."""
    with held_in_workers(makers(PushT, pairs.trials[:3]), 1) as each:
        trials = Trials(each, pairs.trials[:3])
    on_the_way = state(200.0)
    route = trials.route(SubGoals(states=[on_the_way.tolist()]))
    np.testing.assert_allclose(route.goal.state_BF, np.tile(on_the_way, (3, 1)), atol=1e-9)
    np.testing.assert_array_equal(route.goals[-1].pixels_BYXC, trials.goals.pixels_BYXC)
    np.testing.assert_array_equal(trials.observe().pixels_BYXC, trials.starts.pixels_BYXC)
    Image.fromarray(route.goal.pixels_BYXC[0]).save(tmp_path / "way.png")
    pictured = trials.route(SubGoals(images=[str(tmp_path / "way.png")])).goal
    np.testing.assert_array_equal(pictured.pixels_BYXC, route.goal.pixels_BYXC)
    assert np.isnan(pictured.state_BF).all() and np.isnan(pictured.proprio_BP).all()


def test_the_seed_decides(pairs):
    agent = RandomAgent(ActionBlocks.of(PushT(), 5), 2)
    first, again, other = (run(agent, pairs.trials[:4], 20, seed=seed).final_error for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    # what is recorded changes nothing
    np.testing.assert_array_equal(first, run(agent, pairs.trials[:4], 20, recorded=2).final_error)


def test_environments_in_several_processes_do_the_same(pairs):
    near = [Pair(0, 0, state(100.0), state(120.0)), *pairs.trials[:2]]  # of which one succeeds
    one, two = (run(Scripted(to_the_right(3), 5), near, 10, recorded=2, workers=workers) for workers in (1, 2))
    assert one.success.tolist() == two.success.tolist() == [True, False, False]
    assert one.env_steps_to_success == two.env_steps_to_success and one.error_names == two.error_names
    assert [film.trial for film in one.films] == [film.trial for film in two.films] == [0, 1]
    seen, again = (
        [*result.actions, result.final_error, *result.starts.shown, *result.ends.shown, *result.goals.shown]
        + [values for film in result.films for values in (*film.seen.shown, film.error_TE)]
        for result in (one, two)
    )
    for values, same in zip(seen, again, strict=True):
        np.testing.assert_array_equal(values, same)


def test_agents_do_not_draw_from_the_global_generator(pairs):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    run(RandomAgent(ActionBlocks.of(PushT(), 5), 1), pairs.trials[:2], 5)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("execute_blocks", "warm_start", "history_blocks"), [(2, False, 1), (1, False, 1), (1, True, 1), (2, False, 3)]
)
def test_trials_stay_within_the_bounds_of_the_environment(execute_blocks, warm_start, history_blocks):
    """In a world whose actions are within -0.4 and 0.3, with every way to execute plans."""
    trials = [Pair(0, 0, np.array([0.0, x]), np.array([1.0, x - 0.5])) for x in (0.0, 3.0)]
    PointWorld.sent.clear()
    agent = point_agent(history_blocks)
    result = run_trials(agent, MPC(execute_blocks, warm_start), PointWorld, trials, 12, 0, 0, ignore_progress)
    if (execute_blocks, history_blocks) == (2, 1):  # whole plans of a model that is right
        assert result.success.all() and all(4 <= steps <= 12 for steps in result.env_steps_to_success)
    sent = np.array(PointWorld.sent)
    assert len(sent) and (sent >= blocks().low).all() and (sent <= blocks().high).all()


def test_plans_are_timed_for_one_environment_after_a_warm_up(monkeypatch):
    monkeypatch.setattr(control, "LATENCY_CALLS", USERS_LATENCY_CALLS)
    agent = point_agent()
    trials = [Pair(0, 0, np.zeros(2), np.ones(2))] * 3
    result = run_trials(agent, MPC(2), PointWorld, trials, 4, 0, 0, ignore_progress)
    agent.dynamics.clips.clear()
    seconds = plan_seconds(agent, result.starts, result.goals)
    assert len(seconds) == 10 and (seconds > 0).all()
    assert [len(clip.tokens_BTSD) for clip in agent.dynamics.clips] == [1] * 11


def test_slow_plans_are_timed_five_times(monkeypatch):
    monkeypatch.setattr(control, "LATENCY_CALLS", USERS_LATENCY_CALLS)
    monkeypatch.setattr(control, "_LATENCY_SECONDS", 0.0)
    trials = [Pair(0, 0, np.zeros(2), np.ones(2))]
    result = run_trials(point_agent(), MPC(2), PointWorld, trials, 4, 0, 0, ignore_progress)
    assert len(plan_seconds(point_agent(), result.starts, result.goals)) == 5
