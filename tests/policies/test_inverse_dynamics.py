import pytest
import torch

from cjepa.policies.inverse_dynamics import InverseDynamics
from cjepa.policies.object_policy import ObjectPolicy
from tests.contracts import stirred
from tests.policies.test_object_policy import SIZES, inputs


def test_it_acts_for_a_goal_on_the_way():
    """A quarter of the way from 2 to 6 is 3; training sees goals as they are."""
    torch.manual_seed(0)
    policy = stirred(InverseDynamics(share=0.25, **SIZES)).eval()
    now, there, on_the_way = (torch.full((1, 2, 11), value) for value in (2.0, 6.0, 3.0))
    proprio = torch.randn(1, 3)
    torch.testing.assert_close(policy.act(now, proprio, there), ObjectPolicy.act(policy, now, proprio, on_the_way))
    tokens, proprio, goal = inputs()
    torch.testing.assert_close(policy(tokens, proprio, goal), ObjectPolicy.forward(policy, tokens, proprio, goal))


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_no_way_is_refused(share):
    with pytest.raises(ValueError, match="share is .*, expected a number above 0, at most 1"):
        InverseDynamics(share=share, **SIZES)
