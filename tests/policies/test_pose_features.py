"""What is seen from the block, by hand; and what stays the same wherever on the table the scene is."""

import math

import pytest
import torch

from cjepa.policies.goal_value import GoalValue
from cjepa.policies.pose_features import BlockFrame


def answers(agent, block, degrees: float) -> torch.Tensor:
    turn = math.radians(degrees)
    return torch.tensor([*agent, *block, math.cos(turn), math.sin(turn)])


def moved(scene: torch.Tensor, degrees: float, shift=(0.0, 0.0)) -> torch.Tensor:
    """A scene turned about the table's corner, then shifted."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = torch.tensor([[cos, -sin], [sin, cos]])
    return (scene.unflatten(-1, (3, 2)) @ turn.T + torch.tensor([shift, shift, (0.0, 0.0)])).flatten(-2)


def mirrored(scene: torch.Tensor) -> torch.Tensor:
    """Left and right exchanged; the block is symmetric about its own y axis, so that its angle becomes the negative."""
    return scene * torch.tensor([-1.0, 1, -1, 1, 1, -1])


SEEN, GOAL = answers((100, 200), (300, 400), 0), answers((150, 250), (350, 300), 90)
SCENES = torch.stack([SEEN, answers((37, 251), (190, 305), 130), answers((300, 300), (280, 240), -95)])
GOALS = torch.stack([GOAL, answers((200, 180), (240, 330), -20), answers((60, 410), (201, 100), 200)])


def test_places_are_seen_from_the_block():
    """In hundreds of px: agent, its goal, the block's; the agent's goal from the block's, which is turned left."""
    seen, mirror = BlockFrame()(SEEN, GOAL)
    places = [-2, -2, -1.5, -1.5, 0.5, -1, -0.5, 2]
    sizes = [math.pi / 2, math.hypot(0.5, 1), math.hypot(0.5, 0.5)]
    torch.testing.assert_close(seen, torch.tensor([*places, 0, 1, *sizes]))
    torch.testing.assert_close(mirror[:10], torch.tensor([2, -2, 1.5, -1.5, -0.5, -1, 0.5, 2, 0, -1.0]))
    torch.testing.assert_close(mirror[10:], seen[10:])
    torch.testing.assert_close(BlockFrame(unit=50.0)(SEEN, GOAL)[0, :8], 2 * seen[:8])


def test_a_scene_is_the_same_anywhere():
    features = BlockFrame()
    there = [moved(scenes, 70, (30.0, -12.0)) for scenes in (SCENES, GOALS)]
    torch.testing.assert_close(features(*there), features(SCENES, GOALS), atol=1e-4, rtol=0)
    longer = SCENES * torch.tensor([1, 1, 1, 1, 1.3, 1.3])  # a probe's cosine and sine are not of length 1
    torch.testing.assert_close(features(longer, GOALS), features(SCENES, GOALS), atol=1e-5, rtol=0)


def test_a_mirrored_scene_is_the_other_view_and_equally_far():
    found = BlockFrame()(mirrored(SCENES), mirrored(GOALS))
    torch.testing.assert_close(found, BlockFrame()(SCENES, GOALS).flip(0), atol=1e-4, rtol=0)
    torch.manual_seed(0)
    value = GoalValue(1, 6, dim=32)
    blocks = value(SCENES, GOALS)
    assert blocks.std() > 0.01
    torch.testing.assert_close(value(mirrored(SCENES), mirrored(GOALS)), blocks, atol=1e-4, rtol=0)


def test_gradients_are_finite_at_the_goal():
    scenes = SCENES.clone().requires_grad_()
    BlockFrame()(scenes, SCENES).sum().backward()
    assert scenes.grad.isfinite().all() and scenes.grad.abs().sum() > 0


def test_a_unit_of_nothing_is_refused():
    with pytest.raises(ValueError, match="unit is 0.0, expected a finite number above 0"):
        BlockFrame(unit=0.0)
