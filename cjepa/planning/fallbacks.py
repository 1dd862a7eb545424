"""What to do instead of a plan that should not be executed."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cjepa.arguments import at_least, share
from cjepa.data.clip_windows import clip_starts, evenly_spread
from cjepa.data.splits import SPLIT_SEED, held_out, lineage_beside
from cjepa.data.store.episodes import Episodes
from cjepa.data.store.shards import frame_reader, open_episodes
from cjepa.errors import UserError
from cjepa.planning.agents import Agent
from cjepa.planning.compatibility import check_tokens
from cjepa.planning.objectives import Learned, disagreement_of
from cjepa.planning.perception import Observation
from cjepa.planning.world_model_agent import WorldModelAgent
from cjepa.tokenizers.encode import device_of
from cjepa.types import Clip, Plan

_MOST_CLIPS, _CLIPS_AT_ONCE = 1024, 64


class Fallback(ABC):
    """Decides, for every environment, whether its plan is executed."""

    def for_agent(self, agent: WorldModelAgent, lineage: Mapping[str, Any]) -> "Fallback":
        """The fallback for plans of one agent; itself, unless it needs to know the agent.

        Args:
            agent: whose plans it decides about.
            lineage: which episodes the world model learned from, see :class:`~cjepa.data.splits.Lineage`; empty where
                this is unknown.
        """
        return self

    def learned(self, lineage: Mapping[str, Any]) -> list[Learned]:
        """What it learns from in :meth:`for_agent`: no trials are from these episodes.

        Args:
            lineage: of the world model.
        """
        return []

    @abstractmethod
    def __call__(self, plan: Plan, agent: Agent, now: Observation) -> tuple[Tensor, Tensor]:
        """Actions to execute ``(B, H, A)``, and where they are not the plan's, bool ``(B,)``.

        Args:
            plan: that the agent has just made.
            agent: that made it, and knows the goal.
            now: what it was made from.
        """


class Hold(Fallback):
    """Does nothing where a plan is not trusted; a subclass says where.

    Nothing is an action of 0: the agent stays where it is in environments of relative actions, such as Push-T. Agents
    that expect nothing, such as chance, are never stopped.

    Args:
        follow_prior: do what the policy of ``--prior`` would do, instead of nothing.
    """

    def __init__(self, follow_prior: bool = False):
        self.follow_prior = follow_prior

    def for_agent(self, agent: WorldModelAgent, lineage: Mapping[str, Any]) -> Fallback:
        """See :class:`Fallback`.

        Raises:
            UserError: there is no policy to follow.
        """
        if self.follow_prior and agent.prior is None:
            raise UserError("fallback.init_args.follow_prior: no policy to follow; give its run with --prior")
        return self

    def __call__(self, plan: Plan, agent: Agent, now: Observation) -> tuple[Tensor, Tensor]:
        """See :class:`Fallback`."""
        nothing = agent.nothing()
        if nothing is None:
            return plan.actions_BHA, torch.zeros(len(plan.cost_B), dtype=torch.bool)
        instead_BHA = agent.guess() if self.follow_prior else nothing.actions_BHA
        holds_B = self.distrusts(plan, nothing, agent)
        return torch.where(holds_B[:, None, None], instead_BHA, plan.actions_BHA), holds_B

    @abstractmethod
    def distrusts(self, plan: Plan, nothing: Plan, agent: Agent) -> Tensor:
        """Where a plan is not executed, bool ``(B,)``.

        Args:
            plan: that the agent has just made.
            nothing: as ``agent.nothing()`` gave it.
            agent: that made it.
        """


class HoldWhenWorse(Hold):
    """Does nothing where no candidate is expected to be better than doing nothing.

    Args:
        follow_prior: see :class:`Hold`.
    """

    def distrusts(self, plan: Plan, nothing: Plan, agent: Agent) -> Tensor:
        """See :class:`Hold`."""
        return plan.cost_B >= nothing.cost_B


class HoldWhenUnsure(Hold):
    """Does nothing where the members of an ensemble disagree more about a plan than they do about recorded actions.

    Disagreement is that of :class:`~cjepa.planning.objectives.Disagreement`. It grows with the length of a plan, so
    that there is a threshold for every length.

    Args:
        quantile: of the disagreement about the actions of validation episodes, which is the threshold, 0 to 1.
        tokens: token file, of the tokenizer that the world model was trained on, which these episodes are from.
        threshold: of plans of every length, 0 or more; nothing is fitted then.
        follow_prior: see :class:`Hold`.

    Raises:
        ValueError: ``quantile`` or ``threshold`` is out of its range.
    """

    def __init__(
        self,
        quantile: float = 0.95,
        tokens: str = "data/pusht-tokens.h5",
        threshold: float | None = None,
        follow_prior: bool = False,
    ):
        super().__init__(follow_prior)
        share(quantile=quantile)
        if threshold is not None:
            at_least(0, threshold=threshold)
        self.quantile, self.tokens, self.threshold = quantile, tokens, threshold

    def for_agent(self, agent: WorldModelAgent, lineage: Mapping[str, Any]) -> Fallback:
        """See :class:`Fallback`; fits the thresholds.

        Raises:
            UserError: the world model is no ensemble, ``tokens`` is no file of its tokenizer's tokens, or there is no
                policy to follow.
        """
        super().for_agent(agent, lineage)
        if self.threshold is not None:
            return self.above([self.threshold] * agent.horizon_blocks)
        file = open_episodes(self.tokens)
        check_tokens(file, agent.tokenizer, "fallback.init_args.tokens")
        validation = held_out(file, lineage_beside(file, lineage, SPLIT_SEED), "val")
        return self.above(recorded_disagreement(agent, file, validation).quantile(self.quantile, dim=0).tolist())

    def learned(self, lineage: Mapping[str, Any]) -> list[Learned]:
        """See :class:`Fallback`; the file that the thresholds are fitted on.

        Raises:
            UserError: there is no such file.
        """
        if self.threshold is not None:
            return []
        of_file = lineage_beside(open_episodes(self.tokens), lineage, SPLIT_SEED)
        return [Learned(f"fallback, {self.tokens}", of_file._asdict())]

    def decided_by(self) -> dict[str, Any]:
        """What decides where it holds: the content of the token file, wherever the file is.

        Raises:
            UserError: there is no such file.
        """
        fitted_on = None if self.threshold is not None else open_episodes(self.tokens).fingerprint
        return vars(self) | {"tokens": fitted_on}

    def above(self, threshold_H: list[float]) -> "HoldWhenUnsure":
        """The fallback with a threshold for plans of 1..H blocks."""
        fitted = copy.copy(self)
        fitted.threshold_by_blocks = threshold_H
        return fitted

    def distrusts(self, plan: Plan, nothing: Plan, agent: Agent) -> Tensor:
        """See :class:`Hold`."""
        return agent.disagreement(plan.actions_BHA) > self.threshold_by_blocks[plan.actions_BHA.shape[1] - 1]


@torch.no_grad()
def recorded_disagreement(agent: WorldModelAgent, file: Episodes, episodes: np.ndarray) -> Tensor:
    """Disagreement about recorded actions, over as many blocks as a plan may have: ``(N, H)`` of at most 1,024 clips.

    Args:
        agent: whose world model and horizon count.
        file: token file.
        episodes: indices; the clips are evenly spread over them.

    Raises:
        UserError: the world model is no ensemble, the file has no proprioception or actions, or no episode is long
            enough.
    """
    dynamics, history, stride = agent.dynamics, agent.history_blocks, agent.blocks.frame_stride
    starts = clip_starts(file, episodes, history + agent.horizon_blocks, stride)
    start_N = evenly_spread(starts, _MOST_CLIPS)

    def rows(name: str, offsets: np.ndarray) -> Tensor:
        file.require(name)
        return torch.from_numpy(frame_reader(file, name).read((start_N[:, None] + offsets).ravel())).float()

    frames, env_steps = np.arange(history) * stride, np.arange((history - 1 + agent.horizon_blocks) * stride)
    tokens_NTSD, proprio_NTP = (rows(name, frames).unflatten(0, (-1, history)) for name in ("tokens", "proprio"))
    actions_NUA = rows("action", env_steps).reshape(len(start_N), -1, agent.blocks.action_values)
    clip, found = Clip(tokens_NTSD, proprio_NTP, actions_NUA), []
    device = device_of(dynamics)
    for part in torch.arange(len(start_N)).split(_CLIPS_AT_ONCE):
        seen = Clip(*(values[part] for values in clip)).on(device)
        with torch.autocast(device.type, torch.bfloat16):  # as in planning
            state = dynamics.observe(seen._replace(actions_BTA=seen.actions_BTA[:, :history]))
            rollout = dynamics.rollout(state, seen.actions_BTA[:, history - 1 :])
        found.append(disagreement_of(rollout).float().cpu())
    total_NH = torch.cat(found).cumsum(dim=1)
    return total_NH / torch.arange(1, total_NH.shape[1] + 1)
