"""Training of world models: what all share, and C-JEPA on cached tokens."""

from typing import Any

import torch
from torch import Tensor

from cjepa.arguments import above, at_least
from cjepa.checkpoints import RunKind, find_checkpoint, load_module, misfit, read_checkpoint
from cjepa.configuration.run_config import run_folder
from cjepa.data.clip_module import EpisodeClips
from cjepa.data.splits import Lineage, check_held_out
from cjepa.errors import UserError
from cjepa.tokenizers.base import Tokenizer
from cjepa.types import Clip, Rollout
from cjepa.world_models.dynamics import Dynamics, copied_clip, rollout_clip
from cjepa.world_models.episode_training import EpisodeTraining, TokenizerMemory
from cjepa.world_models.losses import Norm, loss_terms
from cjepa.world_models.losses import value_weights as weights_of_values
from cjepa.world_models.masks import Mask
from cjepa.world_models.matching import Matching
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.path_constraint import PathConstraint
from cjepa.world_models.predictors.base import Predictor
from cjepa.world_models.predictors.sparse_attention import SparseTransformer
from cjepa.world_models.token_source import TokenSource, check_data, check_layer_norm, check_source

_DYNAMICS = "dynamics."
_OWN = ("predictor.", "token_scale.", "proprio_scale.", "action_scale.")


