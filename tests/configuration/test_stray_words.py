"""Words that no option takes: the line says what to type instead."""

import pytest

from cjepa.configuration.stray_words import stray_word
from tests.conftest import configs

PLAN = ("plan", "none", *configs("pusht/plan.yaml"), "--episodes", "none.h5")
SWEEP = ("sweep", "none.yaml", "--over.model.init_args.lr", "[1, 2]")
FIT = ("fit", *configs("pusht/cjepa.yaml"))


@pytest.mark.parametrize(
    ("command", "words", "line"),
    [
        (PLAN, "--goal_offsets 25 50", "--goal_offsets 25 50: type commas between the values: --goal_offsets 25,50"),
        (PLAN, "--goal_offsets=25, 50, 75 --pairs 50", "type commas between the values: --goal_offsets 25,50,75"),
        (PLAN, "--goal_state 1 -2 3.5", "type commas between the values: --goal_state 1,-2,3.5"),
        (PLAN, "--goal_offsets 25,x", "expected an integer above 0, got 'x'; type commas between values, as in "),
        (PLAN, "--seeds [1,2", "seeds: expected a list in brackets, got [1,2; type commas between values, as in "),
        (PLAN, "--seeds", "--seeds: no value; --help explains it"),
        (PLAN, "--goal_text to the left", "type quotes around a value with spaces: --goal_text 'to the left'"),
        (PLAN, "--constraints foo", "constraints: expected a list in brackets, got foo"),
        (SWEEP, "--seeds 0 1", "type commas between the values: --seeds 0,1"),
        (FIT, "--trainer.devices 0 1", "type a list in brackets: --trainer.devices '[0, 1]'"),
        (FIT, "--data.init_args.path my tokens.h5", "--data.init_args.path 'my tokens.h5'"),
        (("study", "none.yaml"), "--dry_run perhaps", "perhaps: no option takes this word; --help"),
        (("inspect", "a.h5"), "b.h5", "b.h5: no option takes this word; --help explains the command"),
    ],
)
def test_a_command_line(command, words, line, refused):
    said = refused(*command, *words.split())
    assert line in said


def test_configs_that_are_one_word_too_many():
    words = ["--pairs", "3", "-c", "a.yaml", "b c.yaml", "--out", "x"]
    assert stray_word("b c.yaml", words) == "-c a.yaml b c.yaml: type -c a.yaml -c 'b c.yaml'"
    assert stray_word("3", ["--seed", "3", "--lr", "3", "3"]) == "--lr 3 3: type a list in brackets: --lr '[3, 3]'"
