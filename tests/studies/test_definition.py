"""Study YAMLs: everything that is not as the documentation says is one line that names the place."""

import pytest

from cjepa.cli import main
from cjepa.errors import UserError
from cjepa.studies.definition import load_study

WRONG_NAMES = ["/abs", "../../x", ".", "..", "", "a/b", "a b", "-a", ".a", "a\\b", "ä", "a\n", "x" * 101, "a:b"]
MISTAKES = [
    ("stages: {a: {comand: fit}}", "stage a: unknown key 'comand'"),
    ("stages: {a: {args: {}}}", "stage a: the key 'command' is missing"),
    ("stages: {a: 3}", "stage a is not a mapping"),
    ("stages: 3", "stages is not a mapping"),
    ("stages: {}", "stages is not a mapping"),
    ("stages: null", "stages is not a mapping"),
    ("stage: {}", "unknown key 'stage'"),
    ("3: {}", "unknown key 3"),
    ("description: nothing else", "'stages' is missing"),
    ("description: 3\nstages: {a: {command: fit}}", "description is 3, expected text"),
    ("stages: {a: {command: fit, configs: [nowhere.yaml]}}", "stage a: no such config .*nowhere.yaml"),
    ("stages: {a: {command: fit, configs: [3]}}", "stage a: no such config .*3"),
    ("stages: {a: {command: fit, configs: nowhere.yaml}}", "stage a: configs is not a list"),
    ("stages: {a: {command: fit, configs: null}}", "stage a: configs is not a list"),
    ("stages: {a: {command: fit, positional: x}}", "stage a: positional is not a list"),
    ("stages: {a: {command: fit, positional: [[x]]}}", r"stage a: \['x'\] in positional"),
    ("stages: {a: {command: fit, positional: [null]}}", "stage a: None in positional"),
    ("stages: {a: {command: fit, positional: [--help]}}", "stage a: '--help' in positional is not a word"),
    ("stages: {a: {command: fit, args: null}}", "stage a: args is not a mapping"),
    ("stages: {a: {command: fit, args: [x]}}", "stage a: args is not a mapping"),
    ("stages: {a: {command: fit, args: {3: x}}}", "stage a: args: a key is 3, expected text"),
    ("stages: {a: {command: fit, args: {'--lr': 1}}}", "stage a: '--lr' in args is not the name of an option"),
    ("stages: {a: {command: fit, args: {help: true}}}", "stage a: help in args shows something"),
    ("stages: {a: {command: fit, args: {model.help: X}}}", "stage a: model.help in args shows something"),
    ("stages: {a: {command: fit, args: {print_config: 1}}}", "stage a: print_config in args shows something"),
    ("stages: {a: {command: fit, args: {out: --help}}}", "stage a: out in args shows something"),
    ("stages: {a: {command: fit, args: {day: 2024-01-01}}}", "stage a: args: day is datetime.*put dates in quotes"),
    ("stages: {a: {command: fit, args: {x: {y: [.nan]}}}}", "stage a: args: x: y is nan"),
    ("stages: {a: {command: fit, args: {x: !!set {y}}}}", "stage a: args: x is {'y'}"),
    ("stages: {a: {command: fit, args: {x: !!binary aGk=}}}", "stage a: args: x is b'hi'"),
    ('stages: {a: {command: fit, args: {x: "\\0"}}}', "stage a: args: x: .* not text"),
    ('stages: {a: {command: fit, args: {x: "\\ud800"}}}', "not text|not valid YAML"),
    ("stages: {a: {command: --help}}", "stage a: command is '--help', expected a plain word"),
    ("stages: {a: {command: [fit]}}", r"stage a: command is \['fit'\], expected a plain word"),
    ("stages: {a: {command: ''}}", "stage a: command is '', expected a plain word"),
    ("stages: {1: {command: fit}}", "the name of a stage is 1, expected text; put it in quotes"),
    ("stages: {yes: {command: fit}}", "the name of a stage is True, expected text"),
    ("stages: {null: {command: fit}}", "the name of a stage is None, expected text"),
    ("stages: {self: {command: fit}}", "self is a name that a study uses itself"),
    ("stages: {results.json: {command: fit}}", "results.json is a name that a study uses itself"),
    ("stages: {a: {command: fit}, a: {command: collect}}", "'a' stands twice"),
    ("stages: {a: {command: fit, args: {path: '${b}/x'}}}", r"stage a refers to \$\{b\}"),
    ("stages: {a: {command: fit, args: {p: '${b}'}}, b: {command: fit}}", r"\$\{b\}, which is not a stage above"),
    ("stages: {a: {command: fit, args: {p: {q: ['${b c}']}}}}", r"\$\{b c\}, which is not a stage above"),
    ("stages: {a: {command: fit, args: {p: '${a}'}}}", r"\$\{a\}, which is not a stage above"),
    ("stages: {a: {command: fit, resources: 3}}", "stage a: resources is not a mapping of .*'cpus', 'gpus'"),
    ("stages: {a: {command: fit, resources: {cpu: 1}}}", "stage a: resources: unknown key 'cpu'"),
    ("stages: {a: {command: fit, resources: {cpus: 0}}}", "stage a: cpus in resources is 0, expected a whole number"),
    ("stages: {a: {command: fit, resources: {cpus: 1.5}}}", "cpus in resources is 1.5, expected a whole number from 1"),
    ("stages: {a: {command: fit, resources: {gpus: true}}}", "gpus in resources is True, expected a whole number"),
    (
        "stages: {a: {command: fit, resources: {memory_gb: 0}}}",
        "memory_gb in resources is 0, expected a number",
    ),
    ("stages: {a: {command: fit, resources: {memory_gb: 4G}}}", "memory_gb in resources is '4G', expected a number"),
    ("stages: {a: [}", "not valid YAML"),
    ("stages: &a {b: *a}", "not valid YAML"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_mistakes_in_a_study(change, message, tmp_path, refused):
    path = tmp_path / "wrong.yaml"
    path.write_text(f"name: wrong\n{change}\n")
    with pytest.raises(UserError, match=message) as mistake:
        load_study(path)
    assert str(path) in str(mistake.value) and "\n" not in str(mistake.value)


@pytest.mark.parametrize("content", ["3", "", "[]", "- name", "name: 3", "name: [x]", "name: 2024-01-01"])
def test_what_is_no_study(content, tmp_path, refused):
    (tmp_path / "wrong.yaml").write_text(f"{content}\n")
    assert "wrong.yaml" in refused("study", "wrong.yaml")
    (tmp_path / "wrong.yaml").write_text(f"{content}\nstages: {{a: {{command: fit}}}}\n")
    assert "wrong.yaml" in refused("study", "wrong.yaml")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", WRONG_NAMES)
@pytest.mark.parametrize("place", ["study", "stage"])
def test_names_that_are_not_plain_words(name, place, tmp_path, refused):
    """Nothing is touched outside of the folder of studies, nor in it."""
    kept = tmp_path / "x" / "kept.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    names = {"study": "fine", "stage": "fine", place: name}
    text = f"name: {names['study']!r}\nstages: {{{names['stage']!r}: {{command: info}}}}\n"
    (tmp_path / "bad.yaml").write_text(text.replace("'", '"').replace("a\\\\b", "a\\\\b"))
    assert "expected a plain word" in refused("study", "bad.yaml", "--root", tmp_path / "deep" / "runs")
    assert kept.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.yaml", "x"]


def test_good_names(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text(
        "name: a-B_2.5\nstages: {_a: {command: info}, 2.x-y: {command: plan-baselines}, info: {command: x}}\n"
    )
    study = load_study(path)
    assert (study.name, [stage.name for stage in study.stages]) == ("a-B_2.5", ["_a", "2.x-y", "info"])


def test_arguments_of_every_type(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text(
        "name: x\nstages:\n  a: {command: make}\n"
        "  b: {command: make, positional: ['${a}/x', 3], args: "
        "{t: text, lr: 5e-4, i: 3, f: 0.5, y: true, n: null, l: ['${a}', 1], m: {k: '${self}'}, callbacks+: x}}\n"
    )
    stage = load_study(path).stages[1]
    assert stage.depends_on() == ["a"]
    words = stage.argv({"a": tmp_path / 'quo"te', "self": tmp_path / "b"})
    assert words[:3] == ["make", f'{tmp_path}/quo"te/x', "3"]
    assert dict(zip(words[3::2], words[4::2], strict=True)) == {
        "--t": "text",
        "--lr": "5e-4",
        "--i": "3",
        "--f": "0.5",
        "--y": "true",
        "--n": "null",
        "--l": f'["{tmp_path}/quo\\"te", 1]',
        "--m": f'{{"k": "{tmp_path}/b"}}',
        "--callbacks+": "x",
    }


def test_a_study_that_is_not_there(tmp_path):
    assert main(["study", str(tmp_path / "nowhere.yaml")]) == 2


def test_configs_are_named_without_detours_except_through_links(tmp_path):
    text = "name: toy\nstages: {a: {command: fit, configs: [../one.yaml]}}\n"
    for folder in (tmp_path, tmp_path / "far"):
        (folder / "here").mkdir(parents=True)
        (folder / "one.yaml").write_text("a: 1\n")
        (folder / "here" / "study.yaml").write_text(text)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "here")
    assert load_study(tmp_path / "here" / "study.yaml").stages[0].configs == [tmp_path / "one.yaml"]
    through = tmp_path / "link" / ".." / "one.yaml"  # far/one.yaml, not one.yaml
    assert load_study(tmp_path / "link" / "study.yaml").stages[0].configs == [through]
