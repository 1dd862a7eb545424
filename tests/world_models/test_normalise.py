import torch

from cjepa.world_models.normalise import Normaliser


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


def test_rare_values_do_not_outweigh_the_others():
    in_view = torch.ones(10_000, 1)
    in_view[:2] = 0.0  # its standard deviation is 0.014, and 0 would be 70 of them away
    normal = torch.randn(10_000, 1, generator=torch.Generator().manual_seed(0))
    scale = Normaliser(2)
    scale.fit(torch.cat([in_view, normal], dim=1))
    torch.testing.assert_close(scale(torch.zeros(2))[0], torch.tensor(-5.0))
    torch.testing.assert_close(scale.std[1], normal.std())  # what is spread like a Gaussian is scaled by that alone


def test_the_scale_travels_with_the_weights():
    scale, copy = Normaliser(3), Normaliser(3)
    scale.fit(torch.randn(50, 3) * 4 + 2)
    copy.load_state_dict(scale.state_dict())
    values = torch.randn(4, 3)
    assert torch.equal(scale(values), copy(values)) and copy.fitted
