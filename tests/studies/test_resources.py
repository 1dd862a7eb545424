"""What a machine has, as the environment says it."""

import pytest

from cjepa.studies.resources import visible_gpus


@pytest.mark.parametrize(
    ("variable", "names"), [("", []), ("-1", []), ("2, 7", ["2", "7"]), ("3,-1,0", ["3"]), ("GPU-a1", ["GPU-a1"])]
)
def test_gpus_are_those_that_cuda_shows(monkeypatch, variable, names):
    """CUDA hides what stands behind -1."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus() == names
