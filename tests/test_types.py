import torch
from lightning.fabric.utilities import move_data_to_device

from cjepa.types import Clip


def a_clip() -> Clip:
    return Clip(*(torch.arange(4.0)[None, :, None].expand(1, 4, size) for size in (3, 2, 1)))


def test_blocks_of_a_clip_are_a_slice_of_time():
    clip = a_clip()
    for first, end, expected in ((1, 3, [1, 2]), (0, 1, [0]), (2, None, [2, 3]), (-1, None, [3])):
        part = clip.blocks(first, end)
        assert all(values[0, :, 0].tolist() == expected for values in part)
        assert [values.shape[-1] for values in part] == [3, 2, 1]


def test_lightning_moves_a_clip_tensor_by_tensor():
    """What has a method ``to`` it would move as a whole, without ``non_blocking``."""
    assert not hasattr(Clip, "to")
    for moved in (a_clip().on("meta"), move_data_to_device(a_clip(), torch.device("meta"))):
        assert isinstance(moved, Clip) and all(values.is_meta for values in moved)
