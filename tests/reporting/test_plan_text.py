"""What `cjepa plan` says below its table."""

from cjepa.reporting.plan_text import outcome_text


def row(metric, value, model, **more):
    return {"metric": metric, "value": value, "model": model} | more


def test_a_line_for_every_agent():
    rows = [
        row("success", 0.5, "a"),
        row("final_error_angle", 0.5, "a", low=0.25, high=0.75, unit="of tolerance (20 degrees)"),
        row("skipped_trivial_pairs", 2.0, "a"),
        row("seconds_per_plan", 2.0, "a"),
        row("seconds_per_env_step", 0.4, "a"),
        row("fallbacks", 0.125, "a"),
        row("solved_at_start", 3.0, "b (as published)"),
        row("success_seed_0", 0.5, "b, seed 0"),
        row("final_goal_distance", 0.25, "shown a picture"),
    ]
    assert outcome_text(rows) == [
        "a: angle error 0.50 [0.25, 0.75] of tolerance (20 degrees), 2 pairs solved at the start left out, "
        "0.4 s per env step, fallback instead of 12 % of the plans",
        "b (as published): 3 pairs solved at the start included",
        "shown a picture: final distance to the goal's tokens 0.25 of that at the start",
    ]
