"""Results of world models: their means over seeds, and the page."""

import update_results
import update_world_models as tool

from cjepa.files import read_json


def test_the_page_of_world_models_says_what_the_results_file_says():
    assert update_results.block_of(tool.PAGE, "world-models") == tool.page_block(read_json(tool.RESULTS))
    rivals = read_json(tool.RIVALS_RESULTS)
    assert update_results.block_of(tool.RIVALS_PAGE, "rivals") == tool.rivals_block(rivals)


def test_world_models_are_averaged_over_seeds():
    """Seeds share their episodes, so that their intervals are averaged, not narrowed."""
    row = {"environment": "pusht", "model": "none", "optimiser": "Muon"}
    row |= {"parameters": 1234, "steps": 9, "seconds": 60.0}
    rows = [
        row
        | {"seed": seed, "scores": {"rollout_error@1": {"value": value, "low": value - 1, "high": value + 2, "n": 9}}}
        for seed, value in enumerate((2.0, 4.0))
    ]
    cells = tool.page_block({"command": "c", "machine": "m", "rows": rows}).splitlines()[-3].split("|")
    assert [cell.strip() for cell in cells[1:5]] == ["none", "Muon", "2", "3 [2, 5]"]
    older = [one | {"optimiser": "AdamW", "model": model} for one in rows for model in ("none", "linear")]
    lines = tool.page_block({"command": "c", "machine": "m", "rows": rows + older}).splitlines()
    assert [line.split("|")[1:3] for line in lines[4:-2]] == [[" none ", " Muon "], [" linear ", " AdamW "]]


def test_seeds_that_were_trained_on_a_gpu_are_named():
    row = {"environment": "pusht", "optimiser": "Muon", "parameters": 1, "steps": 9, "seconds": 60.0, "scores": {}}
    gpu = {"machine": "16 CPU cores, NVIDIA H200"}
    rows = [row | gpu | {"model": "none", "seed": 0}, row | gpu | {"model": "tube", "seed": 0}]
    rows.append(row | {"model": "tube", "seed": 1, "machine": "1 CPU core, no GPU"})
    text = tool.page_block({"command": "c", "machine": "m", "rows": rows})
    assert text.endswith('`c`, on m; "(GPU)" and seed 0 of `tube`: one NVIDIA H200, beside other models.')
    assert tool.page_block({"command": "c", "machine": "m", "rows": rows[2:]}).endswith("`c`, on m.")


def test_validation_pairs_choose_the_search():
    def row(whole: float, replanned: float, seed: int = 0) -> dict:
        scores = {
            "success, plan on validation pairs": {"value": whole},
            "success, replan on validation pairs": {"value": replanned},
        }
        return {"model": "wag", "seed": seed, "scores": scores}

    assert tool.chosen_text([row(0.5, 0.62)], "wag") == "replanned (50, 62 %)"
    assert tool.chosen_text([row(0.5, 0.5)], "wag") == "whole plans (50, 50 %)"
    assert tool.chosen_text([row(0.5, 0.62), row(0.5, 0.3, seed=1)], "wag") == "whole plans (50, 46 %)"
    assert not tool.chosen_text([row(0.5, 0.62)], "none")
