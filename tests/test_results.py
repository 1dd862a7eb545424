"""The numbers of the README are those of a results file, and no others."""

import importlib.util
from pathlib import Path

from cjepa.reporting.records import read_json

DOCS = Path(__file__).parents[1] / "docs"


def update_results():
    spec = importlib.util.spec_from_file_location("update_results", DOCS / "update_results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_says_what_the_results_file_says():
    module = update_results()
    readme = (DOCS.parent / "README.md").read_text()
    block = readme.split(module.BEGIN)[1].split(module.END)[0].strip()
    assert block == module.readme_block(read_json(DOCS / "results" / "quickstart.json")).strip()


def test_every_rate_has_its_interval():
    rows = read_json(DOCS / "results" / "quickstart.json")["rows"]
    rates = [row for row in rows if row["metric"] == "success"]
    assert {row["model"] for row in rates} == {"cjepa-1", "oc-jepa", "patch-4x4", "random", "simulator-cem"}
    assert all(row["low"] <= row["value"] <= row["high"] and row["n"] >= 50 for row in rates)
