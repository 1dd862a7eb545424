"""Seeds of a study as one model."""

from cjepa.reporting.series import in_series

STAGES = [
    {"name": "fit-1-0", "series": "fit-1"},
    {"name": "fit-1-01", "series": "fit-1"},
    {"name": "fit-1-0-b", "series": "fit-1-b"},
    {"name": "plan-0", "series": "plan"},
    {"name": "plan"},
    {"name": "plan-0-far"},
]


def named(*models: str) -> list[str]:
    return [row["model"] for row in in_series([{"model": model, "value": 1} for model in models], STAGES)]


def test_a_model_is_named_without_the_seed_of_its_stage():
    """Also where more is said behind it; of several stages, of that with the longest name."""
    assert named("fit-1-0", "fit-1-01", "fit-1-0-replan", "fit-1-0: by gradient", "fit-1-0-b") == [
        "fit-1",
        "fit-1",
        "fit-1-replan",
        "fit-1: by gradient",
        "fit-1-b",
    ]


def test_other_models_keep_their_names():
    """Also where a stage has the name that would be left: these are two models."""
    others = ("fit-1-07", "fit-1-0b", "my-fit-1-0", "plan-0", "plan-0-replan", "plan-0-far", "random")
    assert named(*others) == list(others)
    assert in_series([{"model": "a"}], []) == [{"model": "a"}]
