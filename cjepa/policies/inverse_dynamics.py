"""Acting without a search: the actions between what is seen and a point on the way to the goal."""

from typing import Any

from torch import Tensor

from cjepa.arguments import check
from cjepa.policies.object_policy import ObjectPolicy


class InverseDynamics(ObjectPolicy):
    """The actions of a block between two frames, asked for a goal between now and the goal (INTACT, arXiv 2607.26056).

    Trained with ``goal_blocks`` 1. The goal that it acts for lies on the straight line from the tokens that are seen to
    those of the goal: a way on which objects move evenly and none has to go around another.

    Args:
        share: of the line, above 0 up to 1.
        **options: of :class:`~cjepa.policies.object_policy.ObjectPolicy`.

    Raises:
        ValueError: ``share`` is out of its range, or an option is.
    """

    def __init__(self, share: float = 0.4, **options: Any):
        super().__init__(**options)
        check(0 < share <= 1, "share", share, "a number above 0, at most 1")
        self.share = share

    def act(self, tokens_BSD: Tensor, proprio_BP: Tensor, goal_BSD: Tensor) -> Tensor:
        """See :class:`~cjepa.policies.base.GoalPolicy`."""
        return super().act(tokens_BSD, proprio_BP, tokens_BSD.lerp(goal_BSD, self.share))
