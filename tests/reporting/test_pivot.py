"""Values stand in the cell of their model and metric."""

from cjepa.reporting.pivot import measure_tables, plain_table


def row(metric, value, model="a", **more):
    return {"metric": metric, "value": value, "model": model, "split": "test"} | more


def texts(table):
    return [[cell.text for cell in cells] for cells in [table.header, *table.rows]]


def notes(table):
    return [[cell.note for cell in cells] for cells in [table.header, *table.rows]]


def test_models_are_rows_and_metrics_are_columns():
    rows = [
        row("final_error_position", 1.5, low=1.25, high=2.0, n=50, unit="of 20 px"),
        row("success", 0.5),
        row("final_error_angle", 0.25, n=50, unit="of 20 degrees"),
        row("final_error_angle", 3.0, "b", n=50, unit="of 20 degrees"),
    ]
    (table,) = measure_tables(rows)
    assert texts(table) == [
        ["model", "final_error_position", "final_error_angle"],
        ["a", "1.50 [1.25, 2.00]", "0.25"],
        ["b", "", "3"],
    ]
    assert notes(table)[0] == ["", "of 20 px", "of 20 degrees"]
    assert table.caption == "test split, n = 50" and not any(note for line in notes(table)[1:] for note in line)


def test_what_differs_between_models_stands_in_the_cells():
    rows = [row("t", 1.0, unit="s, of 9 at once", n=9), row("t", 2.0, "b", unit="s, of 4 at once", n=4)]
    (table,) = measure_tables(rows)
    assert notes(table) == [["", ""], ["", "s, of 9 at once, n = 9"], ["", "s, of 4 at once, n = 4"]]
    assert table.caption == "test split"


def test_a_model_alone_has_one_row_a_metric():
    rows = [row("psnr", 30.0, "slots", n=7, unit="dB"), row("loss", None, "slots"), row("x", 1.0), row("x", 2.0, "b")]
    alone, shared = measure_tables(rows)
    assert texts(alone) == [
        ["metric", "value [95 %]", "unit", "n"],
        ["psnr", "30", "dB", "7"],
        ["loss", "", "", ""],
    ]
    assert alone.caption == "slots, test split"
    assert texts(shared) == [["model", "x"], ["a", "1"], ["b", "2"]]


def test_splits_are_kept_apart_and_seeds_are_merged():
    rows = [row("m", 0.25, seed=0, split="val"), row("m", 0.75, seed=1, split="val"), row("m", 4.0)]
    rows += [row("m", 0.125, "b", split="val"), row("m", 5.0, "b")]
    validation, test = measure_tables(rows)
    assert validation.caption == "validation split" and test.caption == "test split"
    assert texts(validation)[1:] == [["a", "0.50"], ["b", "0.12"]] and notes(validation)[1] == ["", "2 runs"]
    assert texts(test)[1:] == [["a", "4"], ["b", "5"]]


def test_a_chain_of_shared_metrics_is_one_table():
    rows = [row("x", 1.0), row("y", 2.0, "c"), row("x", 3.0, "b"), row("y", 4.0, "b")]
    (table,) = measure_tables(rows)
    assert texts(table) == [["model", "x", "y"], ["a", "1", ""], ["c", "", "2"], ["b", "3", "4"]]


def test_many_metrics_are_several_tables():
    rows = [row(f"m{k}", float(k), model) for model in "ab" for k in range(9)]
    first, second = measure_tables(rows)
    assert texts(first)[0] == ["model", *(f"m{k}" for k in range(7))]
    assert texts(second) == [["model", "m7", "m8"], ["a", "7", "8"], ["b", "7", "8"]]


def test_nothing_to_show():
    assert measure_tables([]) == [] and measure_tables([row("success", 1.0)]) == [] and plain_table([]) is None
