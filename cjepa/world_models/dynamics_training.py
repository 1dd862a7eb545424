"""Training of world models: what all share, and what those on cached tokens share."""

from collections.abc import Mapping
from typing import Any

from cjepa.checkpoints import RunKind, find_checkpoint
from cjepa.configuration.run_config import run_folder
from cjepa.data.clip_module import EpisodeClips
from cjepa.data.splits import Lineage, warn_of_learned
from cjepa.errors import UserError
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.training import lineage_of_checkpoint
from cjepa.types import Clip, Rollout
from cjepa.world_models.dynamics import Dynamics, copied_clip, rollout_clip
from cjepa.world_models.episode_training import EpisodeTraining, TokenizerMemory
from cjepa.world_models.masks import Mask
from cjepa.world_models.model import PredictorDynamics
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
        _warn_of_tokenizer(source)
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


def _warn_of_tokenizer(source: TokenSource) -> None:
    """Log it if the tokenizer learned from episodes that are held out; of one that is gone, this is unknown."""
    checkpoint = _checkpoint_of(source.tokenizer)
    if checkpoint is None or not isinstance(source, EpisodeClips):
        return
    try:
        lineage = lineage_of_checkpoint(find_checkpoint(checkpoint))
    except UserError:
        return
    if lineage:
        warn_of_learned(source.file, source.splits, Lineage(**lineage), f"the tokenizer {checkpoint}")


def _checkpoint_of(tokenizer: Mapping[str, Any]) -> str | None:
    """Of a tokenizer as plain values, or of the one within; None for one that was not trained."""
    arguments = tokenizer.get("init_args") or {}
    return arguments.get("checkpoint") or (_checkpoint_of(arguments["trained"]) if "trained" in arguments else None)
