"""Wrong values on the command line and in files: one short line with the whole key, what was expected and given."""

from argparse import ArgumentError

import pytest

from cjepa.cli import main, option_fault
from cjepa.configuration.parser_messages import named, one_line
from tests.conftest import configs

FIT = ("fit", "-c", "experiments/pusht/cjepa.yaml", "--data.init_args.path", "none.h5")
PLAN = ("plan", "none", "-c", "experiments/pusht/plan.yaml", "--episodes", "none.h5")
MODEL, TRANSFORMER = "cjepa.world_models.training.WorldModel", "entity_transformer.EntityTransformer"
SUM = "{class_path: cjepa.planning.objectives.WeightedSum, init_args: {objectives: [%s]}}"
MSE = "{class_path: cjepa.planning.objectives.LastStepMSE, init_args: {proprio_weight: much}}"
FALLBACK = "{class_path: cjepa.planning.fallbacks.Fallback}"
BALL = "{class_path: cjepa.planning.constraints.L1Ball, init_args: {radius: .nan}}"
BOX = "{class_path: cjepa.planning.constraints.Box, init_args: {low: %s, high: 1}}"
ENSEMBLE = "{class_path: cjepa.world_models.predictors.ensemble.Ensemble, init_args: {predictor: %s}}"
FILTER = "{class_path: cjepa.world_models.predictors.object_filter.ObjectFilter, init_args: {token_dim: wide}}"


@pytest.mark.parametrize(
    ("command", "option", "line"),
    [
        (PLAN, "--pairs=0", "pairs: expected an integer above 0, got 0"),
        (PLAN, "--pairs=few", "pairs: expected an integer above 0, got 'few'"),
        (PLAN, "--policy_share=7", "policy_share: expected a number from 0 to 1, got 7"),
        (PLAN, "--certify_margin=10", "certify_margin: expected a number between 0 and 1, got 10"),  # not points
        (PLAN, "--execute_blocks=0", "execute_blocks: expected an integer above 0, got 0"),
        (PLAN, "--split=train", "split: expected one of 'val', 'test', got train"),
        (PLAN, "--goal_state=[a]", "got ['a']; type commas between values, as in --goal_state 1,2"),
        (FIT, "--trainer.callbacks.class_path=Stop", "trainer.callbacks: expected a class path, got Stop"),
        (PLAN, "--planner=x", "planner: expected a class path, got x"),
        (PLAN, "--planner.init_args.num_samples=x", "planner.init_args.num_samples: expected int, got x"),
        (PLAN, f"--objective={SUM % MSE}", "proprio_weight: expected float, got much"),
        (PLAN, "--fallback=3", "fallback: expected a class path, got 3"),
        (PLAN, "--constraints=[3]", "constraints: expected Constraint (class_path and init_args), got [3]"),
        (
            PLAN,
            f"--constraints=[{BOX % 'wide'}]",
            "constraints.init_args.low: expected float or a list in brackets, got wide",
        ),
        (
            PLAN,
            f"--constraints=[{BOX % 2}]",
            "high is 1.0, expected finite low <= high, one or as many values",
        ),
        (PLAN, "--planner.iterations=0", "error: planner.init_args.iterations is 0, expected 1 or more"),
        (FIT, "--model.init_args.lr=-1", "error: model.init_args.lr is -1.0, expected a finite number above 0"),
        (
            FIT,
            "--model.init_args.predictor.init_args.dim=3",
            "error: model.init_args.predictor.init_args.num_heads is 4, expected a divisor of dim = 3",
        ),
        (PLAN, f"--constraints=[{BALL}]", "radius is nan, expected a finite number above 0"),
        (
            PLAN,
            f"--fallback={FALLBACK}",
            "it lacks __call__; add what its base class asks for",
        ),
        (FIT, "--model.init_args.lr=fast", "model.init_args.lr: expected float, got fast"),
        (FIT, "--model.init_args.mask.init_args.num_masked=x", "mask.init_args.num_masked: expected int, got x"),
        (FIT, "--model.init_args.predictor.init_args.time=x", ".time: expected one of 'learned', 'rotary', got x"),
        (
            FIT,
            "--model.init_args.predictor.init_args.x=3",
            f".predictor.init_args.x: {{}}{TRANSFORMER} has no such option",
        ),
        (FIT, "--model.init_args.matrix_l=1", f"matrix_l: {MODEL} has no such option; did you mean matrix_lr?"),
        (FIT, "--model.init_arg.lr=1", "model.init_arg.lr: no such option; did you mean init_args?"),
        (FIT, "--modl.init_args.lr=1", "--modl.init_args.lr: no such option; did you mean --model?"),
        (PLAN, "--num-videos=1", "--num-videos: no such option; did you mean --num_videos?"),
        (PLAN, "--planner=cjepa.planning.planners.cem.Cem", "has no attribute 'Cem'; did you mean CEM?"),
        (PLAN, "--parts=1", "--parts: no such option; did you mean --pairs?"),
        (FIT, "--model.init_args.predictor=null", f"model: {MODEL} needs predictor"),
        (FIT, "--model.init_args.predictor=" + ENSEMBLE % FILTER, ".token_dim: expected int, got wide"),
        (FIT, "--trainer.max_steps=many", "trainer.max_steps: expected int, got many"),
    ],
)
def test_line(command, option, line, capsys):
    assert main([*command, option]) == 2
    said = capsys.readouterr().err
    assert said.endswith(line.format("cjepa.world_models.predictors.") + "\n") and said.count("\n") == 1
    assert len(said) < 250


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("the following arguments are required: run, out", "missing: RUN, --out; --help explains them"),
        ("the following arguments are required: fit.model", "missing: --model; --help explains it"),
        ("Option 'modle' is not accepted", "modle: no such option; did you mean model?"),
        ("Subcommand 'fit' does not accept option 'modle.x'", "modle.x: no such option; did you mean model?"),
        ("Group 'data' does not accept option 'sed'", "data.sed: no such option; did you mean data.seed?"),
        (
            "Option 'policy.init_args.speeds' is not accepted",
            "policy.init_args.speeds: no such option; is the -c file for another command? "
            "Its first lines show one that takes it",
        ),
        ("Option 'data.init_args.path' is not accepted", "data.init_args.path: no such option"),
        ("Option 'model_n.x' is not accepted", "model_n.x: no such option; did you mean model?"),
        ("unrecognized arguments: --mo-del 3", "--mo-del: no such option; did you mean --model?"),
        ("unrecognized arguments: b", "b: no option takes this word; --help explains the command"),
        ("unrecognized arguments: --size 3 --colour red", "--size: no such option"),
    ],
)
def test_errors_name_what_to_type(message, line):
    options = ["run", "out", "model", "data.seed"]
    assert str(named(ArgumentError(None, message), options, positional=["run"])) == line


