"""The YAMLs of experiments/: what they say, the options that make their commands small, and the data that fits."""

import functools
import importlib
import inspect
import re
import shlex
from pathlib import Path

import yaml

from cjepa.data.store.episode_file import EpisodeFile
from tests.conftest import FEW_FRAMES
from tests.contracts import arguments_of

TWO_EPISODES = ["--episodes=2", "--episode_env_steps=12"]
ONE_PAIR = ["--pairs=1", "--budget_env_steps=25"]
TINY_SEARCH = {"num_samples": 4, "iterations": 1, "num_elites": 2, "num_starts": 2}
FEW_SCENES = ["--scenes=3", "--val_scenes=3", "--horizon_blocks=2"]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
TWO_STEPS = [*QUIET, "--trainer.max_steps=2", "--trainer.val_check_interval=2", "--data.init_args.batch_size=4"]
PREDICTOR = ("model", "init_args", "predictor", "init_args")
POLICY = ("model", "init_args", "policy", "init_args")
LANGUAGE = ("model", "init_args", "language", "init_args")
GOAL_VALUE = ("model", "init_args", "value", "init_args")
FEATURES = ("model", "init_args", "tokenizer", "init_args", "features")
PRETRAINED_WIDTHS = (384, 1408)
"""Of patches of DINOv2 ViT-S and V-JEPA 2 ViT-g."""


def command_of(path: Path) -> list[str]:
    """The words of the ``# cjepa VERB ...`` line in the comment at a file's head."""
    head = re.match(r"(#.*\n)+", path.read_text())
    lines = re.findall(r"^# (cjepa .+)$", head[0] if head else "", re.MULTILINE)
    assert len(lines) == 1, f"{path}: one line of its header says how to run it, as in `# cjepa fit -c ...`"
    return shlex.split(lines[0])[1:]


def configs_of(words: list[str]) -> list[str]:
    return [following for word, following in zip(words, words[1:], strict=False) if word in ("-c", "--config")]


@functools.cache
def content_of(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def value_of(paths: list[str], *keys: str):
    """A value of the last file that states it; paths are relative to the current folder."""
    found = None
    for path in paths:
        content = content_of(Path(path).absolute())
        for key in keys:
            content = content.get(key, {}) if isinstance(content, dict) else {}
        found = content or found
    return found


def tiny_planner(configs: list[str]) -> list[str]:
    """What makes the planner that a chain of configs names search little."""
    taken = inspect.signature(class_of(value_of(configs, "planner", "class_path"))).parameters
    return [f"--planner.init_args.{key}={value}" for key, value in TINY_SEARCH.items() if key in taken]


def two_steps(words: list[str]) -> list[str]:
    """What makes a training short; tokenizers also get few frames to score and draw."""
    few = ["--data.init_args.val_rows=8"] if asks_questions(words) else ["--data.init_args.val_clips=8"]
    few = FEW_FRAMES if trains_on_videos(words) else few
    return [*TWO_STEPS, *few, *(["--data.init_args.train_blocks=2"] if trains_tokenizer(words) else [])]


def asks_questions(words: list[str]) -> bool:
    return bool(value_of(configs_of(words), "data", "init_args", "questions"))


def small_reader(get) -> list[str]:
    """For the six bodies of oracle tokens and the 26 env steps that the shared questions are about, and one layer."""
    sizes = {"token_dim": 128, "slots": 6, "frames": 6, "depth": 1, "joined_frames": 2}
    words = [f"--model.init_args.reader.init_args.{name}={value}" for name, value in sizes.items()]
    return [*words, f"--data.init_args.questions={get('question_path')}", "--data.init_args.frame_stride=4"]


def trains_on_videos(words: list[str]) -> bool:
    return value_of(configs_of(words), "data", "class_path").endswith("VideoClips")


def trains_tokenizer(words: list[str]) -> bool:
    return value_of(configs_of(words), "model", "class_path").endswith("TokenizerTraining")


def small_dinov2(folder: Path) -> list[str]:
    """For the model that the YAMLs name, which tests cannot download."""
    return [f"--{'.'.join(FEATURES)}.init_args.{name}" for name in (f"source={folder}", "image_size=56")]


def small_patches(configs: list[str]) -> list[str]:
    """For a chain whose encoder tests do not have: our patches instead, and one narrow layer."""
    if value_of(configs, *PREDICTOR, "token_dim") not in PRETRAINED_WIDTHS:
        return []
    taken = arguments_of(class_of(value_of(configs, *PREDICTOR[:-1], "class_path")))
    sizes = {"token_dim": 96, "num_tokens": 16, "dim": 112, "depth": 1}
    return [f"--{'.'.join(PREDICTOR)}.{name}={value}" for name, value in sizes.items() if name in taken]


def class_of(class_path: str) -> type:
    module, _, name = class_path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def is_collide(configs: list[str]) -> bool:
    return any("collide/" in name for name in configs)


def episodes_of(configs: list[str], get) -> Path:
    return get("collide_episodes_path" if is_collide(configs) else "episodes_path")


def data_of(configs: list[str], get) -> Path:
    """The fixture that a chain of configs trains on: episodes, or the tokens that are as wide as it says."""
    if value_of(configs, "data", "class_path").endswith("VideoClips"):
        return episodes_of(configs, get)
    if any(value_of(configs, *keys) for keys in (POLICY, LANGUAGE, GOAL_VALUE)):
        return get("collide_tokens" if is_collide(configs) else "slot_tokens")
    if value_of(configs, "data", "init_args", "questions"):
        return get("wide_collide_tokens")
    if class_of(value_of(configs, *PREDICTOR[:-1], "class_path")).layer_normed:
        return get("normed_collide_patch_tokens" if is_collide(configs) else "normed_patch_tokens")
    width = value_of(configs, *PREDICTOR, "token_dim")
    width = 96 if width in PRETRAINED_WIDTHS else width
    if width == 128:
        return get("wide_collide_tokens" if is_collide(configs) else "wide_tokens")
    of_collide = ["collide_tokens", "placed_collide_tokens", "collide_patch_tokens"]
    files = [get(name) for name in (of_collide if is_collide(configs) else ["slot_tokens", "patch_tokens"])]
    widths = {EpisodeFile(path).attributes["token_dim"]: path for path in files}
    assert width in widths, f"token_dim {width}, but the tokenizers give {sorted(widths)}"
    return widths[width]
