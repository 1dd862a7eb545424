"""What predictors share that see patches block by block: attention to the past, and a prediction at every block.

File letters: L tokens of all blocks; W width of the embedding of proprioception; R angles of a head.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from cjepa.world_models.masks import anchored
from cjepa.world_models.predictors.base import Prediction, Predictor
from cjepa.world_models.transformer import rotary_angles

_AXES = 3  # time, row, column


class BlockCausal(Predictor):
    """Predicts, at every block, the next one from that block and those before it.

    Training compares all of these predictions (:class:`~cjepa.world_models.teacher_forcing.TeacherForcedModel`). The
    publications hide nothing; a hidden token is its object's first one here.
    """

    @abstractmethod
    def next_blocks(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor) -> tuple[Tensor, Tensor]:
        """What follows each block: tokens ``(B, T, S, D)`` and proprioception ``(B, T, P)``.

        Row t depends on rows 0..t alone.
        """

    def forward(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`Predictor`."""
        next_BTSD, next_BTP = self.next_blocks(*anchored(tokens_BTSD, proprio_BTP, mask_BTE), actions_BTA)
        history_BTSD = torch.cat([tokens_BTSD[:, :1].to(next_BTSD.dtype), next_BTSD[:, :-1]], dim=1)
        return Prediction(history_BTSD, next_BTSD[:, -1:], next_BTP[:, -1:])


class ProprioCode(nn.Linear):
    """A linear embedding of proprioception that can be read back; ``width`` must be P or more.

    Args:
        proprio_dim: P.
        width: W.

    Raises:
        ValueError: P is above W.
    """

    def __init__(self, proprio_dim: int, width: int):
        if width < proprio_dim:
            raise ValueError(f"proprio_dim is {proprio_dim}, expected at most {width}, the width of its embedding")
        super().__init__(proprio_dim, width)

    def decode(self, embedded_BTW: Tensor) -> Tensor:
        """The proprioception whose embedding is nearest (least squares), float32; exact for an embedding."""
        weight_WP, bias_W = self.weight.detach().float(), self.bias.detach().float()
        with torch.autocast(embedded_BTW.device.type, enabled=False):  # 8 bits would add up from block to block
            return (embedded_BTW.float() - bias_W) @ torch.linalg.pinv(weight_WP).T


def grid_angles(blocks: int, tokens: int, conditions: int, head_width: int, device: torch.device) -> Tensor:
    """Rotary angles of time, row and column, a third of a head each: ``(L, R)``.

    Args:
        blocks: T.
        tokens: S, of a square grid row by row; otherwise rows of one token.
        conditions: tokens in front of each block's, which are at row and column 0.
        head_width: K, 6 or more.
        device: of the angles.
    """
    side = round(tokens**0.5)
    columns = side if side**2 == tokens else 1
    place_S = torch.arange(tokens, device=device)
    row_E, column_E = (
        torch.cat([place_S.new_zeros(conditions), place]) for place in (place_S // columns, place_S % columns)
    )
    time_L = torch.arange(blocks, device=device).repeat_interleave(conditions + tokens)
    places = time_L, row_E.repeat(blocks), column_E.repeat(blocks)
    return torch.cat([rotary_angles(place_L, axis_width(head_width)) for place_L in places], dim=1)


def axis_width(head_width: int) -> int:
    """How many values of a head turn with each axis, an even number.

    Raises:
        ValueError: the head is too narrow for any.
    """
    width = 2 * (head_width // (2 * _AXES))
    if not width:
        raise ValueError(f"heads are {head_width} wide, expected 6 or more: each of three axes turns a part of a head")
    return width
