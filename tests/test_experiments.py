"""Every YAML of experiments/ runs: two steps, two episodes or one pair, as the command in its header says."""

import json
from pathlib import Path

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
SMALLER = {"lewm_paper.yaml": SMALL_FRAMES, "macro.yaml": SHORT_MACRO, "rssm_paper.yaml": SMALL_STATES}
SMALLER |= {"goal_value.yaml": SHORT_GOALS, "savi_paper.yaml": NARROW_DECODER, "videosaur.yaml": NARROW_RENDERING}
SMALLER |= {"dreamer.yaml": ["--model.init_args.imagined_blocks=2"]}
BUILT_ELSEWHERE = {"ijepa_paper.yaml", "vjepa_paper.yaml", "vjepa2_1.yaml", "videosaur_ijepa.yaml"}
BUILT_ELSEWHERE |= {"mcjepa.yaml", "vjepa2_1_paper.yaml"}
"""Too large to train, or a variant: tests in tokenizers/jepa build their models."""
PLANS_WITH = dict.fromkeys(("plan_ensemble.yaml", "hold_unsure.yaml"), "ensemble_run")
"""Runs that a file is for, by the fixture."""
PLANS_READ = {
    "plan_probe.yaml": {"objective.init_args.tokens": "slot_tokens"},
    "hold_unsure.yaml": {"fallback.init_args.tokens": "slot_tokens"},
    "plan_far.yaml": {"objective.init_args.run": "goal_value_run"},
    "plan_language.yaml": {"objective.init_args.run": "language_run"},
    "plan_language_hierarchy.yaml": {
        "hierarchy.run": "macro_run",
        "hierarchy.objective.init_args.run": "language_run",
    },
    "plan_hierarchy.yaml": {"hierarchy.run": "macro_run"},
}
"""Files that an evaluation reads besides run and episodes: options, and the fixtures for them."""
TRAINING_READS = {"dreamer.yaml": ["model.init_args.world_model"]}
"""Options of a training that name a world model."""


@pytest.fixture(scope="session")
def normed_patch_tokens(tmp_path_factory, slots_run, episodes_path) -> Path:
    """The same grid, layer-normed, as vjepa2_ac.yaml says."""
    loader = "cjepa.tokenizers.training.load_tokenizer"
    trained = {"class_path": loader, "init_args": {"checkpoint": str(slots_run)}}
    patches = "cjepa.tokenizers.baselines.patches.PatchTokenizer"
    spec = {"class_path": patches, "init_args": {"grid": 4, "layer_norm": True, "trained": trained}}
    return once(tmp_path_factory, "normed-patches.h5", tokenize(json.dumps(spec), episodes_path))


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
def collide_tokens(tmp_path_factory, collide_episodes_path) -> Path:
    """Tokens of the Collide episodes, from a tokenizer two steps old."""
    words = [*configs("collide/tokenizer.yaml", "smoke/tokenizer.yaml"), *FEW_FRAMES]
    run = once(tmp_path_factory, "collide-slots", lambda folder: fit(folder, collide_episodes_path, *words))
    return once(tmp_path_factory, "collide-tokens.h5", tokenize(run, collide_episodes_path))


@pytest.fixture(scope="session")
def collide_push_run(tmp_path_factory, collide_tokens) -> Path:
    """A world model of those tokens, two steps old."""
    words = configs("pusht/cjepa.yaml", "pusht/object_filter.yaml", "collide/push.yaml")
    words += ["--data.init_args.val_blocks=4"]
    return once(tmp_path_factory, "collide-push", lambda folder: fit(folder, collide_tokens, *words))


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.name not in BUILT_ELSEWHERE],
    ids=lambda path: str(path.relative_to(EXPERIMENTS)),
)
def test_it_runs(path, request, tmp_path, monkeypatch, trained_tokenizers):
    monkeypatch.chdir(ROOT)
    words = command_of(path)
    configs = [word for name in configs_of(words) for word in ("-c", name)]
    get = request.getfixturevalue
    out = tmp_path / "out"
    if words[0] == "study":
        assert load_study(path).stages
    elif words[0] == "collect":
        assert main(["collect", *configs, *TWO_EPISODES, "--workers=1", f"--out={out}.h5"]) == 0
        assert len(EpisodeFile(f"{out}.h5")) == 2
    elif words[0] == "plan":
        run = get(PLANS_WITH.get(path.name, planned_by(configs)))
        episodes = episodes_of(configs, get)
        more = [f"--episodes={episodes}", f"--out={out}", "--num_videos=0", *ONE_PAIR]
        more += tiny_planner(configs_of(words))
        more += [f"--{option}={get(fixture)}" for option, fixture in PLANS_READ.get(path.name, {}).items()]
        assert main(["plan", str(run), *configs, *more]) == 0
        assert (out / "results.json").is_file()
    elif words[0] == "intervene":
        names = ("collide_model_run", "collide_table_path")
        if path.parent.name == "pusht":
            names = ("world_model_run", "episodes_path")
        run, episodes = (get(name) for name in names)
        assert main(["intervene", str(run), *configs, f"--episodes={episodes}", f"--out={out}", *FEW_SCENES]) == 0
        assert (out / "results.json").is_file()
    elif words[0] == "plan-baselines":
        more = [f"--episodes={episodes_of(configs_of(words), get)}", f"--out={out}", "--workers=1", *ONE_PAIR]
        more += tiny_planner(configs_of(words))
        assert main(["plan-baselines", *configs, *more]) == 0
        assert (out / "results.json").is_file()
    elif words[0] == "test":
        shorten_probes(monkeypatch)
        data = [f"--data.init_args.path={data_of(configs_of(words), get)}", f"--run_dir={out}"]
        assert main(["test", *configs, *data, *FEW_FRAMES, *QUIET]) == 0
        assert json.loads((out / "results_test.json").read_text())
    else:
        data = [f"--data.init_args.path={data_of(configs_of(words), get)}", f"--run_dir={out}"]
        features = value_of(configs_of(words), *FEATURES, "class_path") or ""
        small = small_dinov2(get("tiny_dinov2")) if features.endswith("DinoV2Features") else []
        small += SMALLER.get(path.name, [])
        small += small_patches(configs_of(words))
        small += [f"--{option}={get(planned_by(configs))}" for option in TRAINING_READS.get(path.name, ())]
        small += small_reader(get) if asks_questions(words) else []
        assert main(["fit", *configs, *data, *small, *two_steps(words)]) == 0
        model = json.loads((out / "run.json").read_text())["model"]
        assert (model["optimizer_steps"], model["processes"]) == (2, 2 if path.name == "two_cores.yaml" else 1)
        if trains_tokenizer(words) and model["processes"] == 1:  # what others trained, this process has not seen
            check_tokenizer(trained_tokenizers[-1], out)


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
