import torch
import yaml

from cjepa.bench import searches
from tests.conftest import configs


def options_of(name: str, part: str) -> dict:
    (path,) = [word for word in configs(name) if word != "-c"]
    with open(path) as file:
        return yaml.safe_load(file)[part]["init_args"]


def test_the_searches_are_those_of_the_experiments():
    published = options_of("pusht/plan.yaml", "planner")
    assert (
        searches.CEM_SIZES == {name: published[name] for name in searches.CEM_SIZES} and published["initial_std"] == 1
    )
    assert options_of("pusht/plan_best.yaml", "planner") == searches.ICEM_SIZES
    ensemble = options_of("pusht/ensemble.yaml", "model")["predictor"]["init_args"]
    assert ensemble["members"] == searches.MEMBERS
    assert ensemble["predictor"]["init_args"]["token_dim"] == searches.FILTER_TOKEN_DIM


def test_ours_chooses_the_actions_of_the_published_search(small):
    """Over several iterations, each of which searches around the elites of the one before."""
    made = searches.make_searches(6, 40, 2)
    published = [made[searches.REFERENCE].run(seed) for seed in (0, 1)]
    for seed, expected in enumerate(published):
        torch.testing.assert_close(made[searches.FULL].run(seed), expected, atol=1e-3, rtol=0)
    assert (published[0] - published[1]).abs().max() > 0.1 and published[0].abs().max() <= 1


def test_costs_are_those_of_the_published_search(small):
    """Objects change places in some rollouts, so that both match them."""
    made = searches.make_searches(1, 2, 2)
    actions_NHA = 2 * torch.rand(30, searches.HORIZON_BLOCKS, searches.ACTION_DIM) - 1
    with torch.no_grad():
        expected_N, found_N, rounded_N = (
            made[name].cost(actions_NHA) for name in (searches.REFERENCE, searches.FULL, searches.HALF)
        )
    torch.testing.assert_close(found_N, expected_N, atol=1e-4, rtol=1e-4)
    assert expected_N.std() > 1e-3 and 0 < (rounded_N - expected_N).abs().max() < 0.2 * expected_N.max()
