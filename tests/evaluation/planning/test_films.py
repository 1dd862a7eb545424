"""What an agent imagined, by hand: points whose dynamics the agent knows."""

import numpy as np
import pytest
import torch

from cjepa.evaluation.planning.control import run_trials
from cjepa.evaluation.planning.films import imagine_films
from cjepa.evaluation.planning.pairs import Pair
from cjepa.planning.mpc import MPC
from cjepa.planning.planners.icem import ICEM
from tests.conftest import ignore_progress
from tests.planning.worlds import PointWorld, blocks, point_agent


class Table(PointWorld):
    table = (0.0, 8.0)


PAIRS = [Pair(0, 0, np.array([1.0, y]), np.array([9.0, y])) for y in (1.0, 2.0, 3.0)]


@pytest.mark.parametrize("history", [1, 3])
def test_films_show_what_was_imagined_when_plans_were_made(history):
    """From where the point was, the chosen actions and the elites; the agent knows the world if it sees one frame."""
    planner = ICEM(num_samples=8, iterations=2, num_elites=4, keep=0.75)
    agent = point_agent(history, 3, planner=planner)
    result = run_trials(agent, MPC(1, warm_start=True), Table, PAIRS, 8, 0, 2, ignore_progress)
    imagined = imagine_films(agent, Table(), result.films, result.goals, result.actions, result.plans)
    for film, plans in zip(result.films, imagined, strict=True):
        assert [plan.env_step for plan in plans] == [record.env_step for record in result.plans] == [0, 2, 4, 6]
        for plan, record in zip(plans, result.plans, strict=True):
            candidates = [record.actions_BHA[film.trial], *record.plan.elites_BKHA[film.trial]]
            moves_NH2 = blocks().to_env_steps(torch.stack(candidates)).reshape(3, -1, 2, 2).sum(axis=2)
            first = max(0, plan.env_step - 2 * (history - 1))
            seen = film.seen.state_BF[first : plan.env_step + 1 : 2]
            ways_NH2 = seen.mean(axis=0) + moves_NH2.cumsum(axis=1)
            np.testing.assert_allclose(plan.paths_NUO2[:, 1:, 0], ways_NH2, atol=1e-4)
            np.testing.assert_allclose(plan.paths_NUO2[:, 0, 0], np.tile(seen[-1], (3, 1)), atol=1e-4)
            np.testing.assert_allclose(plan.tokens_HSD[:, 0], ways_NH2[0], atol=1e-4)


def test_environments_without_a_table_have_no_paths():
    agent = point_agent()
    result = run_trials(agent, MPC(2), PointWorld, PAIRS[:1], 4, 0, 1, ignore_progress)
    (((plan,)),) = imagine_films(agent, PointWorld(), result.films, result.goals, result.actions, result.plans)
    assert plan.paths_NUO2 is None and plan.tokens_HSD.shape == (2, 1, 2)
