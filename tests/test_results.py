"""The numbers of the README and of the benchmarks are those of a results file, and no others."""

import importlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from cjepa.bench.timing import rows_against
from cjepa.files import read_json, write_json

DOCS = Path(__file__).parents[1] / "docs"
TOOLS = DOCS.parent / "tools"


def update_results():
    spec = importlib.util.spec_from_file_location("update_results", TOOLS / "update_results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_says_what_the_results_file_says():
    module = update_results()
    result = read_json(DOCS / "results" / "quickstart.json")
    assert module.block_of(module.README, "results") == module.readme_block(result).strip()


def test_the_page_of_push_t_says_how_the_best_model_plans():
    module = update_results()
    assert module.block_of(module.PUSH_T, "best") == module.run_block(read_json(DOCS / "results" / "best.json"))


@pytest.mark.parametrize("name", ["loader", "tokenize", "planner", "train"])
def test_the_benchmarks_say_what_the_results_files_say(name):
    module = update_results()
    result = read_json(DOCS / "results" / f"{name}.json")
    assert module.block_of(module.BENCHMARKS, name) == module.bench_block(result)
    assert all(row["low"] <= row["ratio"] <= row["high"] and row["n"] >= 5 for row in result["rows"])


def test_the_readme_says_how_much_faster_plans_are():
    rows = {row["name"]: row for row in read_json(DOCS / "results" / "planner.json")["rows"]}
    fast, published = rows["object-filter"], rows["published-fp32"]
    text = " ".join((DOCS.parent / "README.md").read_text().split())
    assert f"{fast['seconds']:.2g} s per plan, the published search {published['seconds']:.0f} s" in text


@pytest.mark.parametrize(
    ("tool", "table"),
    [
        ("update_scale", "scale"),
        ("update_token_budget", "token-budget"),
        ("update_published_size", "published-size"),
        ("card_against_success", "card-success"),
    ],
)
def test_a_page_says_what_its_results_file_says(tool, table, monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    module = importlib.import_module(tool)
    assert update_results().block_of(module.PAGE, table) == module.page_block(read_json(module.RESULTS))


@pytest.fixture
def update_interventions(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("update_interventions")


def test_the_page_of_interventions_says_what_the_results_file_says(update_interventions):
    result = read_json(update_interventions.RESULTS)
    for name, block in update_interventions.BLOCKS.items():
        assert update_results().block_of(update_interventions.PAGE, name) == block(result), name


def test_removal_and_stability_are_kept_for_every_model(update_interventions, tmp_path, monkeypatch):
    """A rival's graph removes the same bodies from all models, but what that does depends on the model."""
    known = tmp_path / "known.json"
    monkeypatch.setattr(update_interventions, "RESULTS", known)
    score = {"low": 0.0, "high": 1.0, "n": 9}
    for seed, growth in enumerate((0.1, 0.3)):
        folder = tmp_path / f"collide-intervene-few-{seed}"
        folder.mkdir()
        own = f"collide-few-{seed}"
        found = {
            own: {"influence_auroc": 0.9},
            f"{own}: gradient": {"removal_growth": growth, "removed_share": 0.75, "influence_stability": 0.8},
            "empty graph": {"removal_growth": 2 * growth, "removed_share": 1.0},
        }
        rows = [score | {"model": m, "metric": k, "value": v} for m, s in found.items() for k, v in s.items()]
        write_json(folder / "results.json", rows)
        record = {"model": {"name": own}, "objective": {"best_estimate": "gradient"}, "git": {"commit": "c" * 40}}
        write_json(folder / "run.json", record)
    one, two, rival = update_interventions.measured(tmp_path)
    assert [row["details"]["empty graph"]["removal_growth"]["value"] for row in (one, two)] == [0.2, 0.6]
    assert (rival["model"], list(rival["scores"])) == ("empty graph", ["removed_share"])
    lines = update_interventions.removal_block({"rows": [one, two, rival]}).splitlines()
    assert lines[2].startswith("| few | 2 | gradient | 0.75 [0, 1] | 0.2 [0, 1] | 0.4 [0, 1] | – |")
    assert len(lines) == 3
    write_json(known, {"machine": "m", "rows": [rival]})
    assert update_interventions.measured(tmp_path) == [one, two], "the rival is known"


def test_new_rows_replace_their_own_kind_only():
    old = [{"model": name, "seed": seed, "at": "old"} for name, seed in (("a", 0), ("b", 0))]
    new = [old[1] | {"at": "new"}, old[1] | {"seed": 1, "at": "new"}]
    assert update_results().merged(old, new, ("model", "seed")) == [old[0], *new]


def test_a_part_of_a_study_adds_to_its_page(tmp_path, monkeypatch):
    module = update_results()
    monkeypatch.setattr(module, "DOCS", tmp_path)
    page = tmp_path / "few.md"
    page.write_text("<!-- few:begin --><!-- few:end -->")

    def told(part: str, *options: str) -> dict:
        monkeypatch.setattr("sys.argv", ["tool", part, *options])
        block = lambda result: ", ".join(row["model"] for row in result["rows"])  # noqa: E731
        return module.update_page("", page, "few", "a desk", lambda path: [{"model": path.name}], block, ("model",))

    (tmp_path / "results").mkdir()
    told("a", "--machine", "two cores")
    assert told("b") == {
        "command": "cjepa study experiments/studies/few.yaml",
        "machine": "two cores",
        "rows": [{"model": "a"}, {"model": "b"}],
    }
    assert module.block_of(page, "few") == "a, b"


@pytest.fixture
def update_control(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("update_control")


def test_the_page_of_control_says_what_the_results_file_says(update_control):
    result = read_json(update_control.RESULTS)
    assert update_results().block_of(update_control.PAGE, "control") == update_control.page_block(result)
    rates = [row["scores"]["success"] for row in result["rows"]]
    assert all(rate["low"] <= rate["value"] <= rate["high"] and rate["n"] == 50 for rate in rates)


def test_the_table_of_control(update_control, tmp_path):
    """Seeds are averaged at each distance, which the rows of one distance do not name; differences stand below."""

    def row(metric, model, value, **more):
        size = {"tokens": 2, "token_dim": 34, "git": "c"}
        return (
            {"metric": metric, "model": model, "value": value, "low": value - 0.1, "high": value + 0.1, "n": 50}
            | size
            | more
        )

    near = {f"near-none-{seed}": [row("success", f"pusht-none-{seed}", 0.4 + 0.2 * seed)] for seed in (0, 1)}
    far = {"far-none-0": [row("success", "pusht-none-0", 0.2, goal_env_steps=50)]}
    higher = "pusht-best-probe-hierarchy"
    unit = {"unit": "rate, minus that of flat (far-probe/goal-75)", "goal_env_steps": 75}
    far["far-h"] = [row(metric, higher, 0.3, **unit) for metric in ("success", "success_difference")]
    for name, rows in (near | far).items():
        write_json(tmp_path / name / "results.json", rows)
    block = update_control.page_block({"command": "c", "machine": "m", "rows": update_control.measured(tmp_path)})
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines() if line.startswith("|")]
    assert lines[2][:7] == [higher, "2 x 34", "1", "–", "–", "30 [20, 40], n = 50", "–"]
    assert lines[3][:5] == ["none", "2 x 34", "2", "50 [40, 60], n = 50 x 2", "20 [10, 30], n = 50"]
    assert lines[4:] == [["model", "minus", "+75"], ["---"] * 3, [higher, "flat", "+30 [+20, +40], n = 50"]]


def test_the_page_of_tokenizers_says_what_was_measured_of_backgrounds(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    module = importlib.import_module("measure_background")
    results = read_json(module.RESULTS)
    assert update_results().block_of(module.PAGE, "background") == module.page_block(results)
    for result in results:  # no picking: every change is there
        names = [change.name for change in module.changes(result["environment"])]
        assert [row["frames"] for row in result["rows"]] == names


def test_changes_of_frames(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    module = importlib.import_module("measure_background")
    frames = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    moved = module.shifted(frames)
    assert (moved[:, 1:, 1:] == frames[:, :-1, :-1]).all() and (moved[:, 0, 0] == frames[:, 0, 0]).all()
    assert module.brighter(np.uint8([0, 100, 250]), 1.1).tolist() == [0, 110, 255]
    white = np.full((1, 2, 3, 3), 200, np.uint8)
    assert module.shaded(white)[0, :, :, 0].tolist() == [[200, 190, 180]] * 2
    grey = np.full((1, 16, 16, 3), 77, np.uint8)
    assert np.abs(module.jpeg(grey, 75).astype(int) - 77).max() <= 2 and (module.jpeg(frames, 75) != frames).any()


@pytest.mark.parametrize("environment", ["pusht", "collide"])
def test_the_readme_says_what_the_zoo_is_worth(environment):
    rows = read_json(DOCS.parent / "cjepa" / "zoo" / f"{environment}-slots" / "results_test.json")
    (row,) = (row for row in rows if row["metric"] == "fg_ari_video")
    said = f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    assert said in (DOCS.parent / "README.md").read_text() and row["n"] == 100


def test_a_benchmark_is_written_into_its_page(tmp_path, monkeypatch):
    module = update_results()
    page, rows = tmp_path / "page.md", tmp_path / "loader.json"
    page.write_text("before\n<!-- loader:begin -->\nold\n<!-- loader:end -->\nafter\n")
    seconds = {"ours": np.array([1.0, 1.0]), "theirs": np.array([4.0, 4.0])}
    versions = {"versions": {"torch": "2.13.0"}}
    write_json(rows, [row | versions for row in rows_against("theirs", seconds, 8, "clips")])
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(module, "BENCHMARKS", page)
    monkeypatch.setattr(module, "DOCS", tmp_path)
    module.update_benchmark(rows, "this machine")
    text = page.read_text()
    assert text.startswith("before\n<!-- loader:begin -->\n| name | clips/s | x theirs [95 %] | rounds |\n")
    assert "| ours | 8 | 4.00 [4.00, 4.00] | 2 |" in text and "on this machine, with torch 2.13.0." in text
    assert text.endswith("<!-- loader:end -->\nafter\n") and "old" not in text
    assert read_json(tmp_path / "results" / "loader.json")["command"] == "cjepa bench loader --against theirs"


def test_the_table_of_planners_has_its_own_columns():
    module = update_results()
    seconds = {"published": np.array([15.0, 15.0]), "ours": np.array([1.0, 3.0])}
    rest = {"seconds_low": 1.0, "seconds_high": 3.0, "calls": 45000, "gigaflops": 6500.0, "working_memory_mb": None}
    rest |= {"tokens": 4, "token_dim": 128, "timed": 600, "whole": 9000, "difference": 1e-5}
    rows = [row | rest for row in rows_against("published", seconds, 1, "plans")]
    lines = module.bench_block({"command": module.PLANNER, "machine": "m", "rows": rows}).splitlines()
    assert lines[0].startswith("| name | s/plan [95 %] | x published [95 %] | predictions | TFLOP |")
    assert lines[3].startswith("| ours | 2 [1, 3] | 7.5 [") and lines[3].endswith("| 600 of 9,000 | 1e-05 |")


def test_every_rate_has_its_interval():
    rows = read_json(DOCS / "results" / "quickstart.json")["rows"]
    rates = [row for row in rows if row["metric"] == "success"]
    models = {"cjepa-1", "oc-jepa", "object-filter", "object-filter-replan", "patch-4x4"}
    assert {row["model"] for row in rates} == {*models, "random", "simulator-cem"}
    fewest = {row["model"]: 25 if row["model"].startswith("patch") else 50 for row in rates}  # patches plan slowly
    assert all(row["low"] <= row["value"] <= row["high"] and row["n"] >= fewest[row["model"]] for row in rates)
