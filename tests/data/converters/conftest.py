"""Sources of every format, made once."""

import shutil

import pytest

from tests.data.converters.lerobot_datasets import EPISODES, VERSIONS
from tests.data.converters.sources import SOURCES


@pytest.fixture(scope="session")
def lerobot_roots(tmp_path_factory):
    return {version: make(tmp_path_factory.mktemp("lerobot"), EPISODES) for version, make in VERSIONS.items()}


@pytest.fixture
def lerobot_copy(lerobot_roots, tmp_path):
    """A copy of a dataset that may be spoilt."""
    return lambda version: shutil.copytree(lerobot_roots[version], tmp_path / "source")


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """Makes a source of a format with so many episodes, once."""
    made = {}

    def source(name: str, num_episodes: int):
        if (name, num_episodes) not in made:
            made[name, num_episodes] = SOURCES[name](tmp_path_factory.mktemp("source"), num_episodes)
        return made[name, num_episodes]

    return source
