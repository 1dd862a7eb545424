"""MC-JEPA: flow by hand, and that both objectives reach the one encoder."""

import pytest
import torch
import yaml

from cjepa.tokenizers.jepa.flow import FlowHead, end_point_error, photometric, simulated, smoothness, warped
from cjepa.tokenizers.jepa.ijepa import IJepa
from cjepa.tokenizers.jepa.mcjepa import McJepa
from tests.conftest import EXPERIMENTS

SMALL = {"dim": 16, "depth": 1, "num_heads": 2, "predictor_width": 8, "predictor_depth": 1, "predictor_heads": 2}


def moved(x: int, y: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A frame, the same with a square further right and down, and the true flow of the square."""
    first, second, flow = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32), torch.zeros(1, 2, 32, 32)
    first[..., 8:16, 4:12] = 1.0
    second[..., 8 + y : 16 + y, 4 + x : 12 + x] = 1.0
    flow[:, 0, 8:16, 4:12], flow[:, 1, 8:16, 4:12] = x, y
    return first, second, flow


def test_a_frame_is_drawn_again_with_the_pixels_of_the_next():
    first, second, flow = moved(3, 5)
    again = warped(second, flow)
    torch.testing.assert_close(again[..., 8:16, 4:12], first[..., 8:16, 4:12])
    torch.testing.assert_close(warped(second, torch.zeros_like(flow)), second)


def test_the_true_flow_costs_least():
    """Without an overlap, the place that the square moves to is wrong either way: half of what no flow costs."""
    first, second, flow = moved(8, 8)
    still, right = (photometric(first, second, given) for given in (torch.zeros_like(flow), flow))
    torch.testing.assert_close(still, torch.tensor(128 / 32**2), atol=2e-3, rtol=0)
    torch.testing.assert_close(right, still / 2, atol=2e-3, rtol=0)
    assert photometric(first, second, -flow) > right and photometric(first, first, torch.zeros_like(flow)) < 1e-6


def test_smoothness_by_hand():
    """Steps of 2 px between two columns count fully on a plain frame, and exp(-10) of it on a black-white edge."""
    flow, frame = torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4)
    flow[:, 0, :, 2:] = 2.0
    plain = smoothness(flow, frame)
    torch.testing.assert_close(plain, torch.tensor(4 * 2.0 / (2 * 4 * 3)))
    frame[..., 2:] = 1.0
    torch.testing.assert_close(smoothness(flow, frame), plain * torch.tensor(-10.0).exp())


def labels_of_a_move() -> torch.Tensor:
    """One body moves 3 px right and 4 down, a second one rests, a third is too small to be sure of; in two frames."""
    labels = torch.zeros(1, 2, 24, 24, dtype=torch.uint8)
    labels[0, 0, 2:6, 2:6] = labels[0, 1, 6:10, 5:9] = 1
    labels[0, :, 12:16, 12:16] = 2
    labels[0, 0, 20, 2:4] = labels[0, 1, 20, 20:22] = 3
    return labels


def test_the_simulators_flow_by_hand():
    flow, known = simulated(labels_of_a_move())
    expected = torch.zeros(1, 1, 2, 24, 24)
    expected[:, :, 0, 2:6, 2:6], expected[:, :, 1, 2:6, 2:6] = 3.0, 4.0
    torch.testing.assert_close(flow[:, :, :, :20], expected[:, :, :, :20])
    assert known.sum() == 24 * 24 - 2 and not known[0, 0, 20, 2:4].any()


def test_the_distance_to_the_simulators_flow_by_hand():
    """5 px at one of two bodies of the same size, and nothing at the background; then 2 px more everywhere."""
    labels = labels_of_a_move()
    still = torch.zeros(1, 1, 2, 24, 24)
    assert end_point_error(still, labels).item() == pytest.approx(2.5)
    true = simulated(labels)[0]
    assert end_point_error(true, labels).item() == pytest.approx(0.0, abs=1e-5)
    true[:, :, 0] += 2.0
    assert end_point_error(true, labels).item() == pytest.approx(4.0)
    (gradient,) = torch.autograd.grad(end_point_error(still.requires_grad_(), labels), still)
    assert gradient.isfinite().all() and gradient[..., 2:6, 2:6].abs().sum() > 0


def test_the_simulators_flow_reaches_the_encoder():
    clips = torch.rand(2, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = McJepa(**SMALL, image_size=32)
    labels = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    model.loss_terms(clips, labels)["flow"].backward()
    assert model.encoder.embed.weight.grad.abs().sum() > 0


def test_the_head_tells_flow_for_every_pixel():
    torch.manual_seed(0)
    head = FlowHead(16, patch_size=8, reach=1, hidden_dim=8)
    first, second = torch.randn(2, 2, 16, 4, 4).unbind(0)
    assert head(first, second).shape == (2, 2, 32, 32)
    assert not torch.equal(head(first, second), head(first, first))


def test_each_objective_alone_reaches_the_encoder():
    clips = torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for name in ("prediction", "photometric", "smoothness"):
        torch.manual_seed(0)
        model = McJepa(**SMALL, image_size=32)
        model.loss_terms(clips)[name].backward()
        assert model.encoder.embed.weight.grad.abs().sum() > 0, name
        assert all(parameter.grad is None for parameter in model.target_encoder.parameters())


def test_the_content_is_that_of_i_jepa():
    clips = torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = []
    for cls in (IJepa, McJepa):
        torch.manual_seed(0)
        found.append(cls(**SMALL, image_size=32).loss_terms(clips)["prediction"])
    assert torch.equal(*found)


def test_its_yaml_weighs_its_terms():
    content = yaml.safe_load((EXPERIMENTS / "pusht" / "mcjepa.yaml").read_text())["model"]["init_args"]
    model = McJepa(**SMALL, image_size=32, **content["tokenizer"]["init_args"])
    assert model.flow(torch.rand(1, 3, 3, 32, 32)).shape == (1, 2, 2, 32, 32)
    clips, labels = torch.rand(1, 1, 3, 32, 32), torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    terms = model.loss_terms(clips)
    assert set(terms) == set(content["loss_weights"])
    taught = yaml.safe_load((EXPERIMENTS / "pusht" / "mcjepa_simulator.yaml").read_text())
    assert set(taught["model"]["init_args"]["loss_weights"]) == set(model.loss_terms(clips, labels)) == {*terms, "flow"}
    assert taught["data"]["init_args"]["labels"]


def test_patches_of_odd_size_are_refused():
    with pytest.raises(ValueError, match="^patch_size is 7, expected an even number of pixels"):
        McJepa(**SMALL, patch_size=7, image_size=28)
