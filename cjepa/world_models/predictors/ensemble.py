"""Several predictors of one kind that are trained side by side: where they disagree, none of them is to be trusted.

File letter: M members.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cjepa.arguments import at_least
from cjepa.types import Predicted
from cjepa.world_models.normalise import Normaliser
from cjepa.world_models.predictors.base import Prediction, Predictor


class Ensemble(Predictor):
    """M predictors that differ in their initial weights (Lakshminarayanan et al., arXiv 1612.01474).

    Every member has a loss of its own, see :meth:`unroll_members`, and feeds its own predictions back. The ensemble
    predicts the mean of its members; their variance is its disagreement. So the mean squared error of the
    members is the squared error of the ensemble plus its disagreement.

    Members run one after the other. ``torch.func.vmap`` over stacked weights gained nothing on a CPU core: three fast
    predictors took 0.44 s a training step in a loop and 0.45 s with vmap (batch of 128, three blocks), and 2.1 s and
    6.0 s for 2,000 rollouts of five blocks in bfloat16; one predictor took 0.13 s and 0.63 s.

    Args:
        predictor: makes a member, with new random weights at every call. In a YAML: its ``class_path`` and
            ``init_args``.
        members: M.

    Raises:
        ValueError: there is no member.
    """

    sizes_key = "init_args.predictor.init_args"

    def __init__(self, predictor: Callable[[], Predictor], members: int = 3):
        super().__init__()
        at_least(1, members=members)
        self.members = nn.ModuleList(predictor() for _ in range(members))
        first = self.members[0]
        self.token_dim, self.proprio_dim, self.action_dim = first.token_dim, first.proprio_dim, first.action_dim
        self.history_blocks, self.num_tokens = first.history_blocks, first.num_tokens
        self.pass_blocks, self.pass_key, self.layer_normed = first.pass_blocks, first.pass_key, first.layer_normed

    def fit_scales(self, token_scale: Normaliser) -> None:
        """See :class:`Predictor`."""
        for member in self.members:
            member.fit_scales(token_scale)

    def forward(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`Predictor`."""
        return _mean([member(tokens_BTSD, proprio_BTP, actions_BTA, mask_BTE) for member in self.members])

    def unroll(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BUA: Tensor, mask_BTE: Tensor) -> Prediction:
        """See :class:`Predictor`."""
        return _mean(self.unroll_members(tokens_BTSD, proprio_BTP, actions_BUA, mask_BTE))

    def unroll_members(
        self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BUA: Tensor, mask_BTE: Tensor
    ) -> list[Prediction]:
        """See :class:`Predictor`."""
        return [member.unroll(tokens_BTSD, proprio_BTP, actions_BUA, mask_BTE) for member in self.members]

    def observe(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BVA: Tensor) -> NamedTuple:
        """The members' states, with an axis for members after that of the batch."""
        return _stacked([member.observe(tokens_BTSD, proprio_BTP, actions_BVA) for member in self.members])

    def step(self, state: NamedTuple, actions_BA: Tensor) -> NamedTuple:
        """See :class:`Predictor`."""
        states = zip(self.members, _members_of(state), strict=True)
        return _stacked([member.step(of_member, actions_BA) for member, of_member in states])

    def predicted(self, state: NamedTuple) -> Predicted:
        """See :class:`Predictor`."""
        states = zip(self.members, _members_of(state), strict=True)
        each = [member.predicted(of_member) for member, of_member in states]
        tokens_MBSD = torch.stack([predicted.tokens_BSD for predicted in each])
        proprio_MBP = torch.stack([predicted.proprio_BP for predicted in each])
        disagreement_BS = tokens_MBSD.var(dim=0, correction=0).mean(dim=-1)
        return Predicted(tokens_MBSD.mean(dim=0), proprio_MBP.mean(dim=0), disagreement_BS)

    @contextmanager
    def watched(self, generator: torch.Generator | None = None) -> Iterator[list[Tensor]]:
        """See :class:`Predictor`; the list has the members' choices when the context has ended."""
        paths: list[Tensor] = []
        with ExitStack() as members:
            each = [members.enter_context(member.watched(generator)) for member in self.members]
            yield paths
            for chosen in each:
                paths.extend(chosen)

    def describe_uncertainty(self) -> list[str]:
        """See :class:`Predictor`."""
        return [f"disagreement of {len(self.members)} members"]


def _mean(predictions: list[Prediction]) -> Prediction:
    return Prediction(*(torch.stack(values).mean(dim=0) for values in zip(*predictions, strict=True)))


def _stacked(states: list[NamedTuple]) -> NamedTuple:
    """States of members as one state of the same kind: batch first, then members."""
    return type(states[0])(*(torch.stack(values, dim=1) for values in zip(*states, strict=True)))


def _members_of(state: NamedTuple) -> list[NamedTuple]:
    return [type(state)(*values) for values in zip(*(values.unbind(1) for values in state), strict=True)]
