"""Every YAML of experiments/ runs: two steps, two episodes or one pair, as the command in its header says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml

from cjepa.cli import VERBS, main
from cjepa.data.splits import SPLIT_SEED, SPLIT_SHARES, split_episodes
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.studies.definition import load_study
from cjepa.tokenizers.training import TokenizerTraining, load_tokenizer
from tests.conftest import EXPERIMENTS, FEW_FRAMES, SHORT_GOALS, SHORT_MACRO, configs, fit, shorten_probes, tokenize
from tests.sharing import once
from tests.small_experiments import (
    FEATURES,
    FEW_SCENES,
    ONE_PAIR,
    QUIET,
    TWO_EPISODES,
    asks_questions,
    command_of,
    configs_of,
    data_of,
    episodes_of,
    is_collide,
    small_dinov2,
    small_patches,
    small_reader,
    tiny_planner,
    trains_tokenizer,
    two_steps,
    value_of,
)

ROOT = EXPERIMENTS.parent
FILES = sorted(EXPERIMENTS.rglob("*.yaml"))
SMALL_FRAMES = [f"--model.init_args.tokenizer.init_args.{size}" for size in ("image_size=64", "patch_size=16")]
SMALL_STATES = [f"--model.init_args.predictor.init_args.{size}" for size in ("dim=64", "mlp_dim=16", "classes=4")]
NARROW_DECODER = ["--model.init_args.tokenizer.init_args.decoder_channels=8"]
NARROW_RENDERING = ["--model.init_args.tokenizer.init_args.render_dim=32"]
SMALLER = dict.fromkeys(("lewm_paper.yaml", "fast_lewm_pixels_paper.yaml"), SMALL_FRAMES)
SMALLER |= {"macro.yaml": SHORT_MACRO, "rssm_paper.yaml": SMALL_STATES}
SMALLER |= {"goal_value.yaml": SHORT_GOALS, "savi_paper.yaml": NARROW_DECODER, "videosaur.yaml": NARROW_RENDERING}
SMALLER |= {"dreamer.yaml": ["--model.init_args.imagined_blocks=2"]}
BUILT_ELSEWHERE = {"ijepa_paper.yaml", "vjepa_paper.yaml", "vjepa2_1.yaml", "videosaur_ijepa.yaml"}
BUILT_ELSEWHERE |= {"mcjepa.yaml", "vjepa2_1_paper.yaml"}
"""Too large to train, or a variant: tests in tokenizers/jepa build their models."""
PLANS_WITH = dict.fromkeys(("plan_ensemble.yaml", "hold_unsure.yaml"), "ensemble_run")
"""Runs that a file is for, by the fixture."""
PLANS_READ = {
    "pusht/plan_probe.yaml": {"objective.init_args.tokens": "slot_tokens"},
    "pusht/hold_unsure.yaml": {"fallback.init_args.tokens": "slot_tokens"},
    "pusht/plan_far.yaml": {"objective.init_args.run": "goal_value_run"},
    "pusht/plan_language.yaml": {"objective.init_args.run": "language_run"},
    "pusht/plan_language_hierarchy.yaml": {
        "hierarchy.run": "macro_run",
        "hierarchy.objective.init_args.run": "language_run",
    },
    "pusht/plan_hierarchy.yaml": {"hierarchy.run": "macro_run"},
    "collide/plan_language.yaml": {"objective.init_args.run": "collide_language_run", "goal_text": "collide_sentence"},
}
"""Files that an evaluation reads besides run and episodes: options, and the fixtures for them."""
TRAINING_READS = {"dreamer.yaml": ["model.init_args.world_model"]}
"""Options of a training that name a world model."""


def normed_patches(run: Path) -> str:
    """A tokenizer: the 4 x 4 grid of a run, layer-normed, as vjepa2_ac.yaml says."""
    loader = "cjepa.tokenizers.training.load_tokenizer"
    trained = {"class_path": loader, "init_args": {"checkpoint": str(run)}}
    patches = "cjepa.tokenizers.baselines.patches.PatchTokenizer"
    return json.dumps({"class_path": patches, "init_args": {"grid": 4, "layer_norm": True, "trained": trained}})


@pytest.fixture(scope="session")
def normed_patch_tokens(tmp_path_factory, slots_run, episodes_path) -> Path:
    return once(tmp_path_factory, "normed-patches.h5", tokenize(normed_patches(slots_run), episodes_path))


@pytest.fixture(scope="session")
def wide_collide_tokens(tmp_path_factory, collide_table_path) -> Path:
    """The same of Collide episodes without an agent."""
    return once(tmp_path_factory, "wide-collide.h5", tokenize("oracle:128", collide_table_path))


@pytest.fixture(scope="session")
def placed_collide_tokens(tmp_path_factory, collide_table_path) -> Path:
    """The simulator's account of the same, with places as slots hold them, as oracle.yaml says."""
    spec = {"class_path": "cjepa.tokenizers.oracle.OracleTokenizer", "init_args": {"side_units": 512}}
    return once(tmp_path_factory, "placed-collide.h5", tokenize(json.dumps(spec), collide_table_path))


