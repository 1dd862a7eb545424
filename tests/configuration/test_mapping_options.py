"""Entries of mappings, one option each."""

import json

import pytest

from cjepa.configuration.mapping_options import gathered
from cjepa.errors import UserError


def test_entries_of_one_option_become_one_word():
    words = ["a.yaml", "--over.model.lr", "[1, 2]", "--jobs", "2", "--over.data.seed=0", "--over.low", "-1"]
    *others, name, value = gathered(words, ["over"])
    assert others == ["a.yaml", "--jobs", "2"] and name == "--over"
    assert json.loads(value) == {"model.lr": [1, 2], "data.seed": 0, "low": -1}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--over.lr", "--jobs", "2"], "--over.lr: no value before --jobs"),
        (["--over.lr"], "--over.lr: no value"),
        (["--over.lr="], "--over.lr: no value"),
        (["--over.lr", "[1, "], "--over.lr: '\\[1, ' is not YAML"),
    ],
)
def test_an_entry_without_a_value_takes_no_other_option(words, said):
    with pytest.raises(UserError, match=f"^{said}"):
        gathered(words, ["over"])
