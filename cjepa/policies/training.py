"""Training of policies by imitation: what was done in an episode led to where it got, so every later frame is a goal.

File letters: G goals of a clip, 1 to ``goal_blocks`` blocks ahead.
"""

from typing import Any

import torch
from torch import Tensor

from cjepa.arguments import at_least
from cjepa.checkpoints import RunKind
from cjepa.data.clip_module import EpisodeClips
from cjepa.data.splits import check_only_training
from cjepa.errors import UserError
from cjepa.policies.base import GoalPolicy, Situation
from cjepa.policies.lessons import Lessons, read_lessons
from cjepa.types import Clip
from cjepa.world_models.episode_training import TokenizerMemory
from cjepa.world_models.token_source import TokenSource, check_source


class PolicyTraining(TokenizerMemory):
    """Behaviour cloning with hindsight goals, on cached tokens.

    The policy sees the first frame of a clip and one that is 1 to ``goal_blocks`` blocks later, and should do what was
    done in the first block. With ``goal_blocks`` 1 it is the inverse dynamics: the actions between two frames. With
    lessons of a planner, as many of them as there are clips in a batch count beside it.

    Args:
        policy: to train.
        goal_blocks: the farthest goal; the distance is drawn evenly, per sample and step.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW, on matrices.
        warmup_steps: of the learning rate.
        step_seed: of distances and lessons, together with rank and step.
        lessons: files of `cjepa plan --policy_share`: what a planner decided, on other episodes than those that the
            data hold out; none by default.
        lesson_weight: weight of their error beside that of clips, which is 1.

    Raises:
        ValueError: a number is out of its range.
    """

    kind = RunKind(
        "a policy",
        "cjepa fit -c experiments/pusht/policy.yaml",
        "cjepa plan WORLD_MODEL -c experiments/pusht/plan.yaml --prior RUN",
    )
    evaluation = "cjepa.evaluation.policies:evaluate"

    def __init__(
        self,
        policy: GoalPolicy,
        goal_blocks: int = 5,
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        warmup_steps: int = 200,
        step_seed: int = 0,
        lessons: list[str] | None = None,
        lesson_weight: float = 1.0,
    ):
        super().__init__(lr, weight_decay, warmup_steps, step_seed)
        at_least(1, goal_blocks=goal_blocks)
        at_least(0, lesson_weight=lesson_weight)
        self.save_hyperparameters()
        self.policy = policy
        self.goal_blocks = goal_blocks
        self.lesson_files = list(lessons or ())
        self.loss_weights = {"action": 1.0} | ({"lesson": lesson_weight} if self.lesson_files else {})
        self._lessons: Lessons | None = None

    def loss_terms(self, batch: Clip, generator: torch.Generator) -> dict[str, Tensor]:
        """``action``: mean squared error of normalised actions, towards one goal per clip; ``lesson``: of lessons."""
        terms = {"action": self.action_error(batch, self.drawn_goals(batch, generator)).mean()}
        if self._lessons is not None:
            drawn_B = torch.randint(len(self._lessons.actions_NA), (len(batch.tokens_BTSD),), generator=generator)
            terms["lesson"] = self.lesson_error(Lessons(*(values[drawn_B] for values in self._lessons)))
        return terms

    def lesson_error(self, lessons: Lessons) -> Tensor:
        """Mean squared error of the actions of lessons, in units of the variance of actions in episodes; a scalar."""
        policy, (tokens, proprio, goal, actions) = self.policy, (values.to(self.device) for values in lessons)
        seen = policy.token_scale(tokens), policy.proprio_scale(proprio[:, : policy.proprio_dim])
        return (policy(*seen, policy.token_scale(goal)).float() - policy.action_scale(actions)).square().mean()

    def drawn_goals(self, clip: Clip, generator: torch.Generator) -> Tensor:
        """Blocks to the goal of each clip, ``(B,)``, drawn evenly."""
        ahead_B = torch.randint(1, self.goal_blocks + 1, (len(clip.tokens_BTSD),), generator=generator)
        return ahead_B.to(clip.tokens_BTSD.device)

    def situation(self, clip: Clip, ahead_B: Tensor) -> Situation:
        """What the policy is given of clips, normalised.

        Args:
            clip: of more than ``ahead_B`` blocks, physical.
            ahead_B: int, blocks from the first one to the goal.
        """
        policy, rows_B = self.policy, torch.arange(len(ahead_B), device=ahead_B.device)
        proprio_BP = policy.proprio_scale(clip.proprio_BTP[:, 0, : policy.proprio_dim])
        goal_BSD = clip.tokens_BTSD[rows_B, ahead_B]
        return Situation(policy.token_scale(clip.tokens_BTSD[:, 0]), proprio_BP, policy.token_scale(goal_BSD))

    def action_error(self, clip: Clip, ahead_B: Tensor) -> Tensor:
        """Mean squared error of the first block's actions, in units of their variance, ``(B,)``.

        Args:
            clip: in the units of tokenizer and environment.
            ahead_B: blocks to each clip's goal.
        """
        found_BA = self.policy(*self.situation(clip, ahead_B))
        return (found_BA.float() - self.policy.action_scale(clip.actions_BTA[:, 0])).square().mean(dim=1)

    def validation_step(self, batch: Clip, batch_idx: int) -> None:
        """``action_error@k`` for goals k blocks ahead, and their mean as ``val/loss``."""
        one_B = torch.ones(len(batch.tokens_BTSD), dtype=torch.long, device=self.device)
        errors = [self.action_error(batch, ahead * one_B).mean() for ahead in range(1, self.goal_blocks + 1)]
        values = {f"val/action_error@{ahead}": error for ahead, error in enumerate(errors, start=1)}
        values["val/loss"] = torch.stack(errors).mean()
        self.log_dict(values, batch_size=len(batch.tokens_BTSD), on_epoch=True, sync_dist=True, prog_bar=True)

    def describe_objective(self) -> dict[str, Any]:
        """What is optimised, as plain values for ``run.json``."""
        return {"terms": dict(self.loss_weights), "goal_blocks": self.goal_blocks}

    def on_fit_start(self) -> None:
        """Fit the scales on training episodes, once.

        Raises:
            UserError: the data are not tokens, or not those that this checkpoint was trained on; they have other sizes
                than the policy, or clips are shorter than the way to the farthest goal.
        """
        check_source(self, self.trainer.datamodule)
        super().on_fit_start()
        source: TokenSource = self.trainer.datamodule
        sample = source.normalisation_sample()
        self._check_data(sample, source)
        self.remember_tokenizer(source.tokenizer_fingerprint)
        self.policy.fit_scales(sample)
        if self.lesson_files:
            self._take_lessons()

    def _take_lessons(self) -> None:
        """Read the lessons, and remember their episodes.

        Raises:
            UserError: they are of other tokens or widths, or of an episode that is held out.
        """
        stored = read_lessons(self.lesson_files)
        if stored.tokenizer_fingerprint != self.tokenizer_fingerprint:
            raise UserError(
                f"model.init_args.lessons {self.lesson_files[0]}: of tokenizer {stored.tokenizer_fingerprint}, but the "
                f"data are of {self.tokenizer_fingerprint}; give lessons of a world model on the same tokens"
            )
        for name, takes in (("token", self.policy.token_dim), ("proprio", self.policy.proprio_dim)):
            found = getattr(stored.lessons, "tokens_NSD" if name == "token" else "proprio_NP").shape[-1]
            if takes not in (found, 0):
                where = f"model.init_args.lessons {self.lesson_files[0]}"
                raise UserError(f"{where}: {found} {name} values, but the policy takes {takes}")
        self._lessons = stored.lessons
        if isinstance(data := self.trainer.datamodule, EpisodeClips):
            check_only_training(data.file, data.splits, stored.identities, "model.init_args.lessons")
        self.remember_episodes(stored.identities)

    def _check_data(self, sample: Clip, source: TokenSource) -> None:
        policy = self.policy
        expected = {"token_dim": policy.token_dim, "proprio_dim": policy.proprio_dim, "action_dim": policy.action_dim}
        for (name, want), values in zip(expected.items(), sample, strict=True):
            if want not in (values.shape[-1], 0):
                raise UserError(
                    f"model.init_args.policy.init_args.{name} is {want}, but the data have {values.shape[-1]}; set it "
                    f"to {values.shape[-1]}"
                )
        for name in ("train_blocks", "val_blocks"):
            if (blocks := getattr(source, name)) <= self.goal_blocks:
                raise UserError(
                    f"data.init_args.{name} is {blocks}, but goals are up to {self.goal_blocks} blocks after the first "
                    f"frame (model.init_args.goal_blocks); set it to {self.goal_blocks + 1}"
                )
