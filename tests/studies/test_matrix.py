"""``matrix:`` in studies: which stages it stands for."""

import json
from pathlib import Path

import pytest
import yaml

from cjepa.errors import UserError
from cjepa.studies.definition import load_study
from cjepa.studies.matrix import expand
from tests.conftest import EXPERIMENTS

COMMANDS = json.loads((Path(__file__).parent / "commands_of_tokenizer_studies.json").read_text())


def test_every_combination_in_order():
    entry = {
        "matrix": {"size": ["small", "large"], "seed": [0, 1]},
        "command": "fit",
        "args": {
            "seed": "${matrix.seed}",
            "out": "${self}/${matrix.size}-${matrix.seed}",
            "deep": [{"a": "${matrix.seed}"}],
        },
    }
    stages = expand("fit-${matrix.size}-${matrix.seed}", entry, 4)
    assert [stage.name for stage in stages] == ["fit-small-0", "fit-small-1", "fit-large-0", "fit-large-1"]
    assert [stage.series for stage in stages] == ["fit-small", "fit-small", "fit-large", "fit-large"]
    assert stages[3].entry == {
        "command": "fit",
        "args": {"seed": 1, "out": "${self}/large-1", "deep": [{"a": 1}]},
    }


def test_values_keep_their_type_where_they_stand_alone():
    values = [{"name": "a", "configs": ["x.yaml", "y.yaml"], "on": True, "rate": 0.5, "none": None}]
    entry = {
        "matrix": {"v": values},
        "configs": "${matrix.v.configs}",
        "args": {"on": "${matrix.v.on}", "text": "${matrix.v.on} ${matrix.v.rate} ${matrix.v.none}"},
    }
    ((name, _, stage),) = expand("${matrix.v.name}", entry, 1)
    assert name == "a" and stage["configs"] == ["x.yaml", "y.yaml"]
    assert stage["args"] == {"on": True, "text": "true 0.5 null"}


def test_a_stage_without_a_matrix_is_itself():
    assert expand("a", {"command": "fit"}, 1) == [("a", "a", {"command": "fit"})]


def test_a_part_of_a_seed_that_is_a_mapping_stays_in_the_series():
    (stage,) = expand("a-${matrix.seed.name}", {"matrix": {"seed": [{"name": "b"}]}}, 1)
    assert stage.name == stage.series == "a-b"


@pytest.mark.parametrize(
    ("template", "series"),
    [
        ("${matrix.seed}-a-${matrix.number}", "a-1"),
        ("a_${matrix.number}.${matrix.seed}", "a_1"),
        ("a-${matrix.seed}-${matrix.number}", "a-1"),
        ("${matrix.seed}", ""),
        ("a-${matrix.number}", "a-1"),
    ],
)
def test_a_series_is_the_name_without_its_seed(template, series):
    """Another number of the same value stays."""
    (stage,) = expand(template, {"matrix": {"seed": [1], "number": [1]}}, 1)
    assert stage.series == series


@pytest.mark.parametrize(
    ("name", "stage", "message"),
    [
        ("a-${matrix.x}", {"matrix": 3}, "matrix is not a mapping of keys to lists"),
        ("a-${matrix.x}", {"matrix": {}}, "matrix is not a mapping of keys to lists"),
        ("a-${matrix.x}", {"matrix": None}, "matrix is not a mapping of keys to lists"),
        ("a-${matrix.x}", {"matrix": {"x": 3}}, "x in matrix is not a list"),
        ("a-${matrix.x}", {"matrix": {"x": []}}, "x in matrix is not a list"),
        ("a-${matrix.x}", {"matrix": {"x.y": [1]}}, "the key 'x.y' of matrix is not a word"),
        ("a-${matrix.y}", {"matrix": {"x": [1]}}, r"\$\{matrix.y\} is not there; its matrix has \['x'\]"),
        ("a", {"args": {"y": "${matrix.y}"}}, r"stage a: \$\{matrix.y\} is not there; it has no matrix"),
        ("a-${matrix.x.y}", {"matrix": {"x": [1]}}, r"\$\{matrix.x.y\} is not there"),
        ("a-${matrix.x}", {"matrix": {"x": [[1]]}}, "is a list or a mapping, and stands inside of a text"),
        ("a-${matrix.x}", {"matrix": {"x": ["b/../c"]}}, "the name of a stage is 'a-b/../c', expected a plain word"),
        ("a", {"matrix": {"x": [1, 2]}}, r"two stages are named a; .*put \$\{matrix.KEY\} into the name"),
        ("a-${matrix.x}", {"matrix": {"x": [1, 1]}}, "two stages are named a-1"),
        ("a", {"matrix": {f"k{n}": list(range(10)) for n in range(20)}}, "more than 1,000 combinations"),
        ("a-${matrix.x}", {"matrix": {"x": [1]}, "args": {"p": "${b-${matrix.x}}"}}, r"refers to \$\{b-1\}"),
    ],
)
def test_mistakes(name, stage, message, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump({"name": "wrong", "stages": {name: {"command": "fit", **stage}}}))
    with pytest.raises(UserError, match=message) as mistake:
        load_study(path)
    assert str(path) in str(mistake.value)


def test_stages_of_the_same_combination(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(
        "name: x\nstages:\n"
        "  fit-${matrix.seed}: {matrix: &seeds {seed: [3, 4]}, command: fit}\n"
        "  test-${matrix.seed}: {matrix: *seeds, command: test, positional: ['${fit-${matrix.seed}}']}\n"
        "  both: {command: compare, positional: ['${test-3}', '${test-4}']}\n"
    )
    depends_on = {stage.name: stage.depends_on() for stage in load_study(path).stages}
    assert depends_on == {
        "fit-3": [],
        "fit-4": [],
        "test-3": ["fit-3"],
        "test-4": ["fit-4"],
        "both": ["test-3", "test-4"],
    }


@pytest.mark.parametrize(
    ("values", "text"),
    [(["x" * 100_000], "${matrix.v} " * 1_000), (list(range(1_000)), "x" * 20_000 + "${matrix.v}")],
    ids=["a long value at many places", "a long text of many combinations"],
)
def test_texts_that_would_fill_the_memory_are_refused_before_they_are_made(values, text, tmp_path):
    path = tmp_path / "study.yaml"
    stage = {"command": "info", "matrix": {"v": values}, "args": {"x": text}}
    path.write_text(yaml.safe_dump({"name": "s", "stages": {"a": stage}}))
    with pytest.raises(UserError, match="stage a: its texts with the values of the matrix have more than 10,000,000"):
        load_study(path)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_studies_of_tokenizers_run_the_same_commands_as_without_a_matrix(name):
    path = EXPERIMENTS / "studies" / name
    stages = load_study(path).stages
    folders = {stage.name: Path(f"<{stage.name}>") for stage in stages}
    commands = {}
    for stage in stages:
        words = stage.argv(folders | {"self": Path("<self>")})
        commands[stage.name] = [word.replace(str(EXPERIMENTS), "<experiments>") for word in words]
    assert commands == COMMANDS[name]
