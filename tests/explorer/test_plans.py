"""The page of a planner: candidates where the model imagines them, and what the simulator makes of the plan."""

import numpy as np
import pytest
import torch
from werkzeug.test import Client

from cjepa.data.splits import lineage_of
from cjepa.errors import UserError
from cjepa.explorer.plans import drawn_candidates
from cjepa.explorer.server import App
from cjepa.planning.objectives import Learned
from cjepa.planning.planners.cem import CEM
from cjepa.planning.problem import PlanningProblem
from cjepa.planning.recording import recorded_plan
from tests.explorer.conftest import plans_page
from tests.explorer.drifting import PX_PER_ACTION
from tests.planning.worlds import Taught


@pytest.fixture(scope="module")
def first(plans) -> dict:
    return plans.answer({})


def test_candidates_begin_where_the_bodies_are_and_go_where_the_model_says(first, plans):
    start = plans.pairs.trials[0].start_state
    paths = np.array(first["candidates"]["paths"], float)
    assert paths.shape == (8, 1 + 3, 2, 2) and first["bodies"] == [0, 1]
    np.testing.assert_allclose(paths[:, 0], np.broadcast_to([start[:2], start[2:4]], (8, 2, 2)), atol=0.01)
    assert np.abs(paths[:, :, 1] - start[2:4]).max() < 0.01  # in this model nothing moves the block
    assert (np.abs(np.diff(paths[:, :, 0], axis=1)) <= 5 * PX_PER_ACTION + 0.01).all()


def test_iterations_end_at_the_plan(first, plans):
    earlier = plans.answer({"iteration": "0"})
    assert first["settings"]["iteration"] == 2 and first["limits"]["iteration"] == 2
    assert earlier["candidates"]["paths"] != first["candidates"]["paths"]
    assert first["best_cost"] == earlier["best_cost"] and first["best_cost"] == sorted(first["best_cost"], reverse=True)
    assert first["candidates"]["cost"] == sorted(first["candidates"]["cost"])
    assert first["plan"]["cost"] == first["candidates"]["cost"][0] == first["best_cost"][-1]
    assert first["plan"]["path"] == first["candidates"]["paths"][0]
    assert plans.answer({"seed": "1"})["candidates"]["paths"] != first["candidates"]["paths"]


def test_the_plan_is_run_on_the_simulator(first, plans):
    pair, env = plans.pairs.trials[0], plans.model.env
    plan_HA = plans._search(0, 3, 0).plan_HA
    env.set_state(pair.start_state)
    expected = [env.objects()[:, :2]]
    for block_A in plan_HA.numpy():
        for action in block_A.reshape(5, 2):
            env.advance(action)
        expected.append(env.objects()[:, :2])
    np.testing.assert_allclose(np.array(first["track"], float), expected, atol=0.01)
    error_E = env.state_error(env.get_state(), pair.goal_state)
    assert first["errors"][-1] == pytest.approx(error_E, abs=0.01) and len(first["errors"]) == len(first["frames"]) == 4
    assert (first["reached"] is None) == (not any(max(errors) < 1 for errors in first["errors"]))


def test_a_spread_of_the_candidates_is_drawn():
    cost_N = torch.tensor([*range(200), float("nan")])[torch.randperm(201, generator=torch.Generator().manual_seed(0))]
    actions_NHA, drawn_N = drawn_candidates(cost_N[:, None, None], cost_N)
    assert drawn_N[:30].tolist() == list(range(30)) and len(drawn_N) == 60
    assert drawn_N[30] == 30 and drawn_N[-2] > 150 and drawn_N[-1].isnan()
    assert torch.equal(actions_NHA[:-1, 0, 0], drawn_N[:-1])


def test_a_recorded_search_finds_the_same_plan():
    def problem() -> PlanningProblem:
        bounds = -torch.ones(2), torch.ones(2)
        generator = torch.Generator().manual_seed(0)
        return PlanningProblem(lambda actions: actions.square().sum(dim=(2, 3)), *bounds, 1, 3, generator)

    planner = CEM(num_samples=6, iterations=2, num_elites=2)
    plan, recorded = recorded_plan(planner, problem())
    assert torch.equal(plan.actions_BHA, planner.plan(problem()).actions_BHA)
    assert [(actions.shape, cost.shape) for actions, cost in recorded.calls] == [((6, 3, 2), (6,))] * 2
    for actions_NHA, cost_N in recorded.calls:
        assert torch.equal(cost_N, actions_NHA.square().sum(dim=(1, 2)))


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ({"pair": "4"}, "pair 4: expected 0..3"),
        ({"horizon": "11"}, "horizon 11: expected 1..10 blocks"),
        ({"iteration": "3"}, "iteration 3: expected 0..2"),
        ({"iteration": "-1"}, "iteration -1: expected 0..2"),
        ({"seed": "-1"}, "seed -1: expected 0 or more"),
        ({"block": "4"}, "block 4: expected 0..3"),
        ({"seed": "x"}, "seed 'x': expected an integer"),
        ({"body": "1"}, "'body' is no setting; expected pair, horizon, iteration, seed, block"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(plans, query, line):
    with pytest.raises(UserError) as refusal:
        plans.answer(query)
    assert str(refusal.value) == line


def test_the_page_is_that_of_plans(plans):
    client = Client(App(plans))
    assert "Start and goal" in client.get("/").text and client.get("/plans.js").status_code == 200
    assert client.get("/table.js").status_code == 404
    assert client.get("/answer?pair=9").json["error"] == "pair 9: expected 0..3"


def test_pairs_are_of_episodes_that_the_objective_did_not_learn_from(episodes):
    learned = Learned("a probe", lineage_of(episodes, 1, [])._asdict())
    with pytest.raises(
        UserError, match="no episode is held out from all at once"
    ):  # the model's one and the probe's one are different
        plans_page(episodes.path, Taught(learned))
    learned = Learned("a probe", lineage_of(episodes, 0, [])._asdict())
    assert "; a probe: 1 test episode" in plans_page(episodes.path, Taught(learned)).about()["held_out"]
