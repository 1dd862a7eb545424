"""Networks that are searched with in no time."""

import pytest

from cjepa.bench import searches

SMALL = {"dim": 16, "depth": 2, "num_heads": 4, "mlp_dim": 24, "dropout": 0.1}


@pytest.fixture
def small(monkeypatch):
    """Networks of other sizes do not search otherwise."""
    monkeypatch.setattr(searches, "PAPER", SMALL)
    monkeypatch.setattr(searches, "TOKEN_DIM", 12)
    monkeypatch.setattr(searches, "PATCH_SIDES", (3, 4))
    monkeypatch.setattr(searches, "FILTER", {"dim": 8, "rounds": 1, "place": (16, 4)})
    monkeypatch.setattr(searches, "ICEM_SIZES", searches.ICEM_SIZES | {"num_samples": 6, "num_elites": 2})
