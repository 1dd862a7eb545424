"""Videos of coloured squares on black, and a slot tokenizer whose weights are set by hand to tell the colours apart."""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from cjepa.tokenizers.slots.starts import SeededStart
from cjepa.tokenizers.slots.tokenizer import SlotTokenizer

SIZE, SIDE = 64, 8  # pixels; squares cover whole cells of 4 x 4, and are as large as the bodies of Collide
COLOURS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}

Squares = dict[str, tuple[int, int]]
"""Colour -> (x, y) of the top left corner, in pixels."""


def video(*frames: Squares) -> Tensor:
    """A batch of one clip, float ``(1, T, 3, 64, 64)``."""
    clip = torch.zeros(1, len(frames), 3, SIZE, SIZE)
    for t, squares in enumerate(frames):
        for colour, (x, y) in squares.items():
            clip[0, t, :, y : y + SIDE, x : x + SIDE] = torch.tensor(COLOURS[colour])[:, None, None]
    return clip


def centre(x: int, y: int) -> Tensor:
    """Of a square, in image coordinates."""
    return (torch.tensor([x, y]) + SIDE / 2) / (SIZE / 2) - 1


def slot_at(positions_S2: Tensor, scales_S1: Tensor, corner: tuple[int, int]) -> int:
    """The one slot in use that is at a square."""
    distance_S = (positions_S2 - centre(*corner)).norm(dim=-1) + torch.where(scales_S1[:, 0] > 0, 0.0, 10.0)
    slot = int(distance_S.argmin())
    assert distance_S[slot] < 0.02 and (distance_S < 0.1).sum() == 1, f"slots at {corner}: {distance_S.tolist()}"
    return slot


class Colours(nn.Module):
    """Features are mean colours."""

    patch, channels = 4, 3

    def forward(self, images_BCYX: Tensor) -> Tensor:
        return avg_pool2d(images_BCYX, self.patch)


@torch.no_grad()
def colour_tokenizer(num_slots: int) -> SlotTokenizer:
    """Slots look for the colour that they were seeded with, and never change their mind."""
    torch.manual_seed(0)
    start = SeededStart(num_slots, slot_dim=3)
    tokenizer = SlotTokenizer(start, content_dim=4, channels=3, hidden_dim=8)
    tokenizer.foreground.background_3YX.zero_()
    tokenizer.encoder = Colours()
    attention = tokenizer.attention
    for parameter in (*attention.parameters(), *start.parameters()):
        parameter.zero_()
    for norm in (attention.norm_features, attention.norm_slots):
        norm.weight.fill_(1.0)
    for linear, gain in ((start.to_content, 1.0), (attention.to_hidden, 1.0), (attention.to_query, 10.0)):
        linear.weight.copy_(gain * torch.eye(3))
    attention.gru.bias_ih[3:6] = 50.0  # the update gate: content stays as it is
    return tokenizer.eval()