@pytest.fixture(scope="session")
def collide_slots_run(tmp_path_factory, collide_episodes_path) -> Path:
    """A tokenizer of the Collide episodes, two steps old."""
    words = [*configs("collide/tokenizer.yaml", "smoke/tokenizer.yaml"), *FEW_FRAMES]
    return once(tmp_path_factory, "collide-slots", lambda folder: fit(folder, collide_episodes_path, *words))


@pytest.fixture(scope="session")
def collide_tokens(tmp_path_factory, collide_slots_run, collide_episodes_path) -> Path:
    """The tokens that it makes of them."""
    return once(tmp_path_factory, "collide-tokens.h5", tokenize(collide_slots_run, collide_episodes_path))


@pytest.fixture(scope="session")
def collide_patch_tokens(tmp_path_factory, collide_slots_run, collide_episodes_path) -> Path:
    """A 4 x 4 grid of its encoder's features."""
    words = (collide_slots_run, collide_episodes_path, "--patch_grid", "4")
    return once(tmp_path_factory, "collide-patches.h5", tokenize(*words))


@pytest.fixture(scope="session")
def normed_collide_patch_tokens(tmp_path_factory, collide_slots_run, collide_episodes_path) -> Path:
    words = (normed_patches(collide_slots_run), collide_episodes_path)
    return once(tmp_path_factory, "normed-collide-patches.h5", tokenize(*words))


@pytest.fixture(scope="session")
def collide_push_run(tmp_path_factory, collide_tokens) -> Path:
    """A world model of those tokens, two steps old."""
    words = configs("pusht/cjepa.yaml", "pusht/object_filter.yaml", "collide/push.yaml")
    words += ["--data.init_args.val_blocks=4"]
    return once(tmp_path_factory, "collide-push", lambda folder: fit(folder, collide_tokens, *words))


@pytest.fixture(scope="session")
def collide_language_run(tmp_path_factory, collide_tokens) -> Path:
    """A language model of those tokens, two steps old."""
    words = [*configs("pusht/language.yaml", "collide/language.yaml"), "--model.init_args.language.init_args.dim=16"]
    return once(tmp_path_factory, "collide-language", lambda folder: fit(folder, collide_tokens, *words))


@pytest.fixture(scope="session")
def collide_sentence() -> str:
    """About the only body that the few test episodes are sure to have."""
    return "bring the agent to the middle"


def planned_by(configs: list[str]) -> str:
    """The fixture of a world model for the environment of these files."""
    return "collide_push_run" if is_collide(configs) else "world_model_run"


def check_header(path: Path) -> None:
    """The command at the head of a file names the file last, and other files that exist."""
    words = command_of(path)
    name = str(path.relative_to(ROOT))
    assert words[0] in (*VERBS, "fit", "test"), path
    if words[0] == "study":
        assert words == ["study", name]
        return
    names = configs_of(words)
    assert names[-1] == name
    assert [other for other in names if not (ROOT / other).is_file()] == [], path


def test_the_headers_say_how_to_run_them():
    for path in FILES:
        check_header(path)


def test_push_t_pairs_are_each_from_another_episode():
    """So that they are independent, as their interval assumes."""
    folder = EXPERIMENTS / "pusht"
    collected, planned = (yaml.safe_load((folder / name).read_text()) for name in ("collect.yaml", "plan.yaml"))
    splits = split_episodes(collected["episodes"], SPLIT_SHARES, SPLIT_SEED)
    assert min(len(splits["val"]), len(splits["test"])) >= planned["pairs"]


class Header(NamedTuple):
    """The command at the head of a file, to be run in small."""

    path: Path
    words: list[str]
    get: Callable[[str], Any]
    """A fixture by its name."""
    out: Path

    @property
    def chain(self) -> list[str]:
        """The files that the command names."""
        return configs_of(self.words)

    def run(self, *options: str, of: str | None = None) -> None:
        """The command with these options, of the run that a fixture makes."""
        runs = [] if of is None else [str(self.get(of))]
        files = [word for name in self.chain for word in ("-c", name)]
        assert main([self.words[0], *runs, *files, *options]) == 0


def study(header: Header) -> None:
    assert load_study(header.path).stages


def collect(header: Header) -> None:
    header.run(*TWO_EPISODES, "--workers=1", f"--out={header.out}.h5")
    assert len(EpisodeFile(f"{header.out}.h5")) == 2


def plan(header: Header) -> None:
    run = PLANS_WITH.get(header.path.name, planned_by(header.chain))
    small = [f"--out={header.out}", "--num_videos=0", *ONE_PAIR, *tiny_planner(header.chain)]
    options = PLANS_READ.get(str(header.path.relative_to(EXPERIMENTS)), {})
    read = [f"--{option}={header.get(fixture)}" for option, fixture in options.items()]
    header.run(f"--episodes={episodes_of(header.chain, header.get)}", *small, *read, of=run)
    assert (header.out / "results.json").is_file()


def plan_baselines(header: Header) -> None:
    small = [f"--out={header.out}", "--workers=1", *ONE_PAIR, *tiny_planner(header.chain)]
    header.run(f"--episodes={episodes_of(header.chain, header.get)}", *small)
    assert (header.out / "results.json").is_file()


