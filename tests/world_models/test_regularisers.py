"""Values by hand; that two devices are one process is in test_regularisers_devices.py."""

import math

import pytest
import torch

from cjepa.world_models.regularisers import BarlowTwins, NoGuard, SIGReg, VICReg


def sigreg(tokens_TBD: torch.Tensor, seed: int = 0, **options) -> float:
    return SIGReg(**options)(tokens_TBD, torch.Generator().manual_seed(seed))["sigreg"].item()


def knots() -> list[tuple[float, float]]:
    """t and weight of the published 17 knots."""
    widths = [3 / 16] + 15 * [6 / 16] + [3 / 16]
    return [(3 * k / 16, width * math.exp(-((3 * k / 16) ** 2) / 2)) for k, width in enumerate(widths)]


def test_a_constant_by_hand():
    """All tokens 0: the characteristic function is 1 everywhere."""
    expected = 20 * sum(w * (1 - math.exp(-(t**2) / 2)) ** 2 for t, w in knots())
    assert sigreg(torch.zeros(3, 20, 8)) == pytest.approx(expected, rel=1e-5)


def test_two_points_by_hand():
    """In one dimension every direction is 1 or -1; half of the tokens are at a, half at -a: mean cos(t a), no sine."""
    tokens = torch.tensor([0.7, -0.7]).repeat(10).reshape(1, 20, 1)
    expected = 20 * sum(w * (math.cos(0.7 * t) - math.exp(-(t**2) / 2)) ** 2 for t, w in knots())
    assert sigreg(tokens) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("batch", [64, 512])
def test_standard_normal_tokens_cost_what_chance_does(batch):
    tokens = torch.randn(8, batch, 16, generator=torch.Generator().manual_seed(1))
    expected = sum(w * (1 - math.exp(-(t**2))) for t, w in knots())
    found = sigreg(tokens, num_directions=256)
    assert found == pytest.approx(expected, rel=0.15)
    assert sigreg(2 * tokens) > 5 * expected and sigreg(0.5 * tokens) > 5 * expected and sigreg(tokens + 1) > expected


def test_directions_are_drawn_anew_and_lie_on_the_sphere():
    tokens = torch.randn(2, 32, 4, generator=torch.Generator().manual_seed(1))
    assert sigreg(tokens, seed=0, num_directions=4) != sigreg(tokens, seed=1, num_directions=4)
    turned = tokens @ torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(2)))[0]
    many = {"num_directions": 4096}
    assert sigreg(turned, **many) == pytest.approx(sigreg(tokens, **many), rel=0.1)  # no axis is special


def test_sigreg_spreads_a_collapsed_batch():
    """Tokens along a line become standard normal in every direction."""
    torch.manual_seed(0)
    tokens = (torch.randn(1, 128, 1) * torch.tensor([0.3, 0.1, 0.1]) + 0.01 * torch.randn(1, 128, 3)).requires_grad_()
    optimiser, generator = torch.optim.Adam([tokens], lr=0.05), torch.Generator()
    for _ in range(200):
        optimiser.zero_grad()
        SIGReg(num_directions=32)(tokens, generator)["sigreg"].backward()
        optimiser.step()
    torch.testing.assert_close(torch.cov(tokens[0].T), torch.eye(3), atol=0.25, rtol=0)


def test_time_steps_are_compared_one_by_one():
    """Two time steps at +2 and -2, each with unit variance about it: together they would have a mean of 0."""
    tokens = torch.randn(2, 64, 3, generator=torch.Generator().manual_seed(1)) + torch.tensor([2.0, -2]).reshape(
        2, 1, 1
    )
    both = [sigreg(step[None]) for step in tokens]
    assert sigreg(tokens) == pytest.approx(sum(both) / 2, rel=1e-4)


def test_low_precision_is_left():
    tokens = torch.randn(2, 64, 3, generator=torch.Generator().manual_seed(1))
    expected = sigreg(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        assert sigreg(tokens) == expected


def test_vicreg_by_hand():
    """Two values: variances 4 and 0.25, covariance 1 over four tokens."""
    tokens = torch.tensor([[2.0, 0.5], [-2.0, -0.5]]).repeat(2, 1)[None] * math.sqrt(3 / 4)
    terms = VICReg()(tokens, torch.Generator())
    assert terms["variance"].item() == pytest.approx((0 + 1 - math.sqrt(0.25 + 1e-4)) / 2, rel=1e-4)
    assert terms["covariance"].item() == pytest.approx(2 * 1.0**2 / 2, rel=1e-4)


def test_barlow_twins_by_hand():
    """Two values of two tokens at one time: the second view swaps the values and turns the sign of one."""
    tokens = torch.tensor([[1.0, 2.0], [-1.0, 2.0], [1.0, -2.0], [-1.0, -2.0]]).reshape(1, 4, 2)
    clip = torch.cat([torch.full_like(tokens, torch.nan), tokens])  # the first time step is not predicted
    terms = BarlowTwins()(clip, torch.Generator(), tokens)
    assert terms["diagonal"].item() == pytest.approx(0, abs=1e-4)
    assert terms["redundancy"].item() == pytest.approx(0, abs=1e-4)
    swapped = torch.stack([tokens[..., 1], -tokens[..., 0]], dim=-1)  # correlation [[0, -1], [1, 0]]
    terms = BarlowTwins()(clip, torch.Generator(), swapped)
    assert terms["diagonal"].item() == pytest.approx(1, abs=1e-4)
    assert terms["redundancy"].item() == pytest.approx(1, abs=1e-4)
    scaled = BarlowTwins()(100 * clip, torch.Generator(), 0.1 * swapped + 7)
    assert scaled["redundancy"].item() == pytest.approx(1, abs=2e-3)  # no scale, no place


def test_barlow_twins_needs_two_views():
    with pytest.raises(ValueError, match="expected predicted_UBD"):
        BarlowTwins()(torch.zeros(2, 3, 4), torch.Generator())


def test_weights():
    assert SIGReg().weights == {"sigreg": 0.09}
    assert VICReg(2.0, 3.0).weights == {"variance": 2.0, "covariance": 3.0}
    for regulariser in (SIGReg(), VICReg(), BarlowTwins(), NoGuard()):
        terms = regulariser(torch.randn(2, 8, 4), torch.Generator(), torch.randn(1, 8, 4))
        assert set(terms) == set(regulariser.weights)
        assert not regulariser.state_dict()
