import torch

from cjepa.world_models.graph import nearest_neighbours


def at(*degrees: float) -> torch.Tensor:
    """One scene of unit vectors in these directions."""
    angle_S = torch.tensor(degrees).deg2rad()
    return torch.stack([angle_S.cos(), angle_S.sin()], dim=-1)[None]


def test_neighbours_by_hand():
    """Directions 0, 10, 30 and 180 degrees: who is nearest is not always mutual."""
    edges, cosine = nearest_neighbours(5 * at(0, 10, 30, 180), 1)
    assert edges[0].nonzero().tolist() == [[0, 1], [1, 0], [2, 1], [3, 2]]
    torch.testing.assert_close(cosine[0, 0, 1:], torch.tensor([10.0, 30.0, 180.0]).deg2rad().cos())


def test_no_more_neighbours_than_others():
    edges, _ = nearest_neighbours(at(0, 10), 3)
    assert edges.tolist() == [[[False, True], [True, False]]]
    assert not nearest_neighbours(at(0), 3)[0].any()
