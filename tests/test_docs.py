"""The documentation does what it says: every command is run in small, every example is a subclass that can be built."""

import importlib
import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
import types
import warnings
from pathlib import Path

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from cjepa.cli import main
from cjepa.commands import explore as explore_verb
from cjepa.commands import study as study_verb
from cjepa.commands import sweep as sweep_verb
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.envs.base import ObjectEnv
from cjepa.evaluation import probes
from cjepa.evaluation.metrics import SlotMetric
from cjepa.planning.objectives import Objective
from cjepa.planning.planners.base import Planner
from cjepa.studies.definition import load_study
from cjepa.tokenizers.base import Tokenizer
from cjepa.world_models.masks import Mask
from cjepa.world_models.predictors.base import Predictor
from tests.conftest import EXPERIMENTS, FEW_FRAMES, NUM_EPISODES
from tests.data.converters.sources import SOURCES
from tests.published import published_weights
from tests.studies.fakes import InProcess
from tests.test_experiments import FEW_SCENES, ONE_PAIR, TINY_SEARCH, TWO_EPISODES, data_of, two_steps

ROOT = EXPERIMENTS.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ADD_PAGES = [page for page in PAGES if page.name.startswith("add-")]
EXTENSION_POINTS = {
    "add-a-mask": Mask,
    "add-a-metric": SlotMetric,
    "add-a-planner": Planner,
    "add-a-predictor": Predictor,
    "add-a-tokenizer": Tokenizer,
    "add-an-objective": Objective,
    "add-an-environment": ObjectEnv,
}
NOT_RUN = ("tensorboard", "git", "python -m venv", "python3 -m venv", "python -m pytest", "cd", "source", ".")
TINY_CEM = [f"--planner.init_args.{key}={value}" for key, value in TINY_SEARCH.items() if key != "num_starts"]
SMALL = {
    "collect": [f"--episodes={NUM_EPISODES}", "--episode_env_steps=45", "--workers=1"],
    "test": [*FEW_FRAMES, "--trainer.callbacks=[]"],
    "intervene": FEW_SCENES,
    "explore": ["--scenes=2", "--port=0"],
    "plan": [*ONE_PAIR, *TINY_CEM, "--num_videos=1"],
    "plan-baselines": [*ONE_PAIR, *TINY_CEM, "--workers=1"],
}
by_name = {"ids": lambda page: page.name}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """Every line of the page's bash blocks as words; backslashes join lines, comments go."""
    text = "\n".join(blocks(page, "bash")).replace("\\\n", " ")
    return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


