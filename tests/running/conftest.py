"""A finished run, and what makes it go on."""

import shutil
from pathlib import Path

import pytest

from cjepa.cli import main

RECORDS = ("results.json", "run.json", "metrics.csv", "config.yaml", "checkpoints/last.ckpt")
MORE = "--trainer.max_steps=4"


@pytest.fixture
def run(world_model_run, tmp_path) -> Path:
    """A copy of a finished run."""
    return shutil.copytree(world_model_run, tmp_path / "run")


def resume(run: Path, tokens: Path, *words: str) -> None:
    last = str(run / "checkpoints" / "last.ckpt")
    small = ["--data.init_args.path", str(tokens), "--run_dir", str(run), "--trainer.accelerator", "cpu"]
    assert main(["fit", "-c", str(run / "config.yaml"), *small, "--ckpt_path", last, *words]) == 0
