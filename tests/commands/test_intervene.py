"""`cjepa intervene` leaves rows, tables and pictures in a folder of its own, which a report shows."""

import csv
import json

import pytest

from cjepa.cli import main
from cjepa.reporting.intervention_tables import headline_table
from cjepa.reporting.media import MEDIA_BYTES
from cjepa.reporting.pivot import as_text
from tests.conftest import configs

WORDS = [*configs("collide/intervene.yaml"), "--scenes=6", "--val_scenes=6", "--horizon_blocks=8"]


@pytest.fixture(scope="module")
def out(tmp_path_factory, collide_model_run, collide_table_path):
    folder = tmp_path_factory.mktemp("intervene") / "out"
    words = ["intervene", collide_model_run, *WORDS, "--episodes", collide_table_path, "--out", folder]
    assert main([*map(str, words), "--model_name", "tiny"]) == 0
    assert main(["report", str(folder)]) == 0
    return folder


def test_every_row_has_its_model_and_its_number_of_trials(out):
    rows = json.loads((out / "results.json").read_text())
    by_model = {}
    for row in rows:
        by_model.setdefault(row["model"], {})[row["metric"]] = row
    rivals = {"distance", "extrapolated tracks", "random", "empty graph", "contact graph"}
    assert rivals | {"tiny", "tiny: predicted tracks", "tiny: mask_moved", "tiny: gradient", "tiny: freeze"} <= set(
        by_model
    )
    assert {"influence_auroc", "effect_correlation", "counterfactual_error_unaffected"} <= set(by_model["tiny"])
    assert {"hidden_error@10", "violation_auroc", "surprise_auroc_colour"} <= set(by_model["tiny"])
    assert "hidden_error@10" in by_model["copying"] and "hidden_error@6" in by_model["constant velocity"]
    assert by_model["tiny"]["influence_auroc"]["unit"].startswith("by ")
    assert "influence_auroc" not in by_model["empty graph"] and "influence_shd" in by_model["empty graph"]
    assert {"removal_growth", "removed_share"} <= set(by_model["contact graph"])
    assert all(row["n"] and row["split"] == "test" and row["tokens"] == 6 for row in rows)


def test_the_tables_have_every_pair_and_every_effect(out):
    pairs, effects = (list(csv.DictReader((out / name).open())) for name in ("pairs.csv", "effects.csv"))
    assert {"scene", "target", "source", "hops", "mask_moved", "attention", "random"} <= set(pairs[0])
    assert {row["intervention"] for row in effects} >= {"remove", "set_velocity", "set_position", "freeze"}
    assert all(row["changed"] != row["body"] for row in effects)


def test_the_record_says_what_was_held_out(out):
    record = json.loads((out / "run.json").read_text())
    assert "3 test episodes" in record["evaluation"]["held_out"] and record["evaluation"]["frame_stride"] == 2
    assert record["objective"]["best_estimate"] in record["objective"]["thresholds"]


def test_the_report_has_a_section_with_the_pictures(out):
    page = (out / "report.html").read_text()
    assert "<h2>Interventions</h2>" in page and "Influence graphs" in page and "influence_auroc_hops3+" in page
    names = ["attention-1", "attention-2", "effects", "influence-auroc", "influence-graphs-1", "influence-graphs-2"]
    drawn = sorted(path.stem for path in (out / "media").glob("*.svg"))
    assert [name for name in drawn if not name.startswith("influence-worst")] == [*names, "surprise"]
    assert page.count("<svg") == len(drawn) and page.count("<title>body ") > 20 and len(page) < MEDIA_BYTES
    for value in ("<title>layer 1: body 0 from body 0, ", "<title>gradient: ", "<title>teleport, +0 blocks: "):
        assert value in page


def test_the_command_shows_one_number_of_every_benchmark(out):
    header, *rows = as_text(headline_table(json.loads((out / "results.json").read_text())))
    shown = {cells[0]: dict(zip(header, cells, strict=True)) for cells in rows}
    measured = ["influence_auroc", "influence_shd", "effect_correlation", "counterfactual_error_affected"]
    assert all(shown["tiny"][metric] for metric in [*measured, "violation_auroc_places"])
    assert shown["contact graph"]["removal_growth"] and shown["tiny: freeze"]["effect_correlation"]


def test_results_stay(out, refused, collide_model_run, collide_table_path):
    line = refused("intervene", collide_model_run, *WORDS, "--episodes", collide_table_path, "--out", out)
    assert "already contains results or a run" in line


def test_push_t_has_an_agent_that_nothing_moves(world_model_run, episodes_path, tmp_path):
    words = [*configs("pusht/intervene.yaml"), "--scenes=6", "--val_scenes=6", "--episodes", episodes_path]
    folder = tmp_path / "out"
    assert main([*map(str, ["intervene", world_model_run, *words, "--out", folder, "--model_name", "tiny"])]) == 0
    metrics = {row["metric"] for row in json.loads((folder / "results.json").read_text()) if row["model"] == "tiny"}
    assert {"influence_agent_auroc", "influence_shd"} <= metrics and "effect_correlation" not in metrics
    pairs = list(csv.DictReader((folder / "pairs.csv").open()))
    assert {row["hops"] for row in pairs if row["target"] == "0"} == {"0"} and {row["target"] for row in pairs} == {
        "0",
        "1",
    }
    assert not (folder / "effects.csv").exists() and not (folder / "media" / "effects.svg").exists()
    assert (folder / "media" / "influence-by-time.svg").stat().st_size > 5000
