import torch

from cjepa.data.normalise import Normaliser


def test_fit_by_hand_and_inverse():
    scale = Normaliser(2)
    assert not scale.fitted
    scale.fit(torch.tensor([[[1.0, 7.0], [3.0, 7.0]], [[5.0, 7.0], [7.0, 7.0]]]))
    assert scale.fitted
    torch.testing.assert_close(scale.mean, torch.tensor([4.0, 7.0]))
    torch.testing.assert_close(scale.std, torch.tensor([(20 / 3) ** 0.5, 1.0]))  # a constant is only shifted
    values = torch.randn(3, 5, 2)
    torch.testing.assert_close(scale.inverse(scale(values)), values)
    torch.testing.assert_close(scale(torch.tensor([4.0, 8.0])), torch.tensor([0.0, 1.0]))


def test_the_scale_travels_with_the_weights():
    scale, copy = Normaliser(3), Normaliser(3)
    scale.fit(torch.randn(50, 3) * 4 + 2)
    copy.load_state_dict(scale.state_dict())
    values = torch.randn(4, 3)
    assert torch.equal(scale(values), copy(values)) and copy.fitted
