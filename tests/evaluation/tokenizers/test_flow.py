"""The error of flow, by hand."""

import pytest
import torch

from cjepa.data.video_clips import VideoClips
from cjepa.evaluation.tokenizers.flow import displacement_errors, measure_flow
from cjepa.tokenizers.jepa.mcjepa import McJepa
from tests.conftest import ignore_progress


def test_displacements_by_hand():
    """One body moves 3 px right and 4 down, a second one stands still, a third is too small to count."""
    labels = torch.zeros(1, 2, 24, 24, dtype=torch.uint8)
    labels[0, 0, 2:6, 2:6] = labels[0, 1, 6:10, 5:9] = 1
    labels[0, :, 12:16, 12:16] = 2
    labels[0, 0, 20, 2:4] = labels[0, 1, 20, 20:22] = 3
    flow = torch.zeros(1, 1, 2, 24, 24)
    still = displacement_errors(flow, labels)
    assert [value.item() for value in still] == pytest.approx([5.0, 5.0])
    flow[:, :, 0, 2:6, 2:6], flow[:, :, 1, 2:6, 2:6] = 3.0, 4.0
    assert displacement_errors(flow, labels)[0].item() == pytest.approx(0.0, abs=1e-5)
    flow[:, :, 0, 12:16, 12:16] = -2.0
    assert displacement_errors(flow, labels)[0].item() == pytest.approx(2.0)


def test_no_flow_has_an_error_of_one(episodes_path, monkeypatch):
    data = VideoClips(str(episodes_path), frame_stride=2, val_blocks=4, val_clips=4, batch_size=3)
    data.setup("test")
    sizes = {"dim": 16, "depth": 1, "num_heads": 2, "predictor_width": 8, "predictor_depth": 1, "predictor_heads": 2}
    model = McJepa(**sizes).eval()
    monkeypatch.setattr(model, "flow", lambda pixels: torch.zeros_like(pixels[:, 1:, :2]))
    interval = measure_flow(model, data, ignore_progress)["flow_error"]
    assert interval.value == pytest.approx(1.0) and interval.n == 1  # one test episode


def test_clips_of_background_alone_have_nothing_to_count():
    error_B, displacement_B = displacement_errors(torch.ones(2, 1, 2, 4, 4), torch.zeros(2, 2, 4, 4, dtype=torch.uint8))
    assert error_B.tolist() == displacement_B.tolist() == [0, 0]
