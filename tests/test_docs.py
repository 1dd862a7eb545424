"""The documentation does what it says: every command is run in small, and what is named exists."""

import json
import re
import shlex
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from cjepa.commands import explore as explore_verb
from cjepa.commands import study as study_verb
from cjepa.commands import sweep as sweep_verb
from cjepa.studies.definition import load_study
from tests.conftest import EXPERIMENTS
from tests.scratch import ROOT, Scratch, blocks, commands
from tests.studies.fakes import InProcess

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
by_name = {"ids": lambda page: page.name}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, **by_name)
def test_commands(page, tmp_path, monkeypatch, request, small_card):
    if page.name == "README.md" or any(words[0].endswith("cjepa") for words in commands(page)):
        monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(explore_verb, "serve", lambda server: None)  # it would go on until Ctrl-C
    for verb in (study_verb, sweep_verb):
        monkeypatch.setattr(verb, "LocalProcesses", InProcess)  # tests of executors start processes
    scratch = Scratch(tmp_path, request.getfixturevalue)
    for text in blocks(page, "yaml"):
        if name := re.match(r"# (\w+\.yaml)\n", text):  # a file of the reader's
            (tmp_path / name[1]).write_text(text)
    for words in commands(page):
        scratch.run(words)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, **by_name)
def test_notebooks(notebook, tmp_path, monkeypatch, request, small_card):
    monkeypatch.chdir(tmp_path)
    scratch = Scratch(tmp_path, request.getfixturevalue)
    names = {}
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] == "code":
            lines = "".join(cell["source"]).splitlines()
            typed = [line for line in lines if line.startswith("!")]
            assert not typed or typed == lines, "commands and Python belong into cells of their own"
            for line in typed:
                scratch.run(shlex.split(line.removeprefix("!")))
            if not typed and lines != ["%cd .."]:  # the folder of the notebooks is one below the clone's
                exec("\n".join(lines), names)
    plt.close("all")


def test_studies_of_the_pages_are_what_the_pages_say(tmp_path, monkeypatch):
    page = ROOT / "docs" / "studies.md"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(EXPERIMENTS)
    lines = {}
    for text in blocks(page, "yaml"):
        path = Path(re.match(r"# (\w+\.yaml)\n", text)[1])
        path.write_text(text)
        study = load_study(path)
        folders = {stage.name: Path("runs/studies") / study.name / stage.name for stage in study.stages}
        lines[path.name] = [" ".join(s.argv(folders | {"self": folders[s.name]})) for s in study.stages]
    said = re.search(r"<!-- stages of my_study.yaml -->\n```text\n(.*?)```", page.read_text(), re.DOTALL)[1]
    assert [f"cjepa {line}" for line in lines["my_study.yaml"]] == said.splitlines()
    assert len(lines["variants.yaml"]) == 6


def test_files_that_change_another_are_given_with_it():
    """The first lines of a YAML file show its command; where pages and notebooks name the file, they name its base."""
    lines = [line for path in [*PAGES, *NOTEBOOKS] for line in path.read_text().splitlines() if "cjepa " in line]
    given = [files for line in lines if (files := experiments_of(line))]
    assert len(given) > 20
    for files in given:
        for place, name in enumerate(files):
            if (ROOT / name).exists():  # else a file of the reader's
                heads = [line for line in (ROOT / name).read_text().splitlines() if line.startswith("# cjepa")]
                bases = [shown[: shown.index(name)] for line in heads if name in (shown := experiments_of(line))]
                assert not bases or any(set(base) <= set(files[:place]) for base in bases), files


def experiments_of(line: str) -> list[str]:
    """The files of experiments/ that a command line names with -c, in order."""
    return re.findall(r"-c (experiments/\S+\.yaml)", line)


@pytest.mark.parametrize("page", PAGES, **by_name)
def test_links_and_named_files_exist(page):
    text = page.read_text()
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
    named = re.findall(r"`((?:experiments|cjepa|tests|docs|tools)/[\w./-]+\.(?:py|yaml|md))`", text)
    own = re.findall(r"`(\S+\.py)`:?\n\n```python", text) + re.findall(r"^# (\S+\.yaml)", text, re.MULTILINE)
    assert [name for name in named if name not in own and not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, **by_name)
def test_test_files_named_in_commands_exist(page):
    for words in commands(page):
        if words[:3] == ["python", "-m", "pytest"]:
            assert all((ROOT / word).exists() for word in words[3:] if word.startswith("tests"))
