import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from cjepa.bench import planner
from cjepa.bench.published import PublishedSearch, multihead_copy
from cjepa.bench.timing import working_memory_mb
from cjepa.cli import main
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from tests.conftest import RecordedProgress, configs
from tests.contracts import stirred

SMALL = {"dim": 16, "depth": 2, "num_heads": 4, "mlp_dim": 24, "dropout": 0.1}


@pytest.fixture
def small(monkeypatch):
    """Networks of other sizes do not search otherwise."""
    monkeypatch.setattr(planner, "PAPER", SMALL)
    monkeypatch.setattr(planner, "TOKEN_DIM", 12)
    monkeypatch.setattr(planner, "PATCH_SIDES", (3, 4))
    monkeypatch.setattr(planner, "FILTER", {"dim": 8, "rounds": 1, "place": (16, 4)})
    monkeypatch.setattr(planner, "ICEM_SIZES", planner.ICEM_SIZES | {"num_samples": 6, "num_elites": 2})


def options_of(name: str, part: str) -> dict:
    (path,) = [word for word in configs(name) if word != "-c"]
    with open(path) as file:
        return yaml.safe_load(file)[part]["init_args"]


def test_the_searches_are_those_of_the_experiments():
    published = options_of("pusht/plan.yaml", "planner")
    assert planner.CEM_SIZES == {name: published[name] for name in planner.CEM_SIZES} and published["initial_std"] == 1
    assert options_of("pusht/plan_best.yaml", "planner") == planner.ICEM_SIZES
    ensemble = options_of("pusht/ensemble.yaml", "model")["predictor"]["init_args"]
    assert ensemble["members"] == planner.MEMBERS
    assert ensemble["predictor"]["init_args"]["token_dim"] == planner.FILTER_TOKEN_DIM


def test_ours_chooses_the_actions_of_the_published_search(small):
    """Over several iterations, each of which searches around the elites of the one before."""
    searches = planner.make_searches(6, 40, 2)
    published = [searches[planner.REFERENCE].run(seed) for seed in (0, 1)]
    for seed, expected in enumerate(published):
        torch.testing.assert_close(searches[planner.FULL].run(seed), expected, atol=1e-3, rtol=0)
    assert (published[0] - published[1]).abs().max() > 0.1 and published[0].abs().max() <= 1


def test_costs_are_those_of_the_published_search(small):
    """Objects change places in some rollouts, so that both match them."""
    searches = planner.make_searches(1, 2, 2)
    actions_NHA = 2 * torch.rand(30, planner.HORIZON_BLOCKS, planner.ACTION_DIM) - 1
    with torch.no_grad():
        expected_N, found_N, rounded_N = (
            searches[name].cost(actions_NHA) for name in (planner.REFERENCE, planner.FULL, planner.HALF)
        )
    torch.testing.assert_close(found_N, expected_N, atol=1e-4, rtol=1e-4)
    assert expected_N.std() > 1e-3 and 0 < (rounded_N - expected_N).abs().max() < 0.2 * expected_N.max()


class Swaps(EntityTransformer):
    """Objects change places in every block and move by 0.25; proprioception by the first action."""

    def forward(self, tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE):
        prediction = super().forward(tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE)
        return prediction._replace(
            future_BFSD=tokens_BTSD[:, -1:].flip(2) + 0.25,
            proprio_BFP=proprio_BTP[:, -1:] + actions_BTA[:, -1:, :4],
        )


def test_the_published_cost_by_hand():
    """Two objects at 0 and 10 that swap their slots are put back, are 0.5 off after two blocks; proprio is 2 off."""
    network = Swaps(3, 4, 10, 3, **SMALL).eval()
    now = planner.Clip(torch.tensor([[[[0.0] * 3, [10.0] * 3]]]), torch.zeros(1, 1, 4), torch.zeros(1, 1, 10))
    search = PublishedSearch(network, now, now._replace(tokens_BTSD=now.tokens_BTSD.flip(2)), 2, 2, 1, 2)
    with torch.no_grad():
        cost_N = search.cost(torch.stack([torch.zeros(2, 10), torch.ones(2, 10)]))
        tokens_NSD, _ = search.last_block(torch.zeros(1, 2, 10))
    assert tokens_NSD[0, :, 0].tolist() == [0.5, 10.5]
    assert cost_N.tolist() == [0.25, 0.25 + 4]