class Scratch:
    """A folder like a clone's, in which the commands of one page are run in order."""

    def __init__(self, home: Path, get):
        self.home, self.get = home, get
        (home / "experiments").symlink_to(EXPERIMENTS)
        (home / "docs").symlink_to(ROOT / "docs")
        (home / "tools").symlink_to(ROOT / "tools")
        (home / "data").mkdir()

    def run(self, words: list[str]) -> None:
        line = " ".join(words)
        words = words[1:] if "=" in words[0] else words  # VARIABLE=value in front
        program = Path(words[0]).name
        if any(f"{line} ".startswith(f"{skipped} ") for skipped in NOT_RUN):
            return
        if program == "make":
            done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, f"{line}: {done.stderr}"
        elif program == "python" and words[1].startswith("tools/"):
            command = [sys.executable, *words[1:], "--episodes", "3"]
            done = subprocess.run(command, cwd=self.home, capture_output=True, text=True)
            assert done.returncode == 0, f"{line}: {done.stderr}"
        else:
            assert program == "cjepa", f"no rule for {line!r}: run it here, or name it in NOT_RUN"
            self.cjepa(words[1:])

    def cjepa(self, words: list[str]) -> None:
        verb = words[0] if words else ""
        if words[1:2] == ["--help"] or "--print_config" in words or any(".help" in word for word in words):
            with pytest.raises(SystemExit) as done:
                main(words)
            assert done.value.code in (None, 0)
            return
        words = [word.replace("studies/quickstart.yaml", "smoke/study.yaml") for word in words]
        words = [word.replace("runs/studies/quickstart", "runs/studies/smoke") for word in words]
        small = two_steps(words) if verb == "fit" else list(SMALL.get(verb, []))
        if "--episode_env_steps" in words:  # few that are as long as the page says, because its goals are far
            small = ["--episodes=4", "--workers=1"]
        if verb == "sweep":
            small = ["--seeds=[0]", *(word.replace("--", "--options.") for word in two_steps(["-c", words[1]]))]
        if any(word.endswith("collect_mpc.yaml") for word in words):
            small += TWO_EPISODES  # every env step is a search on the simulator
        if verb == "fit" and "--ckpt_path" in words:
            small = ["--trainer.max_steps=4" if "max_steps" in word else word for word in small]
        self.provide(words)
        assert main([*words, *small]) == 0, f"cjepa {' '.join(words)}"

    def provide(self, words: list[str]) -> None:
        """Files that a page takes for granted because another page, or another project, makes them."""
        if words[0] == "convert":
            source, made = self.home / words[1], self.home / "made"
            made.mkdir(exist_ok=True)
            source.parent.mkdir(parents=True, exist_ok=True)
            SOURCES[words[words.index("--from") + 1]](made, 3).rename(source)
            return
        if words[0] == "import-official":
            torch.save(published_weights(128, 4, proprio_dim=4, action_dim=10), self.home / words[1])
            shutil.copy(self.get("wide_tokens"), self.home / words[words.index("--data") + 1])
            return
        if words[0] == "study":  # the same study in the same place: its stages are done
            studies = Path("runs", "studies")
            if not (self.home / studies).exists():
                shutil.copytree(self.get("smoke_study") / studies, self.home / studies)
            return
        outputs = [
            following for word, following in zip(words, words[1:], strict=False) if word in ("--out", "--run_dir")
        ]
        for word in words[1:]:
            path = self.home / word
            if word in outputs or path.exists() or not word.startswith(("data/", "runs/")):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if word.endswith(".h5"):
                configs = [b for a, b in zip(words, words[1:], strict=False) if a == "-c"]
                configs += [words[1]] if words[0] == "sweep" else []
                source = data_of(configs, self.get) if words[0] in ("fit", "sweep") else self.get("episodes_path")
                shutil.copy(source, path)
            elif "/" not in word.removeprefix("runs/"):
                is_tokenizer = words[0] == "tokenize" or word == "runs/slots"
                shutil.copytree(self.get("slots_run" if is_tokenizer else "world_model_run"), path)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, **by_name)
def test_commands(page, tmp_path, monkeypatch, request, small_card):
    if page.name == "README.md" or any(words[0].endswith("cjepa") for words in commands(page)):
        monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(probes, "_STEPS", 100)
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
def test_notebooks(notebook, tmp_path, monkeypatch, request):
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


def test_every_extension_point_has_its_page():
    assert {page.stem for page in ADD_PAGES} == set(EXTENSION_POINTS)


@pytest.mark.parametrize("page", ADD_PAGES, **by_name)
def test_examples_subclass_what_they_document(page):
    base = EXTENSION_POINTS[page.stem]
    examples = blocks(page, "python")
    assert examples
    for code in examples:
        assert [cls for cls in classes_of(code, "docs_example") if issubclass(cls, base)], code


@pytest.mark.slow
@pytest.mark.parametrize("page", ADD_PAGES, **by_name)
def test_examples_run_through_their_yaml(page, tmp_path, monkeypatch, request, environments):
    """The files are put where the page says, and the command in the YAML's comment is run."""
    paths = re.findall(r"`cjepa/(\S+)\.py`:\n\n```python", page.read_text())
    for path, code in zip(paths, blocks(page, "python"), strict=True):
        package, _, module = f"cjepa.{path.replace('/', '.')}".rpartition(".")
        monkeypatch.setitem(sys.modules, f"{package}.{module}", None)  # so that it is taken out again
        example = module_of(code, f"{package}.{module}")
        monkeypatch.setattr(importlib.import_module(package), module, example, raising=False)
    monkeypatch.chdir(tmp_path)
    scratch = Scratch(tmp_path, request.getfixturevalue)
    (tmp_path / "experiments").unlink()
    shutil.copytree(EXPERIMENTS, tmp_path / "experiments")
    for text in blocks(page, "yaml"):
        name = re.match(r"# (experiments/\S+\.yaml)", text)[1]
        command = re.search(r"^# cjepa (.*)$", text, re.MULTILINE)[1].replace("RUN", "runs/model")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        run_example(scratch, shlex.split(command))