def intervene(header: Header) -> None:
    run, episodes = ("collide_model_run", "collide_table_path")
    if header.path.parent.name == "pusht":
        run, episodes = ("world_model_run", "episodes_path")
    header.run(f"--episodes={header.get(episodes)}", f"--out={header.out}", *FEW_SCENES, of=run)
    assert (header.out / "results.json").is_file()


def judge(header: Header) -> None:
    data = f"--data.init_args.path={data_of(header.chain, header.get)}"
    header.run(data, f"--run_dir={header.out}", *FEW_FRAMES, *QUIET)
    assert json.loads((header.out / "results_test.json").read_text())


def train(header: Header) -> None:
    trained = header.get("trained_tokenizers")
    data = f"--data.init_args.path={data_of(header.chain, header.get)}"
    features = value_of(header.chain, *FEATURES, "class_path") or ""
    small = small_dinov2(header.get("tiny_dinov2")) if features.endswith("DinoV2Features") else []
    small += [*SMALLER.get(header.path.name, []), *small_patches(header.chain)]
    small += [
        f"--{option}={header.get(planned_by(header.chain))}" for option in TRAINING_READS.get(header.path.name, ())
    ]
    small += small_reader(header.get) if asks_questions(header.words) else []
    header.run(data, f"--run_dir={header.out}", *small, *two_steps(header.words))
    model = json.loads((header.out / "run.json").read_text())["model"]
    processes = 2 if header.path.name == "two_cores.yaml" else 1
    assert (model["optimizer_steps"], model["processes"]) == (2, processes)
    if trains_tokenizer(header.words) and processes == 1:  # what others trained, this process has not seen
        check_tokenizer(trained[-1], header.out)


IN_SMALL = {"study": study, "collect": collect, "plan": plan, "plan-baselines": plan_baselines}
IN_SMALL |= {"intervene": intervene, "test": judge, "fit": train}


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.name not in BUILT_ELSEWHERE],
    ids=lambda path: str(path.relative_to(EXPERIMENTS)),
)
def test_it_runs(path, request, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    shorten_probes(monkeypatch)
    words = command_of(path)
    IN_SMALL[words[0]](Header(path, words, request.getfixturevalue, tmp_path / "out"))


@pytest.fixture
def trained_tokenizers(monkeypatch) -> list[TokenizerTraining]:
    """The modules that a test trains, as training leaves them."""
    modules = []
    monkeypatch.setattr(TokenizerTraining, "on_train_end", lambda module: modules.append(module))
    return modules


@torch.no_grad()
def check_tokenizer(module: TokenizerTraining, run: Path) -> None:
    """The trained module and the tokenizer that is read from its checkpoint give the same tokens."""
    tokenizer = load_tokenizer(run / "checkpoints" / "last.ckpt")
    assert type(tokenizer) is type(module.tokenizer)
    inputs = module.eval().inputs(next(iter(module.trainer.datamodule.val_dataloader())))
    tokens = module.tokenizer.encode(*inputs).slots_BTSD
    assert tokens.isfinite().all() and torch.equal(tokenizer.encode(*inputs).slots_BTSD, tokens)
    assert {path.name for path in (run / "media").iterdir()} >= {"slots.png", "slots_1.mp4", "failures.png"}


def test_tokenizers_are_drawn_and_scored_by_what_their_labels_mean(monkeypatch):
    monkeypatch.chdir(ROOT)
    chains = [configs_of(command_of(path)) for path in FILES]
    chains = [chain for chain in chains if (value_of(chain, "data", "class_path") or "").endswith("VideoClips")]
    whole = ("LeWorldModel", "PixelWorldModel")  # one token per frame, trained with the dynamics or not at all
    chains = [chain for chain in chains if not value_of(chain, "model", "class_path").endswith(whole)]
    for chain in chains:
        callbacks = value_of(chain, "trainer", "callbacks") or []
        assert [part for part in callbacks if part["class_path"].endswith("SlotOverlays")], chain
        metrics = {metric["class_path"].split(".")[-1] for metric in value_of(chain, "model", "init_args", "metrics")}
        across_episodes = set() if is_collide(chain) else {"SlotConsistency"}
        assert metrics & {"SlotConsistency", "ClipConsistency"} == {"ClipConsistency"} | across_episodes, chain
    assert len(chains) >= 12


def test_the_files_are_found():
    assert len(FILES) >= 12
    assert {path.name for path in FILES} >= {"cjepa_paper.yaml", "quickstart.yaml", "study.yaml", "tokenizer.yaml"}


def test_a_file_without_a_command_is_noticed(tmp_path):
    path = tmp_path / "silent.yaml"
    path.write_text("# What it is for.\ntrainer: {}\n# cjepa fit -c silent.yaml\n")
    with pytest.raises(AssertionError, match="silent.yaml"):
        command_of(path)
    path.write_text("# What it is for.\n# cjepa fit -c a.yaml -c silent.yaml\ntrainer: {}\n")
    assert configs_of(command_of(path)) == ["a.yaml", "silent.yaml"]
