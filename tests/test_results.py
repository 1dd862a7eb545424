"""The figures in the README are those of the results files."""

from pathlib import Path

import pytest

from cjepa.files import read_json

DOCS = Path(__file__).parents[1] / "docs"


def test_the_readme_says_how_much_faster_plans_are():
    rows = {row["name"]: row for row in read_json(DOCS / "results" / "planner.json")["rows"]}
    fast, published = rows["object-filter"], rows["published-fp32"]
    text = " ".join((DOCS.parent / "README.md").read_text().split())
    assert f"{fast['seconds']:.2g} s per plan, the published search {published['seconds']:.0f} s" in text


@pytest.mark.parametrize("environment", ["pusht", "collide"])
def test_the_readme_says_what_the_zoo_is_worth(environment):
    rows = read_json(DOCS.parent / "cjepa" / "zoo" / f"{environment}-slots" / "results_test.json")
    (row,) = (row for row in rows if row["metric"] == "fg_ari_video")
    said = f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    assert said in (DOCS.parent / "README.md").read_text() and row["n"] == 100


def test_every_rate_has_its_interval():
    rows = read_json(DOCS / "results" / "quickstart.json")["rows"]
    rates = [row for row in rows if row["metric"] == "success"]
    models = {"cjepa-1", "oc-jepa", "object-filter", "object-filter-replan", "patch-4x4"}
    assert {row["model"] for row in rates} == {*models, "random", "simulator-cem"}
    fewest = {row["model"]: 25 if row["model"].startswith("patch") else 50 for row in rates}  # patches plan slowly
    assert all(row["low"] <= row["value"] <= row["high"] and row["n"] >= fewest[row["model"]] for row in rates)
