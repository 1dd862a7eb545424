"""Training of C-JEPA on cached tokens."""

from typing import Any

import torch
from torch import Tensor

from cjepa.arguments import above, at_least
from cjepa.checkpoints import find_checkpoint, load_module, misfit, read_checkpoint
from cjepa.data.clip_module import EpisodeClips
from cjepa.data.splits import Lineage, check_held_out
from cjepa.errors import UserError
from cjepa.types import Clip
from cjepa.world_models.dynamics_training import TokenTraining
from cjepa.world_models.losses import Norm, loss_terms
from cjepa.world_models.losses import value_weights as weights_of_values
from cjepa.world_models.masks import Mask
from cjepa.world_models.matching import Matching
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.path_constraint import PathConstraint
from cjepa.world_models.predictors.base import Predictor
from cjepa.world_models.predictors.sparse_attention import SparseTransformer


class WorldModel(TokenTraining):
    """C-JEPA (arXiv 2602.11389): masked history + next block, in token space, targets fixed.

    The loss is ``masked_weight * MSE(hidden history cells) + MSE(next tokens) + proprio_weight * MSE(next proprio)``,
    on normalised values. Without masking (``ObjectMask(0)``) it is OC-JEPA.

    Training draws the history length from shortest_history..history_blocks per step. It is 1 where planning starts from
    a single frame: the anchor is then at the one position that training has seen it at.

    Args:
        predictor: of the next block and of hidden history.
        mask: draws hidden cells, per sample and step.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW, on matrices.
        warmup_steps: of the learning rate.
        masked_weight: weight of the masked-history term.
        proprio_weight: weight of the proprioception term.
        mask_seed: seeds masks and history lengths, together with rank and step.
        predict_blocks: F, how many blocks after the history the loss is over.
        future_decay: weight of each of them over that of the one before.
        norm: ``l2`` for mean squared errors, ``l1`` for mean absolute ones, in all terms.
        matching: ``index`` compares a predicted object with the one of the same index, ``hungarian`` with those of the
            least total error.
        path_constraint: makes the graph of a :class:`SparseTransformer` sparse; None for as many paths as it likes.
        matrix_lr: peak learning rate of Muon, with which matrices learn; None for AdamW, as all other parameters.
        shortest_history: blocks of the shortest history; that of the predictor is the longest.
        value_weights: weights in the loss of the values of a token: how many in a row, and the weight of each; None for
            the same of all.
        init_from: run, exported folder or model of the zoo whose weights and scales training begins with; None for new
            ones.

    Raises:
        ValueError: a number is out of its range, or paths are constrained of a predictor that has none.
    """

    def __init__(
        self,
        predictor: Predictor,
        mask: Mask,
        lr: float = 5e-4,
        weight_decay: float = 1e-2,
        warmup_steps: int = 200,
        masked_weight: float = 1.0,
        proprio_weight: float = 1.0,
        mask_seed: int = 0,
        predict_blocks: int = 1,
        future_decay: float = 1.0,
        norm: Norm = "l2",
        matching: Matching = "index",
        path_constraint: PathConstraint | None = None,
        matrix_lr: float | None = None,
        shortest_history: int = 1,
        value_weights: list[tuple[int, float]] | None = None,
        init_from: str | None = None,
    ):
        at_least(0, mask_seed=mask_seed)
        super().__init__(lr, weight_decay, warmup_steps, step_seed=mask_seed)
        at_least(1, predict_blocks=predict_blocks)
        at_least(0, masked_weight=masked_weight, proprio_weight=proprio_weight, future_decay=future_decay)
        self.save_hyperparameters()
        self.dynamics = PredictorDynamics(predictor)
        self.mask = mask
        self.predict_blocks = predict_blocks
        self.future_decay = future_decay
        self.norm = norm
        self.matching = matching
        self.loss_weights = {"future": 1.0, "masked": masked_weight, "proprio": proprio_weight}
        if path_constraint is not None:
            if not isinstance(predictor, SparseTransformer):
                raise ValueError(f"path_constraint needs a SparseTransformer, not {type(predictor).__name__}")
            self.loss_weights["paths"] = 0.0  # the constraint weighs them
        self.path_constraint = path_constraint
        if matrix_lr is not None:
            above(0, matrix_lr=matrix_lr)
        self.matrix_lr = matrix_lr
        if not 1 <= shortest_history <= predictor.history_blocks:
            raise ValueError(f"shortest_history is {shortest_history}, expected 1..{predictor.history_blocks}")
        self.shortest_history = shortest_history
        self.value_weights = value_weights
        weight_D = None if value_weights is None else weights_of_values(value_weights, predictor.token_dim)
        self.register_buffer("weight_D", weight_D, persistent=False)
        self.init_from = init_from

    def on_fit_start(self) -> None:
        """See :class:`TokenTraining`; with the weights that training begins with.

        Raises:
            UserError: they do not fit, or learned from other tokens, or from an episode that is held out here.
        """
        if self.init_from is None or bool(self.dynamics.token_scale.fitted):  # a resumed training has its weights
            return super().on_fit_start()
        checkpoint = find_checkpoint(self.init_from)
        before = load_module(WorldModel, read_checkpoint(checkpoint), checkpoint)
        try:
            self.dynamics.load_state_dict(before.dynamics.state_dict())
        except RuntimeError as error:
            reason = "its predictor is another one than model.init_args.predictor"
            raise UserError(f"init_from {self.init_from}: {reason} ({misfit(str(error))})") from error
        self.tokenizer_fingerprint = before.tokenizer_fingerprint
        super().on_fit_start()
        if before.lineage and isinstance(data := self.trainer.datamodule, EpisodeClips):
            check_held_out(data.file, data.splits, Lineage(**before.lineage), f"init_from {self.init_from}")
        self.remember_episodes(before.lineage.get("identities", []))

    def loss_terms(self, batch: Clip, generator: torch.Generator) -> dict[str, Tensor]:
        """Of a history of random length and the blocks after it, see :mod:`.losses`; the mean over members."""
        lengths = self.shortest_history, self.dynamics.history_blocks + 1
        blocks = int(torch.randint(*lengths, (), generator=generator))
        clip = self.dynamics.normalise(batch).blocks(0, blocks + self.predict_blocks)
        mask_BTE = self.mask.sample(clip.tokens_BTSD[:, :blocks], generator)
        options = self.future_decay, self.norm, self.matching, self.weight_D
        with self.dynamics.predictor.watched(generator) as paths:
            each = self.dynamics.forward_members(clip, mask_BTE)
        of_each = [loss_terms(one, clip, mask_BTE, *options) for one in each]
        found = {name: torch.stack([terms[name] for terms in of_each]).mean() for name in of_each[0]}
        if self.path_constraint is not None:
            found["paths"] = torch.stack([path_BEE.sum(dim=2).mean() for path_BEE in paths]).mean()
        return found

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """See :class:`TokenTraining`; with the constraint's part."""
        total = super().total(terms)
        if self.path_constraint is None:
            return total
        self.log("train/path_weight", self.path_constraint.weight)
        return total + self.path_constraint(terms["paths"], terms["future"])

    def describe_objective(self) -> dict[str, Any]:
        """See :class:`TokenTraining`; with the mask."""
        names = ("predict_blocks", "future_decay", "norm", "matching", "matrix_lr")
        names += ("shortest_history", "value_weights", "init_from")
        described = super().describe_objective() | {"mask": self.mask.describe()}
        if self.path_constraint is not None:
            constraint = self.path_constraint
            described["path_constraint"] = {"target_error": constraint.target_error, "rate": constraint.rate}
        return described | {name: getattr(self, name) for name in names}
