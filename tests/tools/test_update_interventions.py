"""Results of interventions: what is read from a study, and the page."""

import update_interventions as tool
import update_results

from cjepa.files import read_json, write_json


def test_the_page_of_interventions_says_what_the_results_file_says():
    result = read_json(tool.RESULTS)
    for name, block in tool.BLOCKS.items():
        assert update_results.block_of(tool.PAGE, name) == block(result), name


def test_removal_and_stability_are_kept_for_every_model(tmp_path, monkeypatch):
    """A rival's graph removes the same bodies from all models, but what that does depends on the model."""
    known = tmp_path / "known.json"
    monkeypatch.setattr(tool, "RESULTS", known)
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
    one, two, rival = tool.measured(tmp_path)
    assert [row["details"]["empty graph"]["removal_growth"]["value"] for row in (one, two)] == [0.2, 0.6]
    assert (rival["model"], list(rival["scores"])) == ("empty graph", ["removed_share"])
    lines = tool.removal_block({"rows": [one, two, rival]}).splitlines()
    assert lines[2].startswith("| few | 2 | gradient | 0.75 [0, 1] | 0.2 [0, 1] | 0.4 [0, 1] | – |")
    assert len(lines) == 3
    write_json(known, {"machine": "m", "rows": [rival]})
    assert tool.measured(tmp_path) == [one, two], "the rival is known"


def test_models_with_masks_have_a_table_by_mask():
    """Of two predictors; masks of cells are in no other table, and longer trainings in no line of this one."""

    def row(model: str, seed: int, auroc: float) -> dict:
        score = {"value": auroc, "low": auroc - 0.1, "high": auroc + 0.1, "n": 9}
        return {"model": model, "seed": seed, "by": "by mask_moved", "scores": {"influence_auroc": score}}

    rows = [
        row("none", 0, 0.5),
        row("none-long", 0, 0.9),
        row("object-filter-tube-3", 0, 0.6),
        row("object-filter-tube-3", 1, 0.8),
        row("object-filter-object-2", 0, 0.7),
        row("object-filter-object-2-light", 0, 0.9),
    ]
    result = {"rows": rows, "command": "", "machine": ""}
    assert tool.masks_block(result).splitlines()[2:6] == [
        "| none | 1 | 0.5 [0.4, 0.6] | – | – | – | – |",
        "| object-2 | – | – | – | 1 | 0.7 [0.6, 0.8] | – |",
        "| object-2-light | – | – | – | 1 | 0.9 [0.8, 1] | – |",
        "| tube-3 | – | – | – | 2 | 0.7 [0.6, 0.8] | – |",
    ]
    assert [line.split(" | ")[0] for line in tool.page_block(result).splitlines()[2:5]] == [
        "| none",
        "| none-long",
        "| object-filter-object-2",
    ]
