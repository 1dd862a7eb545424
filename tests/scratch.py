"""Pages of the documentation, and a folder in which their commands are run in small."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cjepa.cli import main
from tests.conftest import EXPERIMENTS, FEW_FRAMES, NUM_EPISODES
from tests.data.converters.sources import SOURCES
from tests.published import published_weights
from tests.small_experiments import FEW_SCENES, ONE_PAIR, TINY_SEARCH, TWO_EPISODES, data_of, two_steps

ROOT = EXPERIMENTS.parent
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
