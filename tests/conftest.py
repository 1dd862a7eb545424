"""Small data that many tests share; the files are made once a session and never changed."""

import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cjepa.cli import main
from cjepa.data.collect import Collection, collect
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.envs.collide.policy import CollideBehaviour
from cjepa.envs.pusht.env import PushT
from cjepa.envs.pusht.policy import PushTBehaviour
from cjepa.evaluation import card, probes
from cjepa.evaluation.planning import control
from cjepa.progress import NoProgress
from cjepa.studies.study import run_study
from cjepa.tokenizers.specs import TokenizerSpec
from tests.sharing import once
from tests.studies.fakes import InProcess

torch.set_num_threads(1)
# what a shell starts in the background ignores interrupts, and so would the programs that tests start and interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)

NUM_EPISODES = 20  # 5 % of 20 is one episode each for val and test
QUESTION_CLOCKS = ("--removal_env_step=12", "--seen_env_steps=26")
EPISODE_ENV_STEPS = 45
SLOTS, TOKEN_DIM = 3, 6
FEW_FRAMES = ["--data.init_args.val_clips=2", "--data.init_args.val_blocks=4"]
"""For trainings of tokenizers whose scores and videos no test looks at: most of their time goes into the videos."""
SHORT_MACRO = ["--data.init_args.frame_stride=20", "--model.init_args.action_dim=40"]
"""For macro.yaml, whose blocks of 25 env steps do not fit into the episodes of these tests."""
SHORT_GOALS = ["--data.init_args.train_blocks=6", "--data.init_args.val_blocks=6"]
"""For goal_value.yaml, likewise."""
EXPERIMENTS = Path(__file__).parent.parent / "experiments"