class DynamicsTraining(EpisodeTraining):
    """Trains a world model, on cached tokens or from pixels end to end, and watches its rollouts.

    Arguments are those of :class:`~cjepa.world_models.episode_training.EpisodeTraining`. Subclasses set ``dynamics`` in
    ``__init__`` and say how to train it: :meth:`loss_terms` and ``loss_weights``. One that is trained from pixels also
    turns its batches into clips: :meth:`clip_of`.
    """

    kind = RunKind(
        "a world model",
        "cjepa fit -c experiments/pusht/cjepa.yaml",
        "cjepa plan RUN -c experiments/pusht/plan.yaml",
    )
    evaluation = "cjepa.evaluation.card:evaluate"
    dynamics: Dynamics
    tokenizer: Tokenizer | None
    """The model's own, if it is trained from pixels; None for one on cached tokens."""
    tokenizer_spec: dict
    """How to build the tokenizer of the cached tokens, as plain values; empty before training."""
    tokenizer_fingerprint: str
    run_folder: str
    """Where the run was when it was trained, absolute; empty before training and in checkpoints that do not say."""
    against_collapse: str
    """What keeps the tokens from becoming all the same, for ``run.json``."""

    def __init__(self, lr: float, weight_decay: float, warmup_steps: int, step_seed: int = 0):
        super().__init__(lr, weight_decay, warmup_steps, step_seed)
        self.tokenizer = None
        self.tokenizer_spec: dict = {}
        self.tokenizer_fingerprint = ""
        self.run_folder = ""

    def clip_of(self, batch: Any) -> Clip:
        """The clip of tokens that a batch shows; batches of cached tokens are clips already."""
        return batch

    def describe_objective(self) -> dict[str, Any]:
        """What is optimised, as plain values for ``run.json``."""
        return {"terms": dict(self.loss_weights), "against_collapse": self.against_collapse}

    def describe_uncertainty(self) -> list[str]:
        """What its rollouts say of their own errors, for ``run.json``."""
        return self.dynamics.describe_uncertainty()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """See :meth:`log_rollout_errors`."""
        self.log_rollout_errors(self.clip_of(batch))

    def log_rollout_errors(self, clip: Clip) -> None:
        """Rollout errors, beside those of copying the last frame, on clips of ``history_blocks + horizon`` blocks."""
        rollout, target = rollout_clip(self.dynamics, clip)
        last_B1SD = copied_clip(self.dynamics, clip).tokens_BHSD
        error_H = (rollout.tokens_BHSD - target.tokens_BHSD).square().mean(dim=(0, 2, 3))
        copy_H = (last_B1SD - target.tokens_BHSD).square().mean(dim=(0, 2, 3))
        values = {"val/loss": error_H[0], "val/future": error_H[0]}
        if self.dynamics.proprio_dim:
            values["val/proprio"] = (rollout.proprio_BHP[:, 0] - target.proprio_BHP[:, 0]).square().mean()
            values["val/loss"] = error_H[0] + self.loss_weights["proprio"] * values["val/proprio"]
        for block in sorted({1, len(error_H)}):
            values[f"val/error@{block}"] = error_H[block - 1]
            values[f"val/copy_error@{block}"] = copy_H[block - 1]
            if rollout.disagreement_BHS is not None:
                values[f"val/disagreement@{block}"] = rollout.disagreement_BHS[:, block - 1].mean()
        self.log_dict(values, batch_size=len(last_B1SD), on_epoch=True, sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Log errors as fractions of the copy-last-frame error, from the epoch's means."""
        logged = self.trainer.callback_metrics
        for name in [n for n in logged if n.startswith("val/error@")]:
            block = name.rsplit("@", 1)[1]
            self.log(f"val/rollout_error@{block}", logged[name] / logged[f"val/copy_error@{block}"], prog_bar=True)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """As validation, under the same names."""
        self.validation_step(batch, batch_idx)

    def predict_step(self, batch: Any, batch_idx: int) -> Rollout:
        """The blocks after the history, in the tokenizer's and the environment's units."""
        return self.dynamics.denormalise(rollout_clip(self.dynamics, self.clip_of(batch))[0])


class TokenTraining(TokenizerMemory, DynamicsTraining):
    """Trains a predictor on cached tokens, whose tokenizer it remembers.

    Subclasses set ``dynamics`` and ``predict_blocks`` in ``__init__``.
    """

    against_collapse = "targets are fixed tokens of a frozen tokenizer"
    dynamics: PredictorDynamics
    predict_blocks: int
    """How many blocks after a history the loss is over."""
    mask: Mask | None = None
    """What hides objects in training, if anything does."""
    scale_tokens = True
    """Whether tokens are normalised, as proprioception and actions always are."""

    def scale_sample(self, source: TokenSource) -> Clip:
        """Clips of training episodes as the dynamics see them, in the tokenizer's and the environment's units."""
        return source.normalisation_sample()

    def on_fit_start(self) -> None:
        """Fit the scales on training episodes, once.

        Raises:
            UserError: the data are not tokens, or not those that this checkpoint was trained on; they have other sizes
                than the predictor, or clips are shorter than a history; the loss leaves out blocks of the predictor's
                pass; its layer-normed tokens cannot reach the targets; more objects are to be hidden than there are.
        """
        check_source(self, self.trainer.datamodule)
        super().on_fit_start()
        source: TokenSource = self.trainer.datamodule
        sample = self.scale_sample(source)
        check_data(self.dynamics, sample, source, self.predict_blocks)
        check_layer_norm(self.dynamics.predictor, sample, self.scale_tokens)
        if self.mask is not None:
            self.mask.check_budget(sample.tokens_BTSD.shape[2])
        self.remember_tokenizer(source.tokenizer_fingerprint)
        self.dynamics.fit_scales(sample, tokens=self.scale_tokens)
        self.tokenizer_spec = source.tokenizer
        self.run_folder = str(run_folder(self.trainer).resolve())

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["tokenizer"] = self.tokenizer_spec
        checkpoint["run_folder"] = self.run_folder

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Also of versions up to 0.2.0, in which weights lay one level higher."""
        super().on_load_checkpoint(checkpoint)
        self.tokenizer_spec = checkpoint["tokenizer"]
        self.run_folder = checkpoint.get("run_folder", "")
        weights = checkpoint.get("state_dict", {})
        checkpoint["state_dict"] = {
            f"{_DYNAMICS}{name}" if name.startswith(_OWN) else name: value for name, value in weights.items()
        }


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
        """See :class:`DynamicsTraining`; with the constraint's part."""
        total = super().total(terms)
        if self.path_constraint is None:
            return total
        self.log("train/path_weight", self.path_constraint.weight)
        return total + self.path_constraint(terms["paths"], terms["future"])

    def describe_objective(self) -> dict[str, Any]:
        """See :class:`DynamicsTraining`; with the mask."""
        names = ("predict_blocks", "future_decay", "norm", "matching", "matrix_lr")
        names += ("shortest_history", "value_weights", "init_from")
        described = super().describe_objective() | {"mask": self.mask.describe()}
        if self.path_constraint is not None:
            constraint = self.path_constraint
            described["path_constraint"] = {"target_error": constraint.target_error, "rate": constraint.rate}
        return described | {name: getattr(self, name) for name in names}