def test_pytorchs_layers_are_the_same_network():
    network = stirred(EntityTransformer(6, 4, 10, 3, matching="hungarian", **SMALL)).eval()
    frames = (torch.randn(2, 3, 4, 6), torch.randn(2, 3, 4), torch.randn(2, 3, 10), torch.zeros(2, 3, 4, dtype=bool))
    same = multihead_copy(network)
    assert same.matching == "index" and network.matching == "hungarian"
    network.matching = "index"
    for found, expected in zip(same(*frames), network(*frames), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_seconds_are_of_whole_plans(small, monkeypatch):
    """One of 30 iterations, and 4 of 300 candidates, were timed: a whole plan takes 2,250 times as long."""
    searches = planner.make_searches(1, 4, 2)
    monkeypatch.setattr(planner, "_turn", lambda search: lambda number: 0.25)
    progress = RecordedProgress()
    rows = {row["name"]: row for row in planner.compare_searches(searches, 3, progress)}
    assert set(rows) == set(searches) and len(progress.amounts) == len(searches) * 4
    assert rows[planner.REFERENCE]["seconds"] == pytest.approx(0.25 * 2250)
    assert rows[planner.FULL]["ratio"] == pytest.approx(1.0)
    assert rows["patch-4x4"]["seconds"] == pytest.approx(0.25 * 4500)
    assert rows["object-filter"]["seconds"] == 0.25 and rows["object-filter"]["ratio"] == pytest.approx(2250)
    assert rows[planner.REFERENCE]["calls"] == 300 * 30 * 5
    assert rows["object-filter x 3"]["calls"] == 3 * rows["object-filter"]["calls"]
    assert rows["object-filter x 3"]["gigaflops"] == pytest.approx(3 * rows["object-filter"]["gigaflops"])
    flops = [rows[name]["gigaflops"] for name in ("object-filter", planner.HALF, "patch-3x3", "patch-4x4")]
    assert all(few < many for few, many in itertools.pairwise(flops))
    assert rows[planner.FULL]["gigaflops"] < rows[planner.REFERENCE]["gigaflops"] < 2 * rows[planner.FULL]["gigaflops"]
    assert rows[planner.FULL]["difference"] < 1e-3 and rows["object-filter"]["difference"] is None
    assert [row["tokens"] for row in rows.values()] == [4, 4, 4, 2, 2, 9, 16]


def test_actions_of_other_random_numbers_are_not_compared(small, monkeypatch):
    """A GPU draws its own, whatever the seed."""
    made = planner.make_searches(1, 2, 2)
    searches = {name: replace(made[name], device=torch.device("cuda")) for name in (planner.REFERENCE, planner.FULL)}
    monkeypatch.setattr(planner, "_turn", lambda search: lambda number: 0.25)
    monkeypatch.setattr(planner, "working_memory_mb", lambda work, device: 1.0)
    monkeypatch.setattr(planner.Search, "gigaflops", lambda search: 1.0)
    rows = planner.compare_searches(searches, 1, RecordedProgress())
    assert [row["difference"] for row in rows] == [None, None]


def test_memory_of_work():
    """64 MiB that are written to; on a system that tells."""
    taken = working_memory_mb(lambda: np.ones(2**23).sum(), torch.device("cpu"))
    assert taken is None or 60 < taken < 100


def test_rows_for_programs_and_a_table(small, capsys):
    threads = torch.get_num_threads()
    options = ["--iterations=1", "--candidates=2", "--patch_candidates=2", "--rounds=2", "--cores=1"]
    assert main(["bench", "planner", *options, "--environments=3", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert torch.get_num_threads() == threads and all(row["cores"] == 1 and row["n"] == 2 for row in rows)
    assert {row["environments"] for row in rows if row["name"].startswith("object-filter")} == {3}
    assert rows[0]["name"] == rows[0]["reference"] == planner.REFERENCE and rows[0]["ratio"] == pytest.approx(1.0)
    assert all(row["low"] <= row["ratio"] <= row["high"] for row in rows)
    table = planner.planner_table(rows)
    assert len({len(cells) for cells in table}) == 1 and table[1][-2] == "2 of 9,000" and table[6][6] == "9 x 12"


def test_one_candidate_is_no_search(capsys):
    assert main(["bench", "planner", "--candidates=1"]) == 2
    assert "expected 2 or more" in capsys.readouterr().err
