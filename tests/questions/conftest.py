"""Questions about the shared Collide episodes."""

from pathlib import Path

import pytest

from cjepa.cli import main
from tests.sharing import once

CLOCKS = ["--removal_env_step=12", "--seen_env_steps=26"]


@pytest.fixture(scope="session")
def question_path(tmp_path_factory, collide_table_path) -> Path:
    """A file of questions about 60 episodes."""

    def make(path: Path) -> None:
        assert main(["questions", str(collide_table_path), "--out", str(path), "--workers=1", *CLOCKS]) == 0

    return once(tmp_path_factory, "questions.json", make)