MADE_BY_TRAINING = {"slots_run", "slot_tokens", "patch_tokens", "collide_tokens", "world_model_run", "smoke_study"}
MADE_BY_TRAINING |= {"collide_model_run"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs a trained model is slow; other slow tests say so themselves. `make test-fast` leaves them out."""
    for item in items:
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        named = {*getattr(item, "fixturenames", ()), *(value for value in parameters if isinstance(value, str))}
        if named & MADE_BY_TRAINING:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Garbage collections need not look through all that was imported: that would be a twentieth of the time."""
    gc.freeze()


@pytest.fixture
def refused(capfd, tmp_path, monkeypatch):
    """Runs a wrong call in an empty folder and returns its one line."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path, code: int = 2) -> str:
        capfd.readouterr()
        assert main([str(word) for word in words]) == code
        out, err = capfd.readouterr()
        assert out == ""
        assert err.count("\n") == 1 and err.endswith("\n"), err
        assert "Traceback" not in err
        return err

    return run


@pytest.fixture(scope="session", autouse=True)
def quick_disk() -> Iterator[None]:
    """Nothing waits for the disk: no test cuts the power, and every file that a command writes would wait twice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def few_timed_plans() -> Iterator[None]:
    """A plan is timed twice instead of ten times, which took most of an evaluation's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(control, "LATENCY_CALLS", 2)
        yield


ignore_progress = NoProgress()


class RecordedProgress(NoProgress):
    """Keeps what was reported, and interrupts like Ctrl-C at the report with the number ``interrupt_at``."""

    def __init__(self, interrupt_at: int = 0):
        self.interrupt_at = interrupt_at
        self.amounts: list[float] = []
        self.new: list[bool] = []
        self.notes: list[str] = []

    def advance(self, amount: float, new: bool = True, note: str = "") -> None:
        self.amounts.append(amount), self.new.append(new), self.notes.append(note)
        if len(self.amounts) == self.interrupt_at:
            raise KeyboardInterrupt


def token_attributes(**changes) -> dict:
    """Attributes of a token file."""
    return {
        "tokenizer": TokenizerSpec("cjepa.tokenizers.training.load_tokenizer", {"checkpoint": "none.ckpt"}).plain(),
        "tokenizer_fingerprint": "0123456789abcdef",
        "episodes_fingerprint": "fedcba9876543210",
        "num_slots": SLOTS,
        "token_dim": TOKEN_DIM,
        **changes,
    }


@pytest.fixture(scope="session")
def episodes_path(tmp_path_factory) -> Path:
    """20 Push-T episodes of 45 env steps."""
    job = Collection("cjepa/PushT-v0", PushTBehaviour(), NUM_EPISODES, EPISODE_ENV_STEPS, seed=0)
    names = {"body_names": list(PushT.body_names), "attribute_names": list(PushT.attribute_names)}
    attributes = {"env_id": job.env_id, "env_kwargs": {}, "seed": 0, **names}
    return once(tmp_path_factory, "pusht.h5", lambda path: collect(job, path, attributes, 1, ignore_progress))


@pytest.fixture(scope="session")
def episodes(episodes_path) -> EpisodeFile:
    """The same, opened."""
    return EpisodeFile(episodes_path)


@pytest.fixture(scope="session")
def collide_episodes_path(tmp_path_factory) -> Path:
    """20 Collide episodes of 45 env steps with an agent."""
    env_kwargs = {"agent": True, "num_bodies": [3, 4]}
    job = Collection("cjepa/Collide-v0", CollideBehaviour(), NUM_EPISODES, EPISODE_ENV_STEPS, 2, env_kwargs)
    attributes = {"env_id": job.env_id, "env_kwargs": env_kwargs, "seed": 2}
    return once(tmp_path_factory, "collide.h5", lambda path: collect(job, path, attributes, 1, ignore_progress))


@pytest.fixture(scope="session")
def collide_table_path(tmp_path_factory) -> Path:
    """60 Collide episodes of 40 env steps without an agent: 3 for validation, 3 for the test."""
    words = ["collect", *configs("collide/collect.yaml"), "--episodes=60", "--episode_env_steps=40", "--seed=3"]

    def make(path: Path) -> None:
        assert main([*words, "--workers=1", "--out", str(path)]) == 0

    return once(tmp_path_factory, "table.h5", make)


@pytest.fixture(scope="session")
def collide_table(collide_table_path) -> EpisodeFile:
    """The file of those episodes."""
    return EpisodeFile(collide_table_path)


@pytest.fixture(scope="session")
def collide_model_run(tmp_path_factory, collide_table_path) -> Path:
    """A run folder of a tiny world model of those episodes on oracle tokens, two steps old."""
    tokens = once(tmp_path_factory, "table-tokens.h5", tokenize("oracle", collide_table_path))
    words = [*configs("collide/cjepa.yaml"), "--data.init_args.train_blocks=4", "--data.init_args.val_blocks=5"]
    sizes = {"token_dim": 14, "history_blocks": 3, "dim": 16, "depth": 1, "num_heads": 2, "mlp_dim": 32}
    words += [f"--model.init_args.predictor.init_args.{name}={value}" for name, value in sizes.items()]
    return once(tmp_path_factory, "table-model", lambda folder: fit(folder, tokens, *words))


@pytest.fixture(scope="session")
def question_path(tmp_path_factory, collide_table_path) -> Path:
    """Questions about the Collide episodes without an agent."""
    words = ["questions", str(collide_table_path), *QUESTION_CLOCKS, "--workers=1"]

    def make(path: Path) -> None:
        assert main([*words, "--out", str(path)]) == 0

    return once(tmp_path_factory, "questions.json", make)


@pytest.fixture(scope="session")
def tokens_path(tmp_path_factory, episodes) -> Path:
    """Tokens that a fixed random projection makes of the true states."""
    projection = np.random.default_rng(0).normal(size=(7, SLOTS * TOKEN_DIM)) / 100
    attributes = token_attributes(episodes_fingerprint=episodes.fingerprint, episodes_path=str(episodes.path))

    def write(path: Path) -> None:
        with EpisodeWriter(path, "cjepa-tokens", attributes) as writer:
            for episode in episodes.episodes(("action", "proprio", "state")):
                tokens = (episode["state"] @ projection).reshape(-1, SLOTS, TOKEN_DIM).astype(np.float16)
                writer.append({**episode, "tokens": tokens})

    return once(tmp_path_factory, "tokens.h5", write)


def fit(run_dir: Path, data: Path, *more: str, validate_every: int = 2) -> Path:
    """Two steps of `cjepa fit` in small; ``more`` begins with the configs."""
    words = ["fit", *more, "--data.init_args.path", str(data), "--run_dir", str(run_dir)]
    words += ["--data.init_args.batch_size=8", "--trainer.max_steps=2"]
    words += [f"--trainer.val_check_interval={validate_every}"]
    assert main([*words, "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]) == 0
    return run_dir


def configs(*names: str) -> list[str]:
    """``-c`` words for YAMLs under experiments/."""
    return [word for name in names for word in ("-c", str(EXPERIMENTS / name))]


def save_dinov2(folder: Path, seed: int) -> Path:
    """A small DINOv2 with random weights, in the layout of ``transformers``."""
    from transformers import Dinov2Config, Dinov2Model

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2}
    torch.manual_seed(seed)
    Dinov2Model(Dinov2Config(**sizes, image_size=56, patch_size=14)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_dinov2(tmp_path_factory) -> Path:
    """The folder of one."""
    return once(tmp_path_factory, "dinov2", lambda folder: save_dinov2(folder, seed=0))


def tokenize(*words: str | Path) -> Callable[[Path], None]:
    """Makes a token file at the path that it is called with."""

    def make(out: Path) -> None:
        assert main(["tokenize", *map(str, words), "--out", str(out)]) == 0

    return make


@pytest.fixture(scope="session")
def smoke_study(tmp_path_factory) -> Path:
    """A folder like a clone's in which the smoke study ran: it lies in ``runs/studies/smoke``."""

    def make(home: Path) -> None:
        home.mkdir()
        (home / "experiments").symlink_to(EXPERIMENTS)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(home)
            path, root = Path("experiments/smoke/study.yaml"), Path("runs/studies")
            done = run_study(path, root, InProcess(), lambda line: None)
            assert not done.failed, done.lines

    return once(tmp_path_factory, "smoke-study", make)


@pytest.fixture(scope="session")
def slots_run(tmp_path_factory, episodes_path) -> Path:
    """A run folder of the slot tokenizer, two steps old, validated after each."""
    words = [*configs("pusht/tokenizer.yaml", "smoke/tokenizer.yaml"), "--data.init_args.val_blocks=8"]
    return once(tmp_path_factory, "slots", lambda folder: fit(folder, episodes_path, *words, validate_every=1))


@pytest.fixture(scope="session")
def slot_tokens(tmp_path_factory, slots_run, episodes_path) -> Path:
    """The tokens that it makes of the episodes."""
    return once(tmp_path_factory, "slots.h5", tokenize(slots_run, episodes_path))


@pytest.fixture(scope="session")
def patch_tokens(tmp_path_factory, slots_run, episodes_path) -> Path:
    """A 4 x 4 grid of its encoder's features."""
    return once(tmp_path_factory, "patches.h5", tokenize(slots_run, episodes_path, "--patch_grid", "4"))


@pytest.fixture(scope="session")
def wide_tokens(tmp_path_factory, episodes_path) -> Path:
    """Tokens of 128 values, random projections of the simulator's account."""
    return once(tmp_path_factory, "wide.h5", tokenize("oracle:128", episodes_path))


def shorten_probes(patch: pytest.MonkeyPatch) -> None:
    """Probes learn for ten steps: for tests that only want to see that they are there."""
    for name in ("_STEPS", "_CHECK_EVERY"):
        patch.setattr(probes, name, 10)


@pytest.fixture
def small_card(monkeypatch) -> None:
    """`cjepa test` judges few plans."""
    for name, value in (("PAIRS", 2), ("CANDIDATES", 4)):
        monkeypatch.setattr(card, name, value)
    shorten_probes(monkeypatch)


@pytest.fixture(scope="session")
def world_model_run(tmp_path_factory, slot_tokens) -> Path:
    """A run folder of a tiny world model on those tokens, two steps old, validated after each."""
    words = configs("pusht/cjepa.yaml", "smoke/world_model.yaml")
    return once(tmp_path_factory, "world-model", lambda folder: fit(folder, slot_tokens, *words, validate_every=1))


@pytest.fixture(scope="session")
def ensemble_run(tmp_path_factory, slot_tokens) -> Path:
    """A run folder of a small ensemble on the same tokens."""
    words = configs("pusht/cjepa.yaml", "pusht/object_filter.yaml", "pusht/ensemble.yaml")
    few = {"members": 2, "predictor.init_args.dim": 16}
    words += [f"--model.init_args.predictor.init_args.{name}={value}" for name, value in few.items()]
    words += ["--data.init_args.val_clips=8"]
    return once(tmp_path_factory, "ensemble", lambda folder: fit(folder, slot_tokens, *words, validate_every=1))


@pytest.fixture(scope="session")
def language_run(tmp_path_factory, slot_tokens) -> Path:
    """A run folder of a small language model on the same tokens, two steps old."""
    words = [*configs("pusht/language.yaml"), "--model.init_args.language.init_args.hidden_dim=16"]
    return once(tmp_path_factory, "language", lambda folder: fit(folder, slot_tokens, *words))


@pytest.fixture(scope="session")
def goal_value_run(tmp_path_factory, slot_tokens) -> Path:
    """A run folder of a small value of goals on the same tokens, two steps old."""
    words = [*configs("pusht/goal_value.yaml"), "--model.init_args.value.init_args.dim=16", *SHORT_GOALS]
    return once(tmp_path_factory, "goal-value", lambda folder: fit(folder, slot_tokens, *words))


@pytest.fixture(scope="session")
def macro_run(tmp_path_factory, slot_tokens) -> Path:
    """A run folder of small dynamics over blocks of 20 env steps on the same tokens, two steps old."""
    words = [*configs("pusht/cjepa.yaml", "pusht/macro.yaml"), "--model.init_args.predictor.init_args.dim=16"]
    words += [*SHORT_MACRO, "--data.init_args.val_clips=8"]
    return once(tmp_path_factory, "macro", lambda folder: fit(folder, slot_tokens, *words))
