import pytest
import torch

from cjepa.interventions.quantities import LinearQuantity, WavePlace, exact_place, exact_velocity
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.tokenizers.slots.sprites import embed_position

NAMES = ("present", "x", "y", "angle", "vx", "vy")


def test_the_smallest_change_is_measured_in_the_scale():
    weight_D2 = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    tokens, by = torch.zeros(3), torch.tensor([4.0, 6.0])
    torch.testing.assert_close(LinearQuantity(weight_D2, torch.zeros(2)).moved(tokens, by), torch.tensor([2.0, 2, 3]))
    probe = LinearQuantity.fitted(lambda tokens_ND: tokens_ND @ weight_D2.double() + 7.0, torch.tensor([1.0, 3.0, 1.0]))
    torch.testing.assert_close(probe.moved(tokens, by), torch.tensor([0.4, 3.6, 3.0]))
    torch.testing.assert_close(probe.read(torch.ones(3)), torch.tensor([9.0, 9.0]))


def test_waves_are_those_of_slots():
    position = torch.tensor([[-0.5, 0.25], [0.9, -0.9]])
    place = WavePlace(1, 4, side_units=512.0)
    tokens = torch.cat([torch.ones(2, 1), embed_position(position), torch.full((2, 2), 7.0)], dim=1)
    torch.testing.assert_close(place.read(tokens), (position + 1) * 256)
    moved = place.moved(tokens, torch.tensor([51.2, -25.6]))
    expected = torch.cat([tokens[:, :1], embed_position(position + torch.tensor([0.2, -0.1])), tokens[:, 17:]], dim=1)
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        place.read(place.put(tokens, torch.tensor([100.0, 300.0]))), torch.tensor([[100.0, 300]] * 2)
    )


def test_a_track_goes_on_where_waves_repeat():
    place = WavePlace(0, 4, side_units=512.0)
    track = torch.stack([torch.linspace(300.0, 1400.0, 8), torch.linspace(100.0, -900.0, 8)], dim=1)[None, :, None]
    tokens = embed_position(track / 256 - 1)
    assert (place.read(tokens) - track).abs().max() > 1000
    torch.testing.assert_close(place.track(tokens), track, atol=0.01, rtol=0)


def test_what_fades_stays_where_it_was_last():
    place = WavePlace(0, 4, side_units=512.0)
    track = torch.tensor([[500.0, 20.0], [505.0, 10.0], [100.0, 300.0], [0.0, 0.0]])[None, :, None]
    tokens = embed_position(track / 256 - 1) * torch.tensor([1.0, 0.7, 0.3, 0.0])[None, :, None, None]
    torch.testing.assert_close(place.track(tokens), track[:, [0, 1, 1, 1]], atol=0.01, rtol=0)
    assert place.track(torch.full_like(tokens, torch.nan)).isnan().all()  # a removed object is nowhere


@pytest.mark.parametrize("options", [{}, {"dim": 12}, {"side_units": 512.0}])
def test_an_oracle_tells_places_and_velocities(options):
    tokenizer = OracleTokenizer(2, NAMES, **options)
    objects = torch.tensor([[[[1.0, 100, 200, 0.5, 30, -40], [1, 5, 6, 2, 7, 8]]]])
    tokens = tokenizer.encode(objects).slots_BTSD
    place, velocity = exact_place(tokenizer, 512.0), exact_velocity(tokenizer)
    torch.testing.assert_close(place.read(tokens), objects[..., 1:3], atol=2e-3, rtol=1e-4)
    changed = velocity.put(place.put(tokens, torch.tensor([1.0, 2.0])), torch.tensor([3.0, 4.0]))
    expected = objects.clone()
    expected[..., 1:3], expected[..., 4:] = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    torch.testing.assert_close(changed, tokenizer.encode(expected).slots_BTSD, atol=2e-3, rtol=1e-4)


def test_where_only_a_probe_can_read():
    assert exact_place(OracleTokenizer(2, NAMES, dim=3), 512.0) is None
    assert exact_velocity(OracleTokenizer(2, ("x", "y"))) is None
