"""Entries of mappings, one option each."""

import json

import pytest
import yaml

from cjepa.cli import main
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
        (["--over", "lr=1,2"], "--over lr=1,2: expected one entry, --over.KEY VALUE"),
        (["--over.lr", "[1, "], "--over.lr: '\\[1, ' is not YAML"),
    ],
)
def test_an_entry_without_a_value_takes_no_other_option(words, said):
    with pytest.raises(UserError, match=f"^{said}"):
        gathered(words, ["over"])


def test_entries_are_added_to_those_of_the_files_and_of_the_whole_mapping(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("over: {gone: 1}")
    second.write_text("over: {model.lr: 1e-3, agent: true}\nother: 1")
    files = ["-c", str(first), f"--config={second}", "-c", "other: 2"]
    *others, _, value = gathered([*files, "--over.model.lr", "0.5", "--over.new", "[2]"], ["over"])
    assert others == files
    assert json.loads(value) == {"model.lr": 0.5, "agent": True, "new": [2]}
    _, _, value = gathered(["-c", str(second), "--over", "{a: 1e-3}", "--over.b", "2"], ["over"])[-3:]
    assert json.loads(value) == {"a": 0.001, "b": 2}


def test_an_argument_of_an_environment_leaves_those_of_the_file(capsys):
    words = ["collect", "-c", "experiments/collide/collect_agent.yaml", "--out", "x.h5"]
    with pytest.raises(SystemExit):
        main([*words, "--env_kwargs.shapes", "[bar]", "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["env_kwargs"] == {
        "image_size": 64, "agent": True, "num_bodies": [3, 4], "shapes": ["bar"],
    }  # fmt: skip
