"""How far predicted futures are from what a sentence says, as a language model reads both."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from cjepa.arguments import check
from cjepa.checkpoints import find_checkpoint, read_checkpoint
from cjepa.errors import UserError
from cjepa.language.loading import load_language
from cjepa.language.model import LanguageModel
from cjepa.planning.objectives import Goal, Learned, Objective, run_content, tokenizer_units
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import device_of, fingerprint
from cjepa.types import Rollout
from cjepa.world_models.dynamics import Dynamics


class SentenceGoal(Objective):
    """Distance of the block that comes nearest to making a sentence true; goals are given by ``--goal_text``.

    Only the body that the sentence names counts, as far as the language model knows it: objects count by how well they
    fit, in the first block, what can be said of this body in any region. (The nearest object may be a similar body.)

    Args:
        run: run or checkpoint of `cjepa fit -c experiments/pusht/language.yaml`, of the world model's tokenizer.
        by: ``token`` for the squared error of the object's token to the one that the sentence predicts, each value in
            units of its usual deviation, mean over D; ``text`` for one minus the cosine between the embedding that is
            predicted from tokens and that of the sentence.

    Raises:
        ValueError: ``by`` is neither.
    """

    def __init__(self, run: str = "runs/language", by: Literal["token", "text"] = "token"):
        check(by in ("token", "text"), "by", by, "token or text")
        self.run = run
        self.by = by

    def for_model(self, dynamics: Dynamics, tokenizer: Tokenizer, lineage: Mapping[str, Any]) -> "SentenceGoal":
        """See :class:`~cjepa.planning.objectives.Objective`; reads the language model.

        Raises:
            UserError: ``run`` is no language model of the tokenizer's tokens.
        """
        language = load_language(find_checkpoint(self.run), fingerprint(tokenizer))
        return self.reading(language.to(device_of(dynamics)), dynamics)

    def reading(self, language: LanguageModel, dynamics: Dynamics) -> "SentenceGoal":
        """The objective with a language model, for the rollouts of a world model."""
        reads = copy.copy(self)
        reads._language, reads._dynamics = language, dynamics
        return reads

    def read(self, sentences: Sequence[str]) -> Tensor:
        """See :class:`~cjepa.planning.objectives.Objective`: embeddings of sentences, then of bodies, ``(B, 2 W)``."""
        return torch.cat([self._language.read(sentences), self._language.read_bodies(sentences)], dim=-1)

    def learned(self, lineage: Mapping[str, Any]) -> list[Learned]:
        """See :class:`~cjepa.planning.objectives.Objective`; the language model's training episodes.

        Raises:
            UserError: there is no such checkpoint.
        """
        own = read_checkpoint(find_checkpoint(self.run)).get("lineage") or {}
        return [Learned(f"language model {self.run}", own)]

    def decided_by(self) -> dict[str, Any]:
        """What decides its costs: the content of the checkpoint, wherever it is; what is missing is refused later."""
        return vars(self) | {"run": run_content(self.run)}

    def __call__(self, rollout: Rollout, actions_BNHA: Tensor, goal: Goal) -> Tensor:
        """See :class:`~cjepa.planning.objectives.Objective`.

        Raises:
            UserError: the goal is no sentence.
        """
        if goal.text_BW is None:
            raise UserError("the objective SentenceGoal has no sentence to aim at; give --goal_text")
        with torch.autocast(rollout.tokens_BHSD.device.type, enabled=False):  # bfloat16 is too coarse for places
            tokens_BNHSD = tokenizer_units(self._dynamics, rollout)
            return self._distance(tokens_BNHSD, goal.text_BW.float()).amin(dim=2)

    def _distance(self, tokens_BNHSD: Tensor, text_BW: Tensor) -> Tensor:
        """Of every block, ``(B, N, H)``."""
        said_B11W, body_B11W = text_BW[:, None, None].chunk(2, dim=-1)
        by_text = self.by == "text"
        looks_BNHSW = self._language.look(tokens_BNHSD if by_text else tokens_BNHSD[:, :, :1])
        about_BN1S = self._language.about(looks_BNHSW[:, :, :1], body_B11W)
        if by_text:
            distance_BNHS = 1 - (looks_BNHSW * said_B11W[..., None, :]).sum(dim=-1)
        else:
            distance_BNHS = self._language.goal_errors(tokens_BNHSD, said_B11W)[0] / tokens_BNHSD.shape[-1]
        return (about_BN1S * distance_BNHS).sum(dim=-1)
