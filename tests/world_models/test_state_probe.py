"""Places and angles by hand: tokens that hold the state, and a probe that knows where."""

import math

import pytest
import torch

from cjepa.errors import UserError
from cjepa.world_models.state_probe import StateProbe


def exact() -> StateProbe:
    """Of one token that holds its answers: a place, and an angle's cosine and sine."""
    probe = StateProbe(1, 4, (0, 1), (2,))
    probe.weight_WR.copy_(torch.eye(4))
    return probe


def pose(x: float, y: float, degrees: float) -> torch.Tensor:
    return torch.tensor([x, y, math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])


def test_distance_and_turn():
    probe = exact()
    found = torch.stack([pose(103, 204, 10), pose(100, 200, 175)])
    distance, degrees = probe.differences(found, torch.stack([pose(100, 200, 0), pose(100, 200, -175)]))
    torch.testing.assert_close(distance, torch.tensor([5.0, 0.0]))
    torch.testing.assert_close(degrees, torch.tensor([10.0, 10.0]), atol=1e-3, rtol=0)


def test_states_that_tokens_hold_are_read_exactly():
    """Places in any order, and an angle; bfloat16 around it changes nothing."""
    generator = torch.Generator().manual_seed(0)
    state_NF = torch.rand(500, 3, generator=generator) * torch.tensor([400.0, 6.0, 400.0])
    held = torch.stack([state_NF[:, 0], state_NF[:, 2], 100 * state_NF[:, 1].cos(), 100 * state_NF[:, 1].sin()], dim=1)
    mixed = held @ torch.randn(4, 7, generator=generator) / 100
    tokens_NSD = torch.cat([mixed, torch.ones(500, 1)], dim=1).unflatten(1, (2, 4))  # one value never changes
    probe = StateProbe(2, 4, places=(2, 0), angles=(1,))
    assert not probe.fitted
    probe.fit(tokens_NSD, state_NF)
    with torch.autocast("cpu", torch.bfloat16):
        read = probe(tokens_NSD[:, None])[:, 0]
    assert probe.fitted
    torch.testing.assert_close(read[:, :2], state_NF[:, [2, 0]], atol=4.0, rtol=0)
    torch.testing.assert_close(read[:, 2:], held[:, 2:] / 100, atol=0.05, rtol=0)


def test_another_number_of_tokens_is_refused():
    with pytest.raises(UserError, match="the world model has 2 tokens, but its probe was fitted on 1"):
        exact()(torch.zeros(3, 2, 4))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"places": (), "angles": ()}, "places and angles are both empty"),
        ({"places": (0,), "angles": (-1,)}, "an index of places or angles is -1, expected 0 or more"),
        ({"num_tokens": 0}, "num_tokens is 0"),
    ],
)
def test_numbers_are_checked(options, said):
    with pytest.raises(ValueError, match=said):
        StateProbe(**{"num_tokens": 1, "token_dim": 2, "places": (0,), "angles": ()} | options)
