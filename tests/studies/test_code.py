"""The code that stages use: what is followed from a command and a class path, and what is not."""

from pathlib import Path

import pytest

from cjepa.cli import LIGHTNING_VERBS, VERBS
from cjepa.studies.code import CodeReader, command_module

TRAINING = "cjepa.world_models.training.WorldModel"
PREDICTORS = "cjepa.world_models.predictors"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes modules of a package of the user's, and returns which of them a class path leads to."""
    monkeypatch.syspath_prepend(tmp_path)

    def used(class_path: str, **files: str) -> list[str]:
        for name, content in files.items():
            path = tmp_path / "mine" / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
        return list(CodeReader().code_of([], [class_path]))

    return used


def folders_of(command: str, *texts: str) -> set[str]:
    return {name.split(".")[1] for name in CodeReader().code_of([command_module(command, [])], texts)}


def test_every_command_has_a_module():
    for verb in (*VERBS, *LIGHTNING_VERBS):
        command, _, part = verb.partition(" ")
        module = command_module(command, [part])
        assert module in CodeReader().code_of([module]), verb


def test_what_comes_before_models_does_not_use_them():
    assert folders_of("collect").isdisjoint({"tokenizers", "world_models", "planning", "evaluation", "reporting"})
    assert folders_of("tokenize").isdisjoint({"world_models", "planning", "evaluation", "reporting"})


def test_a_training_uses_only_the_predictor_that_it_names():
    """And the environments and evaluations that are named by texts, not imported."""
    used = CodeReader().code_of([command_module("fit", [])], [TRAINING, f"{PREDICTORS}.object_filter.ObjectFilter"])
    assert f"{PREDICTORS}.object_filter" in used and f"{PREDICTORS}.entity_transformer" not in used
    assert {"cjepa.evaluation.card", "cjepa.envs.pusht.env", "cjepa.lightning_cli"} <= used.keys()
    assert used.keys().isdisjoint({"cjepa", "cjepa.cli", "cjepa.configuration.moved", "cjepa.commands.study"})


def test_converters_are_all_imported():
    assert "cjepa.data.converters.tables" in CodeReader().code_of([command_module("convert", [])])


IMPORTS = {
    "a": "import mine.b",
    "b": "from . import c",
    "c": "from .d import x as y",
    "d": "def f():\n    from mine.e import g",
    "e": "from typing import TYPE_CHECKING\nimport torch\nif TYPE_CHECKING:\n    from mine import f",
    "f": "",
    "g": "from mine.a import x",
    "__init__": "",
}


def test_every_kind_of_import_is_followed_but_not_into_installed_packages(package):
    assert package("mine.a.A", **IMPORTS) == ["mine", *(f"mine.{name}" for name in "abcde")]


def test_an_evaluation_counts_only_where_it_is_resolved(package):
    files = {"__init__": "", "a": "class A:\n    evaluation = 'mine.f:evaluate'", "f": ""}
    assert package("mine.a.A", **files) == ["mine", "mine.a"]
    assert "mine.f" in CodeReader().code_of(["cjepa.evaluation.measurements"], ["mine.a.A"])


@pytest.mark.parametrize("text", ["mine.f:g", "{class_path: mine.f.F}", "  mine.f.F  "])
def test_class_paths_within_texts(package, text):
    assert package(text, **IMPORTS) == ["mine", "mine.f"]


@pytest.mark.parametrize("text", ["mine.f", "mine.x.F", "nowhere.F", "a/mine.h5", "__main__.X", "os.path.join", ""])
def test_what_names_no_class_in_a_module_of_the_users(package, text):
    assert "mine.f" not in package(text, **IMPORTS)


def test_an_installed_class_counts_by_its_own_file():
    assert list(CodeReader().code_of([], ["torch.optim.adamw.AdamW"])) == ["torch.optim.adamw"]


def test_a_file_that_is_no_python(package):
    before = package("mine.f.F", f="x = (")
    assert before == ["mine.f"]


def test_the_module_of_an_environments_id_counts(package):
    assert package("mine:mine/Disc-v0", __init__="import mine.disc", disc="") == ["mine", "mine.disc"]


def test_no_module_is_run(package, tmp_path):
    made = tmp_path / "made"
    assert package("mine.f.F", __init__="", f=f"open({str(made)!r}, 'w')") == ["mine", "mine.f"]
    assert not made.exists() and not Path("made").exists()