def run_example(scratch: Scratch, words: list[str]) -> None:
    if words[0] == "plan":  # with the example's own planner, or a small CEM
        options = ["--pairs=1", "--budget_env_steps=25", "--num_videos=0", "--planner.init_args.num_samples=4"]
        options += [] if "planner:" in Path(words[5]).read_text() else ["--planner.init_args.num_elites=2"]
        scratch.provide(words)
        assert main([*words, *options, "--planner.init_args.iterations=2"]) == 0
        return
    scratch.cjepa([*words, *(["--data.init_args.path", "data/some.h5"] if words[0] == "fit" else [])])
    if words[0] == "collect":
        assert len(EpisodeFile(words[words.index("--out") + 1])) == NUM_EPISODES


def test_the_example_of_a_metric_scores_a_missed_object_0():
    """Two objects of four pixels: a slot owns two of the first, and no slot any of the second."""
    (code,) = blocks(ROOT / "docs" / "add-a-metric.md", "python")
    (example,) = (cls for cls in classes_of(code, "docs_example") if issubclass(cls, SlotMetric))
    labels_BTYX, masks_BTSYX = torch.zeros(1, 1, 4, 4, dtype=torch.uint8), torch.zeros(1, 1, 2, 4, 4)
    labels_BTYX[..., :2, :2], labels_BTYX[..., 2:, 2:] = 1, 2
    masks_BTSYX[:, :, 0, :2, 0] = 1.0
    metric = example()
    metric.update(masks_BTSYX, labels_BTYX)
    assert metric.compute() == 0.25


def test_the_script_of_the_python_page(tmp_path, monkeypatch):
    """All blocks of the page, as a reader pastes them: no library complains, and the plan leads to its goal."""
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        script = module_of("\n".join(blocks(ROOT / "docs" / "python.md", "python")), "python_page")
    del sys.modules["python_page"]
    assert script.tokens.shape == (2, 34) and script.masks.shape == (2, 64, 64) and script.pixels.shape == (64, 64, 3)
    agents_TS = np.linalg.norm(script.paths - script.proprio[:2] / 8, axis=-1)
    assert script.paths.shape == (11, 2, 2) and agents_TS[-1].min() < 2  # the agent is where it says that it is
    assert np.linalg.norm(script.places - script.paths[0], axis=-1).max() < 0.1
    assert script.future.tokens.shape[:2] == script.predicted.shape[:2] == (2, 2)
    assert script.actions.shape == (25, 2) and (np.abs(script.actions) <= 1).all()
    assert np.linalg.norm(script.env.get_state()[:2] - script.state[:2] - [40, 0]) < 8


def test_the_script_of_the_interventions_page(tmp_path, monkeypatch, collide_model_run, collide_table_path):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(collide_model_run, tmp_path / "runs" / "collide")
    (tmp_path / "data").mkdir()
    shutil.copy(collide_table_path, tmp_path / "data" / "collide.h5")
    (block,) = blocks(ROOT / "docs" / "interventions.md", "python")
    script = module_of(block, "interventions_page")
    del sys.modules["interventions_page"]
    assert script.answer.predicted.shape == script.answer.true.shape == (10, 6, 2) and script.matrix.shape == (6, 6)


@pytest.fixture
def environments():
    """Gymnasium's registry, restored afterwards."""
    before = dict(gym.registry)
    yield
    gym.registry.clear()
    gym.registry.update(before)


def module_of(code: str, name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(code, name, "exec"), vars(module))
    return module


def classes_of(code: str, name: str) -> list[type]:
    before = dict(gym.registry)
    try:
        module = module_of(code, name)
    finally:
        sys.modules.pop(name, None)
        gym.registry.clear()
        gym.registry.update(before)
    found = [cls for cls in vars(module).values() if inspect.isclass(cls) and cls.__module__ == name]
    return [cls for cls in found if not inspect.isabstract(cls)]
