"""Every example of the documentation is a class that can be built and used, every script runs."""

import importlib
import inspect
import re
import shlex
import shutil
import sys
import types
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from cjepa.cli import main
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.envs.base import ObjectEnv
from cjepa.evaluation.metrics import SlotMetric
from cjepa.planning.objectives import Objective
from cjepa.planning.planners.base import Planner
from cjepa.tokenizers.base import Tokenizer
from cjepa.world_models.masks import Mask
from cjepa.world_models.predictors.base import Predictor
from tests.conftest import EXPERIMENTS, NUM_EPISODES
from tests.scratch import ROOT, Scratch, blocks

EXTENSION_POINTS = {
    "add-a-mask": Mask,
    "add-a-metric": SlotMetric,
    "add-a-planner": Planner,
    "add-a-predictor": Predictor,
    "add-a-tokenizer": Tokenizer,
    "add-an-objective": Objective,
    "add-an-environment": ObjectEnv,
}
ADD_PAGES = sorted((ROOT / "docs").glob("add-*.md"))
by_name = {"ids": lambda page: page.name}


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
def test_examples_run_through_their_yaml(page, tmp_path, monkeypatch, request, environments, small_card):
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
