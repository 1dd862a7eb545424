"""Training of the value of goals on recorded episodes, whatever their agent was after.

File letters: K pairs of what is seen and a goal, R answers of a probe, V networks.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from cjepa.arguments import at_least, check
from cjepa.checkpoints import RunKind
from cjepa.data.token_clips import TokenClips
from cjepa.errors import UserError
from cjepa.moving_average import frozen_copy, move_towards
from cjepa.policies.goal_value import GoalValue
from cjepa.types import Clip
from cjepa.world_models.episode_training import TokenizerMemory
from cjepa.world_models.token_source import check_source

_MOST_BLOCKS = 4
"""Of the recorded way before the slow copy takes over: 1 is the published step, more of them learn faster."""


class Pairs(NamedTuple):
    """What is seen, what was seen some blocks later, and a goal."""

    seen_KR: Tensor
    later_KR: Tensor
    goal_KR: Tensor
    blocks_K: Tensor
    """From seen to later; not beyond the goal where the episode got there."""
    known_K: Tensor
    """Blocks that the episode took to the goal: 0 where the goal is what is seen, inf for goals of other clips."""


class GoalValueTraining(TokenizerMemory):
    """Learns the shortest ways that recorded episodes are made of (implicit value learning, as HIQL's, 2307.11949).

    A goal may be the frame itself (share 0.1), any frame of the batch (0.3), or a later frame of the clip. From the
    frame, it is as far as the recorded blocks and what a slow copy of the value expects from there; and not farther
    than the episode took. Expectile regression follows the shorter of such ways: episodes are no shortest ways, but
    pieces of them may be.

    Args:
        value: to train.
        expectile: weight of errors where a way is shorter than expected, one minus that where it is longer; above 0.5.
        pairs_per_clip: drawn in every step.
        momentum: of the slow copy, per step.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW, on matrices.
        warmup_steps: of the learning rate.
        step_seed: of the pairs, together with rank and step.

    Raises:
        ValueError: a number is out of its range.
    """

    evaluation = "cjepa.evaluation.goal_values:evaluate"
    kind = RunKind(
        "a value of goals",
        "cjepa fit -c experiments/pusht/goal_value.yaml",
        "cjepa plan WORLD_MODEL -c experiments/pusht/plan_far.yaml --objective.init_args.run RUN",
    )

    def __init__(
        self,
        value: GoalValue,
        expectile: float = 0.9,
        pairs_per_clip: int = 4,
        momentum: float = 0.98,
        lr: float = 1e-3,
        weight_decay: float = 1e-3,
        warmup_steps: int = 200,
        step_seed: int = 0,
    ):
        super().__init__(lr, weight_decay, warmup_steps, step_seed)
        at_least(1, pairs_per_clip=pairs_per_clip)
        check(0.5 < expectile < 1, "expectile", expectile, "a number above 0.5 and below 1")
        check(0 <= momentum < 1, "momentum", momentum, "a number in [0, 1)")
        self.save_hyperparameters()
        self.value, self.slow = value, frozen_copy(value)
        self.expectile, self.pairs_per_clip, self.momentum = expectile, pairs_per_clip, momentum
        self.loss_weights = {"value": 1.0}

    def loss_terms(self, batch: Clip, generator: torch.Generator) -> dict[str, Tensor]:
        """``value``: the expectile loss of both networks, in discounted blocks."""
        return {"value": self.expectile_loss(self.pairs(self.value.probe(batch.tokens_BTSD), generator))}

    def pairs(self, answers_BTR: Tensor, generator: torch.Generator) -> Pairs:
        """``pairs_per_clip`` of every clip."""
        clips, frames = answers_BTR.shape[:2]
        clip_K = torch.arange(clips).repeat(self.pairs_per_clip)

        def drawn(least: int | Tensor, most: int | Tensor) -> Tensor:
            """Whole numbers from ``least`` to ``most``."""
            return least + (torch.rand(len(clip_K), generator=generator) * (most - least + 1)).long()

        start_K = drawn(0, frames - 2)
        end_K = start_K + drawn(1, frames - 1 - start_K)
        kind_K = torch.rand(len(clip_K), generator=generator)
        same_K, other_K = kind_K < 0.1, kind_K > 0.7
        known_K = (end_K - start_K).float().masked_fill(same_K, 0.0).masked_fill(other_K, torch.inf)
        blocks_K = drawn(1, _MOST_BLOCKS).minimum(frames - 1 - start_K)
        blocks_K = torch.where(same_K | other_K, blocks_K, blocks_K.minimum(end_K - start_K))
        goal_clip_K = torch.where(other_K, drawn(0, clips - 1), clip_K)
        goal_K = torch.where(same_K, start_K, torch.where(other_K, drawn(0, frames - 1), end_K))
        there = answers_BTR.device
        frames_of = ((clip_K, start_K), (clip_K, start_K + blocks_K), (goal_clip_K, goal_K))
        seen, later, goal = (answers_BTR[clip.to(there), frame.to(there)] for clip, frame in frames_of)
        return Pairs(seen, later, goal, blocks_K.to(there), known_K.to(there))

    def expectile_loss(self, pairs: Pairs) -> Tensor:
        """Of the ways to the goals of pairs, see the class."""
        error_VK = self.way(pairs) - self.value(pairs.seen_KR, pairs.goal_KR).float()
        return (torch.where(error_VK < 0, self.expectile, 1 - self.expectile) * error_VK.square()).mean()

    @torch.no_grad()
    def way(self, pairs: Pairs) -> Tensor:
        """Discounted number of blocks to the goal by way of what was seen later, ``(K,)``."""
        discount = self.value.discount
        rest_K = self.slow(pairs.later_KR, pairs.goal_KR).float().amax(dim=0).clamp(0, 1 / (1 - discount))
        rest_K = rest_K.masked_fill(pairs.blocks_K == pairs.known_K, 0.0)
        way_K = self.value.discounted(pairs.blocks_K) + discount**pairs.blocks_K * rest_K
        return way_K.minimum(self.value.discounted(pairs.known_K))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step, after which the slow copy follows."""
        super().optimizer_step(*args, **kwargs)
        move_towards(self.slow, self.value, self.momentum)

    def blocks_correlation(self, clip: Clip) -> Tensor:
        """Correlation of found and recorded blocks, from every frame of a clip to its last one, ``(B,)``."""
        answers_BTR = self.value.probe(clip.tokens_BTSD)
        found_BT = self.value.blocks(answers_BTR[:, :-1], answers_BTR[:, -1:]).float()
        left_T = -torch.arange(found_BT.shape[1], device=found_BT.device, dtype=torch.float32)
        found_BT = found_BT - found_BT.mean(dim=1, keepdim=True)
        return torch.nn.functional.cosine_similarity(found_BT, (left_T - left_T.mean())[None], dim=1)

    def validation_step(self, batch: Clip, batch_idx: int) -> None:
        """``val/loss``, on the same pairs every time, and ``val/blocks_correlation``, mean over clips."""
        pairs = self.pairs(self.value.probe(batch.tokens_BTSD), torch.Generator().manual_seed(batch_idx))
        values = {
            "val/loss": self.expectile_loss(pairs),
            "val/blocks_correlation": self.blocks_correlation(batch).mean(),
        }
        self.log_dict(values, batch_size=len(batch.tokens_BTSD), on_epoch=True, sync_dist=True, prog_bar=True)

    def describe_objective(self) -> dict[str, Any]:
        """What is optimised, as plain values for ``run.json``."""
        return {"terms": dict(self.loss_weights), "expectile": self.expectile, "discount": self.value.discount}

    def on_fit_start(self) -> None:
        """Fit the probe on training episodes, once.

        Raises:
            UserError: the data are not tokens with states, or not those that this checkpoint was trained on; frames
                have other tokens than the value, or clips have one frame only.
        """
        source: TokenClips = self.trainer.datamodule
        check_source(self, source, TokenClips)
        super().on_fit_start()
        self._check_data(source)
        self.remember_tokenizer(source.tokenizer_fingerprint)
        if not bool(self.value.probe.fitted):
            self.value.probe.fit_on(source.file, source.lineage)
            move_towards(self.slow, self.value, 0.0)

    def _check_data(self, source: TokenClips) -> None:
        sizes = source.file.columns["tokens"][0][1:]
        for name, found in zip(("num_tokens", "token_dim"), sizes, strict=True):
            if (expected := getattr(self.value.probe, name)) != found:
                where = f"model.init_args.value.init_args.{name}"
                raise UserError(f"{where} is {expected}, but the data have {found}; set it to {found}")
        for name in ("train_blocks", "val_blocks"):
            if (blocks := getattr(source, name)) < 3:
                raise UserError(
                    f"data.init_args.{name} is {blocks}, expected 3 or more: goals are later frames of a clip"
                )
