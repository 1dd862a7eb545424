"""Rows of several distances of goals, apart in tables and together in a figure."""

from cjepa.reporting.distances import distances_sentence, named_by_distance, of_one_distance
from cjepa.reporting.figures import success_by_distance
from cjepa.reporting.summary import summary
from cjepa.reporting.tables import results_table


def row(metric, value, distance=None, model="a", **more) -> dict:
    found = {"metric": metric, "value": value, "model": model, "low": None, "high": None, "split": "test", "seed": 0}
    return found | ({} if distance is None else {"goal_env_steps": distance, "run": f"goal-{distance}"}) | more


ROWS = [
    row("success", 0.5, 50, low=0.4, high=0.6, n=10, unit="rate", tokens=2, token_dim=3),
    row("success", 0.9, 25, low=0.8, high=1.0, n=10, unit="rate", tokens=2, token_dim=3),
    row("seconds_per_plan", 0.4, 25),
    row("success", 0.1, 25, "random"),
    row("success", 0.7, None, "b", tokens=2, token_dim=3),
]


def test_distances_are_not_merged_in_the_table():
    header, *body = results_table(named_by_distance(ROWS))
    assert {(cells[0], cells[header.index("success % [95 %]")]) for cells in body} == {
        ("a, goal +50", "50 [40, 60]"),
        ("a, goal +25", "90 [80, 100]"),
        ("random, goal +25", "10"),
        ("b", "70"),
    }
    assert of_one_distance(ROWS) == [ROWS[-1]]


def test_the_sentence_has_them_in_order_and_apart_from_others():
    assert distances_sentence(ROWS) == (
        "a reaches goals 25, 50 env steps ahead in 90 [80, 100], 50 [40, 60] %; "
        "random reaches goals 25 env steps ahead in 10 %."
    )
    assert distances_sentence(ROWS[-1:]) == ""
    assert [claim.text for claim in summary(ROWS)][:2] == [
        "b reaches the goal in 70 % of its trials.",
        distances_sentence(ROWS),
    ]


def test_the_figure_has_a_line_a_model():
    figure = success_by_distance(ROWS)
    (axes,) = figure.axes
    points = {tuple(map(tuple, line.get_xydata())) for line in axes.lines if len(line.get_xydata())}
    assert points == {((25, 90), (50, 50)), ((25, 10),)}
    assert axes.get_xticks().tolist() == [25, 50]
    assert success_by_distance(ROWS[-1:]) is None
