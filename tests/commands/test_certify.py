"""The smallest search that is not worse than the full one."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from cjepa.cli import main
from cjepa.commands.certify import certified
from cjepa.commands.parts import Evaluated
from cjepa.evaluation.planning.protocol import PlanningProtocol
from cjepa.planning.planners.cem import CEM
from cjepa.planning.planners.smaller import search_size
from cjepa.reporting.reading import read_rows
from cjepa.reporting.records import result_row
from tests.conftest import configs

PAIRS = 100
FULL = CEM(num_samples=40, iterations=8, num_elites=4)


def certificate(successes: dict[str, int], folder, margin=0.1):
    """Of searches that succeed on the first so many of 100 pairs, each from an episode of its own."""
    asked = []

    def evaluate(protocol, part, planner):
        asked.append((part.name, protocol.split, planner.num_samples, planner.iterations))
        success_N = np.arange(PAIRS) < successes[part.name]
        name = f"toy, {search_size(planner)}"
        common = {"model": name, "seed": 0, "split": protocol.split, "run": part.name}
        seconds = planner.num_samples * planner.iterations / 1000
        rows = [result_row("success", success_N.mean(), n=PAIRS, episodes=PAIRS, unit="rate", **common)]
        rows.append(result_row("seconds_per_plan", seconds, unit="s", **common))
        source = SimpleNamespace(account="100 val episodes")
        contest = SimpleNamespace(pairs=SimpleNamespace(episodes=np.arange(PAIRS)), source=source)
        return Evaluated(rows, contest, {name: SimpleNamespace(success=success_N)})

    done = certified(PlanningProtocol("a.h5"), FULL, margin, folder, evaluate)
    return asked, done, json.loads((folder / "certificate.json").read_text())


def test_the_search_before_the_first_that_fails_is_chosen(tmp_path):
    # 88 of the 90 that the full search reaches: the interval ends above -10 points; with 80 it ends below
    asked, done, found = certificate({"full": 90, "40x4": 90, "20x4": 88, "20x2": 80, "10x2": 90}, tmp_path)
    assert asked == [("full", "val", 40, 8), ("40x4", "val", 40, 4), ("20x4", "val", 20, 4), ("20x2", "val", 20, 2)]
    assert (found["chosen"]["num_samples"], found["chosen"]["iterations"], found["chosen"]["num_elites"]) == (20, 4, 2)
    assert [one["holds"] for one in found["searches"]] == [True, True, True, False]
    assert [one["seconds_per_plan"] for one in found["searches"]] == [0.32, 0.16, 0.08, 0.04]
    lines = "\n".join(done.lines)
    assert "pairs from 100 val episodes\n" in lines
    assert "certified: 20 x 4, 80 ms per plan instead of 0.32 s; loses no more than 10 points" in lines
    assert "--planner.init_args.num_samples 20 --planner.init_args.iterations 4" in lines
    assert "not certified: 20 x 2, which may lose" in lines and "toy, 20 x 2: success -10 points" in lines
    differences = [
        row["value"] for row in read_rows(tmp_path / "results.json") if row["metric"] == "success_difference"
    ]
    assert differences == pytest.approx([0, -0.02, -0.1])


def test_a_small_margin_certifies_nothing_less(tmp_path):
    asked, done, found = certificate({"full": 90, "40x4": 88}, tmp_path, margin=0.01)
    assert len(asked) == 2 and found["chosen"]["iterations"] == 8
    assert any(line == "certified: only the full search 40 x 8" for line in done.lines)


@pytest.fixture
def words(world_model_run, episodes_path, monkeypatch) -> list[str]:
    monkeypatch.setattr("cjepa.evaluation.planning.models.plan_seconds", lambda *_: [0.1])
    command = ["plan", world_model_run, *configs("pusht/plan.yaml", "smoke/plan.yaml"), "--episodes", episodes_path]
    command += ["--pairs", 2, "--num_videos", 0, "--budget_env_steps", 5, "--certify", "--certify_margin", 0.9]
    command += ["--planner.init_args.num_samples", 8, "--planner.init_args.iterations", 2]
    return [str(word) for word in command]


def test_the_command(words, tmp_path, capsys):
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "certified: " in shown and "certificate.json" in shown
    assert {row["split"] for row in read_rows(tmp_path / "out" / "results.json")} == {"val"}
    assert (tmp_path / "out" / "full" / "trials.csv").is_file()


def test_what_a_certificate_is_not_about_is_refused(words, tmp_path, refused):
    for option, value in (("seeds", "[0]"), ("shift", "size"), ("published_protocol", "true")):
        assert f"leave out --{option}" in refused(*words, f"--{option}={value}", "--out", tmp_path / "out")