def test_a_config_of_another_command_is_told_from_a_misspelt_option(tmp_path, refused):
    assert "is the -c file for another command?" in refused("collect", *configs("pusht/cjepa.yaml"))
    plan = ["plan", "none", *configs("pusht/plan.yaml"), "--episodes", "none.h5"]
    (tmp_path / "own.yaml").write_text("planer: {class_path: cjepa.planning.planners.cem.CEM}")
    assert "planer.class_path: no such option; did you mean planner?" in refused(*plan, "-c", "own.yaml")


def test_options_are_read_before_what_they_name_is_made():
    assert option_fault([*FIT, "--ckpt_path", "none.ckpt"]) == option_fault(["test", "no-run"]) == ""
    assert option_fault([*FIT, "--model.init_args.matrix_l", "1"]).endswith("; did you mean matrix_lr?")


def test_a_yaml_that_changes_another_asks_for_its_base(capsys):
    assert main(["fit", "-c", "experiments/pusht/inverse_dynamics.yaml"]) == 2
    said = capsys.readouterr().err
    assert "error: model.class_path is missing; this YAML changes another: give that one first" in said


def test_long_values_are_cut(capsys):
    assert main([*PLAN, f"--pairs={'9' * 5000}x"]) == 2
    assert len(capsys.readouterr().err) < 250


def test_other_texts_stay():
    assert one_line("unrecognized arguments:\n --nope=1") == "unrecognized arguments: --nope=1"
    assert one_line('Parser key "a":\n  a new kind of message') == "a: a new kind of message"
    assert one_line('Parser key "a":') == "a: not valid"
    assert one_line('Parser key "a":\n  Does not validate against any of the Union subtypes') == "a: not valid"
