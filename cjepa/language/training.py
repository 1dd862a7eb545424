"""Training of language models on frames of tokens and sentences that the grammar makes of what is true of them.

File letters: K statements, C sentences: one for each of B frames.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cjepa.arguments import at_least
from cjepa.checkpoints import RunKind
from cjepa.envs.sentences import PREPOSITIONS, VERBS, Statement, phrases, said
from cjepa.errors import UserError
from cjepa.language.frames import TokenFrames, ToldFrames
from cjepa.language.model import LanguageModel, fits
from cjepa.world_models.episode_training import TokenizerMemory


class LanguageTraining(TokenizerMemory):
    """Joint embedding of tokens and sentences, on cached tokens.

    Every frame gets one sentence that is true of it; rare statements come as often as common ones. The terms:

    - ``text``: VL-JEPA's InfoNCE in both directions: of all sentences of the batch a frame's predicted embedding should
      be nearest to its own, and of all frames a sentence's. Sentences of others that are true of a frame are left out;
    - ``goal``: negative log-likelihood of the token of the object that the sentence is about, per value, with the mean
      and the deviation that are predicted from the sentence. Which object that is, ``text`` knows: objects count by the
      softmax of how well the sentence fits them. (By likelihood alone, any object that always looks the same would do.)

    Args:
        language: to train.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW, on matrices.
        warmup_steps: of the learning rate.
        step_seed: of the sentences, together with rank and step.
        goal_weight: weight of ``goal``.

    Raises:
        ValueError: a number is out of its range.
    """

    kind = RunKind(
        "a language model",
        "cjepa fit -c experiments/pusht/language.yaml",
        "cjepa plan WORLD_MODEL -c experiments/pusht/plan_language.yaml --objective.init_args.run RUN",
    )
    evaluation = "cjepa.evaluation.language:evaluate"

    def __init__(
        self,
        language: LanguageModel,
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        warmup_steps: int = 100,
        step_seed: int = 0,
        goal_weight: float = 1.0,
    ):
        super().__init__(lr, weight_decay, warmup_steps, step_seed)
        at_least(0, goal_weight=goal_weight)
        self.save_hyperparameters()
        self.language = language
        self.loss_weights = {"text": 1.0, "goal": goal_weight}
        self.statements: list[Statement] = []

    def loss_terms(self, batch: ToldFrames, generator: torch.Generator) -> dict[str, Tensor]:
        """See the class."""
        true_BK = batch.true_BK.float().cpu()
        rarity_K = 1 / true_BK.sum(dim=0).clamp(min=1)
        about_C = torch.multinomial(true_BK * rarity_K, 1, generator=generator)[:, 0]
        sentences = [spoken(self.statements[index], generator) for index in about_C.tolist()]
        return self.terms_of(batch.tokens_BSD, sentences, batch.true_BK[:, about_C.to(batch.true_BK.device)])

    def terms_of(self, tokens_BSD: Tensor, sentences: Sequence[str], true_BC: Tensor) -> dict[str, Tensor]:
        """The terms of frames with a sentence each, and which sentences are true of which frames."""
        text_CW = self.language.read(sentences)
        embedding_BSW = self.language.look(tokens_BSD)
        fit_BC = fits(embedding_BSW, text_CW).float() * self.language.log_scale.exp()
        own_C = torch.arange(len(sentences), device=fit_BC.device)
        others_BC = true_BC & (own_C[:, None] != own_C)
        fit_BC = fit_BC.masked_fill(others_BC, -torch.inf)
        cross_entropy = nn.functional.cross_entropy
        about_BS = self.language.about(embedding_BSW, text_CW).detach()
        squared_BS, deviations_B1 = self.language.goal_errors(tokens_BSD, text_CW)
        likelihood_BS = -0.5 * squared_BS.float() - deviations_B1.float()
        return {
            "text": (cross_entropy(fit_BC, own_C) + cross_entropy(fit_BC.T, own_C)) / 2,
            "goal": -(about_BS * likelihood_BS).sum(dim=1).mean() / tokens_BSD.shape[-1],
        }

    def validation_step(self, batch: ToldFrames, batch_idx: int) -> None:
        """The terms, and their weighted sum as ``val/loss``; the same sentences every time."""
        terms = self.loss_terms(batch, torch.Generator().manual_seed(batch_idx))
        values = {f"val/{name}": term for name, term in terms.items()} | {"val/loss": self.total(terms)}
        self.log_dict(values, batch_size=len(batch.tokens_BSD), on_epoch=True, sync_dist=True, prog_bar=True)

    def describe_objective(self) -> dict[str, Any]:
        """What is optimised, as plain values for ``run.json``."""
        return {"terms": dict(self.loss_weights), "against_collapse": "InfoNCE: other sentences are pushed away"}

    def setup(self, stage: str) -> None:
        """Learn what there is to say.

        Raises:
            UserError: the data are not frames with what is true of them, or have another width than the model.
        """
        data = self.trainer.datamodule
        if not isinstance(data, TokenFrames):
            raise UserError(
                f"LanguageTraining is trained on TokenFrames, not on {type(data).__name__}; set data.class_path to "
                "cjepa.language.frames.TokenFrames and data.init_args.path to a file of `cjepa tokenize`"
            )
        self.statements = data.statements
        width = data.rows.tokens_BTSD[torch.zeros(1, dtype=torch.long)].shape[-1]
        if width != self.language.token_dim:
            raise UserError(
                f"model.init_args.language.init_args.token_dim is {self.language.token_dim}, but the data have "
                f"{width}; set it to {width}"
            )
        self.remember_tokenizer(data.tokenizer_fingerprint)

    def on_fit_start(self) -> None:
        """Fit the scale of tokens on training frames, once."""
        super().on_fit_start()
        if not bool(self.language.token_scale.fitted):
            frames = self.trainer.datamodule.training_clips()
            self.language.token_scale.fit(frames.__getitems__(list(range(len(frames)))).tokens_BSD)


def spoken(statement: Statement, generator: torch.Generator, held_out: bool = False) -> str:
    """A sentence that says a statement in one of the ways that are, or are not, held out from training."""
    ways = phrases(statement, held_out)
    verb, preposition, way = (
        choices[int(torch.randint(len(choices), (), generator=generator))] for choices in (VERBS, PREPOSITIONS, ways)
    )
    return said(verb, way[0], preposition, way[1])
