import pytest
import torch

from cjepa.policies.object_policy import ObjectPolicy
from cjepa.types import Clip
from tests.contracts import stirred

SIZES = {"token_dim": 11, "proprio_dim": 3, "action_dim": 4, "dim": 16, "rounds": 2}
PLACES = (2, 2)  # token values 2..5 are sines of x, y, 2 x, 2 y, and 6..9 cosines


def make(**changes) -> ObjectPolicy:
    torch.manual_seed(0)
    return stirred(ObjectPolicy(**SIZES | {"place": PLACES} | changes)).eval()


def inputs(slots: int = 3):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) for shape in [(2, slots, 11), (2, 3), (2, slots, 11)]]


@pytest.mark.parametrize("place", [None, PLACES])
def test_the_order_of_objects_does_not_matter(place):
    policy, (tokens, proprio, goal) = make(place=place), inputs(4)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(policy(tokens[:, order], proprio, goal[:, order]), policy(tokens, proprio, goal))
    assert (policy(tokens, proprio, goal[:, order]) - policy(tokens, proprio, goal)).abs().max() > 1e-3


@pytest.mark.parametrize("slots", [1, 2, 7])
def test_any_number_of_objects(slots):
    assert make()(*inputs(slots)).shape == (2, 4)


@pytest.mark.parametrize("part", range(3))
def test_all_that_is_seen_counts(part):
    policy, seen = make(), inputs()
    other = [values + (index == part) for index, values in enumerate(seen)]
    assert (policy(*other) - policy(*seen)).abs().max() > 1e-3


def test_places_are_relative_to_the_receiver():
    """Moved by (0.3, 0.1) rad: no place changes relative to another, and each object is that far from where it was."""
    geometry = make().geometry
    places, motion = torch.rand(1, 3, 2), torch.tensor([0.3, 0.1])

    def tokens(places_BS2):
        phases = torch.cat([places_BS2, 2 * places_BS2], dim=-1)
        return torch.cat([torch.zeros(1, 3, 2), phases.sin(), phases.cos(), torch.zeros(1, 3, 1)], dim=-1)

    here, there = tokens(places), tokens(places + motion)
    torch.testing.assert_close(geometry.between(there, there), geometry.between(here, here))
    phases = torch.tensor([0.3, 0.1, 0.6, 0.2])
    torch.testing.assert_close(geometry.between(here, there)[0, 1, 1], torch.cat([phases.sin(), phases.cos()]))


def test_every_weight_is_trained():
    policy = make()
    policy(*inputs()).square().sum().backward()
    assert [name for name, p in policy.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_untrained_it_acts_as_was_done_on_average():
    policy = ObjectPolicy(**SIZES, place=PLACES).eval()
    clips = Clip(torch.randn(8, 2, 3, 11), torch.randn(8, 2, 3), 5 + torch.randn(8, 2, 4))
    policy.fit_scales(clips)
    torch.testing.assert_close(policy.act(*inputs()), clips.actions_BTA.mean(dim=(0, 1)).expand(2, 4))


def test_proprioception_may_be_left_out():
    policy, (tokens, proprio, goal) = make(proprio_dim=0), inputs()
    torch.testing.assert_close(policy.act(tokens, proprio, goal), policy.act(tokens, proprio + 1, goal))


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"rounds": 0}, "rounds is 0"), ({"proprio_dim": -1}, "proprio_dim"), ({"place": (6, 2)}, "place")],
)
def test_wrong_sizes_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        make(**changes)
