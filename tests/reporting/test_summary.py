"""Sentences say what the rows say."""

from datetime import datetime

from cjepa.reporting.rungs import ladder
from cjepa.reporting.summary import facts, summary


def row(metric, value, model, low=None, high=None, **more):
    return {"metric": metric, "value": value, "model": model, "low": low, "high": high, "split": "test"} | more


def texts(rows):
    return [claim.text for claim in summary(rows)]


TOKENS = {"tokens": 2, "token_dim": 34}


def test_planning_and_prediction():
    rows = [
        row("success", 0.31, "a", 0.23, 0.41, n=100, **TOKENS),
        row("success", 0.33, "b", 0.25, 0.43, n=100, **TOKENS),
        row("success", 0.1, "c", 0.05, 0.2, n=100, **TOKENS),
        row("success", 0.03, "random", 0.01, 0.08, n=100),
        row("rollout_error@1", 0.1, "c"),
        row("rollout_error@5", 0.34, "a", 0.31, 0.36),
        row("rollout_error@5", 0.62, "c", 0.6, 0.65),
        row("seconds_per_plan", 0.9, "a", **TOKENS),
        row("seconds_per_plan", 3.2, "c", **TOKENS),
        row("seconds_per_plan", 0.1, "random"),
    ]
    assert texts(rows) == [
        "Of 3 models that plan, b reaches the goal in 33 % [25, 43] of 100 trials, the highest success; its interval "
        "overlaps with that of a. For reference: random 3 % [1, 8].",
        "After 5 blocks, the prediction error of a is 0.34 [0.31, 0.36] of the error of copying the last frame, "
        "the lowest error.",
        "A plan takes 0.9 s with a and 3.2 s with c.",
    ]


def test_equal_success_names_all_who_have_it():
    rows = [row("success", 0.0, name, 0, 0.66, n=2, **TOKENS) for name in "ab"]
    assert texts(rows) == [
        "Of 2 models that plan, a reaches the goal in 0 % [0, 66] of 2 trials, the highest success, shared with b."
    ]


def test_pairs_as_published_are_not_compared_with_held_out_ones():
    rows = [
        row("success", 0.4, "a", **TOKENS),
        row("success", 0.97, "a (as published)", **TOKENS) | {"split": "published"},
    ]
    assert texts(rows) == [
        "a reaches the goal in 40 % of its trials.",
        "Not comparable with held-out pairs (drawn from training episodes, pairs solved at the start included): "
        "a (as published) 97 %.",
    ]


def test_a_shift_is_not_compared_with_the_episodes_as_they_are():
    rows = [
        row("success", 0.4, "a", **TOKENS),
        row("success", 0.9, "a (shift: mass)", **TOKENS) | {"split": "shift: mass"},
    ]
    assert texts(rows) == [
        "a reaches the goal in 40 % of its trials.",
        "Where the environment differs from its episodes: a (shift: mass) 90 %.",
    ]


def test_one_model_and_references_alone():
    assert texts([row("success", 0.5, "a", **TOKENS)]) == ["a reaches the goal in 50 % of its trials."]
    rows = [row("success", 0.03, "random"), row("success", 0.9, "simulator-cem")]
    assert texts(rows) == ["Planning success: random 3 % and simulator-cem 90 %."]
    assert texts([row("rollout_error@1", 0.5, "a")]) == [
        "After 1 block, the prediction error of a is 0.50 of the error of copying the last frame."
    ]


def test_tokenizers():
    rows = [row("fg_ari", 0.99, "slots"), row("fg_ari_video", 0.95, "slots"), row("fg_ari_video", 0.5, "savi")]
    assert texts(rows) == ["slots separates objects with fg_ari_video 0.95, the highest of 2."]
    assert texts([]) == [] and texts([row("psnr", 30.0, "slots")]) == []


def test_causes_and_answers():
    rows = [
        row("influence_auroc", 0.92, "a", 0.9, 0.94, unit="by gradient"),
        row("influence_auroc", 0.85, "b", 0.83, 0.87, unit="by gradient"),
        row("influence_auroc", 0.99, "a: remove_moved", 0.98, 1.0),
        row("influence_auroc", 0.94, "extrapolated tracks", 0.92, 0.96),
        row("influence_auroc", 0.5, "random", 0.48, 0.52),
        row("effect_correlation", 0.74, "a", 0.68, 0.79),
        row("effect_correlation", 0.8, "a: freeze", 0.7, 0.9),
        row("question_accuracy@predictive", 0.55, "a", 0.48, 0.62),
        row("question_accuracy@predictive", 0.11, "text only", 0.08, 0.17),
    ]
    assert texts(rows) == [
        "The influence graph of a has an AUROC of 0.92 [0.90, 0.94], the highest of 2 models; without a model, "
        "extrapolated tracks has 0.94 [0.92, 0.96].",
        "What interventions change correlates with the simulator by 0.74 [0.68, 0.79] in a.",
        "Questions answered right: 0.55 [0.48, 0.62] of predictive ones (a; text only 0.11 [0.08, 0.17]).",
    ]
    assert {claim.rung for claim in summary(rows)} == {"prediction"}


def test_facts_of_several_records():
    records = [
        {"finished": "2026-11-27T01:00:00+00:00", "machine": "2 CPU cores", "versions": {"cjepa": "0.3.0"}},
        {"finished": "2026-11-26T23:00:00+00:00", "machine": "2 CPU cores", "git": {"commit": "abc", "dirty": True}},
    ]
    assert facts(records, 61.0, datetime(2030, 1, 1)) == [
        ("Measured", "2026-11-26 to 2026-11-27"),
        ("Machine", "2 CPU cores"),
        ("Version", "cjepa 0.3.0"),
        ("Code", "abc with uncommitted changes"),
        ("Time", "1 min 1 s"),
    ]


def test_facts_of_records_that_do_not_say_where_and_when():
    records = [{"versions": {"cjepa": "0.2.0", "platform": "Linux-6"}}]
    expected = [("Measured", "2030-01-02"), ("Machine", "Linux-6"), ("Version", "cjepa 0.2.0")]
    assert facts(records, 0, datetime(2030, 1, 2)) == expected


def test_claims_say_what_they_stand_on():
    rows = [
        row("success", 0.5, "a", **TOKENS),
        row("rollout_error@1", 0.5, "a"),
        row("seconds_per_plan", 0.9, "a", **TOKENS),
        row("fg_ari", 0.9, "slots"),
        row("success", 0.4, "a (shift: mass)", **TOKENS) | {"split": "shift: mass"},
    ]
    assert [claim.rung for claim in summary(rows)] == [
        "closed-loop planning",
        "under shift",
        "prediction",
        "closed-loop planning",
        "representation",
    ]
    evidence = dict(ladder(rows))
    assert evidence["under shift"] == "success of a (shift: mass)"
    assert evidence["closed-loop planning"] == "success of a"
