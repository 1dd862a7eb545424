"""DreamerV3's actor and critic: a policy that learns in the imagination of a world model, without the environment.

File letters: H imagined blocks, K bins of values.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from cjepa.arguments import at_least, check, share
from cjepa.checkpoints import find_checkpoint
from cjepa.data.clip_module import EpisodeClips
from cjepa.data.splits import Lineage, check_held_out
from cjepa.errors import UserError
from cjepa.moving_average import frozen_copy, move_towards
from cjepa.policies.base import Situation
from cjepa.policies.object_policy import ObjectPolicy
from cjepa.policies.returns import lambda_returns, symexp, two_hot
from cjepa.policies.training import PolicyTraining
from cjepa.types import Clip, Rollout
from cjepa.world_models.dynamics import Dynamics, in_a_row
from cjepa.world_models.loading import load_world_model

_LIMIT = 2.5
"""Of means, in standard deviations of the actions of episodes: the world model knows little of larger ones."""
_LEAST_STD, _MOST_STD = 0.1, 1.0
_LARGEST_SYMLOG = 5.0
"""Of the bins: values up to 147, in units of rewards."""
_SCALE_MOMENTUM = 0.99


class DreamerActor(ObjectPolicy):
    """A normal distribution of actions, whose mean is what the policy does; arguments are those of ``ObjectPolicy``."""

    outputs_per_action = 2  # mean and spread

    def forward(self, tokens_BSD: Tensor, proprio_BP: Tensor, goal_BSD: Tensor) -> Tensor:
        """See :class:`~cjepa.policies.base.GoalPolicy`: the mean."""
        return self.distribution(tokens_BSD, proprio_BP, goal_BSD).mean

    def distribution(self, tokens_BSD: Tensor, proprio_BP: Tensor, goal_BSD: Tensor) -> torch.distributions.Normal:
        """Of normalised actions ``(B, A)``; arguments as of :meth:`forward`."""
        mean_BA, spread_BA = super().forward(tokens_BSD, proprio_BP, goal_BSD).float().chunk(2, dim=-1)
        std_BA = _LEAST_STD + (_MOST_STD - _LEAST_STD) * spread_BA.sigmoid()
        return torch.distributions.Normal(_LIMIT * (mean_BA / _LIMIT).tanh(), std_BA)


class Imagined(NamedTuple):
    """H blocks of imagination."""

    situations: list[Situation]
    """The H in which an action was chosen, and the one after the last; normalised."""
    log_probability_BH: Tensor
    """Of the actions that were drawn, without the gradient of the draw."""
    entropy_BH: Tensor
    """Of the distributions that they were drawn from, in nats."""
    distance_BH: Tensor
    """Mean squared error of tokens to those of the goal, after each action, in the units of the world model."""


class DreamerTraining(PolicyTraining):
    """Actor and critic of DreamerV3 (Hafner et al., arXiv 2301.04104) on object tokens, towards hindsight goals.

    From the first frame of a clip, the actor acts for H blocks in a world model that stays as it is. The reward of a
    block is minus the mean squared error of its tokens to those of the goal. The terms:

    - ``actor``: minus the lambda-returns over their range, and minus ``entropy`` times the entropy of actions. The
      range is that from the 5th to the 95th percentile of a batch, smoothed over steps and not less than 1. Gradients
      go through the world model to the actions, or are REINFORCE's, see ``gradient``; none go through what the actor
      looks at;
    - ``critic``: cross-entropy of two-hot returns, in bins that are equally far apart in symlog (``symexp`` two-hot).

    Values in returns are those of a slow copy of the critic. Actor and critic see the tokens that are decoded from a
    state instead of the state itself, so that the actor is a policy like others. There are no ends of episodes.

    Args:
        policy: the actor.
        critic: one action value for each bin.
        world_model: run or checkpoint of a world model on the same tokens.
        goal_blocks: see :class:`PolicyTraining`.
        imagined_blocks: H.
        discount: of the rewards of a block, over those of the one before.
        trace: lambda of the returns.
        gradient: ``dynamics`` or ``reinforce``.
        entropy: weight of the actions' entropy.
        momentum: of the slow critic, per step.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW, on matrices.
        warmup_steps: of the learning rate.
        step_seed: of goals and actions, together with rank and step.

    Raises:
        ValueError: a number is out of its range, or the critic has fewer than 3 bins.
    """

    evaluation = "cjepa.evaluation.measurements:logged"

    def __init__(
        self,
        policy: DreamerActor,
        critic: ObjectPolicy,
        world_model: str = "runs/rssm",
        goal_blocks: int = 5,
        imagined_blocks: int = 6,
        discount: float = 0.9,
        trace: float = 0.95,
        gradient: Literal["dynamics", "reinforce"] = "dynamics",
        entropy: float = 3e-4,
        momentum: float = 0.98,
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        warmup_steps: int = 100,
        step_seed: int = 0,
    ):
        super().__init__(policy, goal_blocks, lr, weight_decay, warmup_steps, step_seed)
        at_least(1, imagined_blocks=imagined_blocks)
        at_least(0, entropy=entropy)
        share(discount=discount, trace=trace, momentum=momentum)
        check(critic.action_dim >= 3, "critic.action_dim", critic.action_dim, "3 bins or more")
        self.save_hyperparameters()
        self.critic = critic
        self.slow_critic = frozen_copy(critic)
        self.world_model = world_model
        self.imagined_blocks, self.discount, self.trace = imagined_blocks, discount, trace
        self.gradient, self.entropy, self.momentum = gradient, entropy, momentum
        self.loss_weights = {"actor": 1.0, "critic": 1.0}
        self.register_buffer("bins_K", torch.linspace(-_LARGEST_SYMLOG, _LARGEST_SYMLOG, critic.action_dim))
        self.register_buffer("range", torch.ones(()))
        self._world_episodes: list[int] = []
        self._frozen: list[Dynamics] = []  # no module of this one: a checkpoint needs no second world model

    @property
    def dynamics(self) -> Dynamics:
        """The world model, frozen."""
        return self._frozen[0]

    def setup(self, stage: str) -> None:
        """Read the world model.

        Raises:
            UserError: it was trained on other tokens than those of the data, or on episodes that they hold out.
        """
        loaded = load_world_model(find_checkpoint(self.world_model))
        data = self.trainer.datamodule
        expected = getattr(data, "tokenizer_fingerprint", loaded.tokenizer_fingerprint)
        if loaded.tokenizer_fingerprint != expected:
            raise UserError(
                f"model.init_args.world_model {self.world_model}: it was trained on tokens of tokenizer "
                f"{loaded.tokenizer_fingerprint}, the data are of {expected}; give a world model of these tokens"
            )
        if loaded.lineage and isinstance(data, EpisodeClips):
            where = f"model.init_args.world_model {self.world_model}"
            check_held_out(data.file, data.splits, Lineage(**loaded.lineage), where)
        self._world_episodes = loaded.lineage.get("identities", [])
        self._frozen = [loaded.dynamics.to(self.trainer.strategy.root_device)]

    def on_fit_start(self) -> None:
        """See :class:`PolicyTraining`; the critic takes the places of the policy's scale.

        What the world model learned from, the actor has learned from too.
        """
        super().on_fit_start()
        self.remember_episodes(self._world_episodes)
        for critic in (self.critic, self.slow_critic):
            if critic.geometry is not None:
                critic.geometry.fit(self.policy.token_scale)

    def loss_terms(self, batch: Clip, generator: torch.Generator) -> dict[str, Tensor]:
        """See the class; towards one goal per clip."""
        imagined = self.imagine(batch, self.drawn_goals(batch, generator), generator)
        value_BH = self.values(self.slow_critic, imagined.situations)
        return_BH = lambda_returns(-imagined.distance_BH, value_BH[:, 1:], self.discount, self.trace)
        if self.training:
            low, high = torch.quantile(return_BH.detach(), return_BH.new_tensor([0.05, 0.95]))
            self.range.lerp_(high - low, 1 - _SCALE_MOMENTUM)
        gain_BH = return_BH / self.range.clamp(min=1)
        if self.gradient == "reinforce":
            advantage_BH = (return_BH - value_BH[:, :-1]).detach() / self.range.clamp(min=1)
            gain_BH = advantage_BH * imagined.log_probability_BH
        logits_BHK = _judged(self.critic, [seen.detached() for seen in imagined.situations[:-1]])
        target_BHK = two_hot(return_BH.detach(), symexp(self.bins_K))
        return {
            "actor": -(gain_BH + self.entropy * imagined.entropy_BH).mean(),
            "critic": -(target_BHK * log_softmax(logits_BHK, dim=-1)).sum(dim=-1).mean(),
        }

    def imagine(self, clip: Clip, ahead_B: Tensor, generator: torch.Generator | None) -> Imagined:
        """Let the actor act from the first frames of clips.

        Args:
            clip: in the units of tokenizer and environment.
            ahead_B: blocks to each clip's goal.
            generator: of the actions, on the CPU; None for the mean actions.
        """
        first = clip.blocks(0, 1)
        rows_B = torch.arange(len(ahead_B), device=ahead_B.device)
        aimed = self.dynamics.normalise(Clip(*(values[rows_B, ahead_B][:, None] for values in clip)))
        state, situations = self.dynamics.observe(first), [self.situation(clip, ahead_B)]
        chosen, distances = [], []
        for _ in range(self.imagined_blocks):
            actions = self.policy.distribution(*situations[-1].detached())
            noise_BA = torch.zeros(actions.mean.shape)
            if generator is not None:
                noise_BA = torch.randn(noise_BA.shape, generator=generator)
            drawn_BA = actions.mean + actions.stddev * noise_BA.to(actions.mean.device)
            chosen.append((actions.log_prob(drawn_BA.detach()).sum(dim=-1), actions.entropy().sum(dim=-1)))
            if self.gradient == "reinforce":
                drawn_BA = drawn_BA.detach()
            state = self.dynamics.step(state, self.policy.action_scale.inverse(drawn_BA))
            seen = in_a_row([self.dynamics.predicted(state)]).map(Tensor.float)
            distances.append((seen.tokens_BHSD - aimed.tokens_BTSD)[:, 0].square().mean(dim=(1, 2)))
            situations.append(self._as_seen(seen, situations[0].goal_BSD))
        log_probability_BH, entropy_BH = (torch.stack(values, dim=1) for values in zip(*chosen, strict=True))
        return Imagined(situations, log_probability_BH, entropy_BH, torch.stack(distances, dim=1))

    def values(self, critic: ObjectPolicy, situations: Sequence[Situation]) -> Tensor:
        """What a critic expects, ``(B, situations)``: the mean of its distribution over bins, in units of rewards."""
        return (_judged(critic, situations).softmax(dim=-1) * symexp(self.bins_K)).sum(dim=-1)

    def validation_step(self, batch: Clip, batch_idx: int) -> None:
        """Distance to goals k blocks ahead after k blocks of mean actions, ``distance@k``, mean as ``val/loss``."""
        one_B = torch.ones(len(batch.tokens_BTSD), dtype=torch.long, device=self.device)
        values = {}
        for ahead in range(1, min(self.goal_blocks, self.imagined_blocks) + 1):
            distance_BH = self.imagine(batch, ahead * one_B, None).distance_BH
            values[f"val/distance@{ahead}"] = distance_BH[:, ahead - 1].mean()
        values["val/loss"] = torch.stack(list(values.values())).mean()
        self.log_dict(values, batch_size=len(batch.tokens_BTSD), on_epoch=True, sync_dist=True, prog_bar=True)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step, after which the slow copy follows the critic."""
        super().optimizer_step(*args, **kwargs)
        move_towards(self.slow_critic, self.critic, self.momentum)

    def describe_objective(self) -> dict[str, Any]:
        """See :class:`PolicyTraining`; with the world model and how returns are made."""
        names = ("world_model", "imagined_blocks", "discount", "trace", "gradient", "entropy", "momentum")
        return super().describe_objective() | {name: getattr(self, name) for name in names}

    def _as_seen(self, seen: Rollout, goal_BSD: Tensor) -> Situation:
        """One imagined block, H = 1, as actor and critic see it."""
        tokens, proprio, _ = self.dynamics.denormalise(seen)
        proprio_BP = self.policy.proprio_scale(proprio[:, 0, : self.policy.proprio_dim])
        return Situation(self.policy.token_scale(tokens[:, 0]), proprio_BP, goal_BSD)


def _judged(critic: ObjectPolicy, situations: Sequence[Situation]) -> Tensor:
    """Logits ``(B, situations, K)``, in one pass."""
    together = Situation(*(torch.cat(values) for values in zip(*situations, strict=True)))
    return critic(*together).float().unflatten(0, (len(situations), -1)).transpose(0, 1)
