"""Episodes of a few rows."""

import pytest

from tests.data.store.written import an_episode


@pytest.fixture
def originals():
    return [an_episode(5, 0), an_episode(1, 1), an_episode(7, 2)]
