"""Trained world models back from their checkpoints."""

import json

import pytest
import torch
from torch import nn

from cjepa.data.video_clips import VideoClips
from cjepa.errors import UserError
from cjepa.tokenizers.base import Tokenizer, float_frames
from cjepa.tokenizers.baselines.global_token import GlobalTokenizer
from cjepa.types import Clip, VideoBatch
from cjepa.world_models import loading
from cjepa.world_models.dynamics import rollout_clip
from cjepa.world_models.dynamics_training import DynamicsTraining
from cjepa.world_models.loading import load_world_model
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.base import Prediction, Predictor
from tests.trainers import quiet_trainer
from tests.world_models.small import a_clip


def test_a_model_and_its_tokenizer_are_frozen(world_model_run, slots_run):
    checkpoint = world_model_run / "checkpoints" / "last.ckpt"
    loaded = load_world_model(checkpoint)
    parts = (loaded.dynamics, loaded.tokenizer)
    assert not any(part.training for part in parts)
    assert not any(p.requires_grad for part in parts for p in part.parameters())
    content = torch.load(checkpoint, weights_only=True)
    trained = {name.removeprefix("dynamics."): value for name, value in content["state_dict"].items()}
    assert all(torch.equal(value, trained[name]) for name, value in loaded.dynamics.state_dict().items())
    assert loaded.lineage == content["lineage"] and loaded.lineage["split_seed"] == 0
    with pytest.raises(UserError, match="not a world model"):
        load_world_model(slots_run / "checkpoints" / "last.ckpt")


def test_an_ensemble_comes_back_from_its_checkpoint(ensemble_run):
    checkpoint = ensemble_run / "checkpoints" / "last.ckpt"
    dynamics = load_world_model(checkpoint).dynamics
    trained = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(value, trained[f"dynamics.{name}"]) for name, value in dynamics.state_dict().items())
    first, second = dynamics.predictor.members
    assert (first.rounds[0].receive.weight - second.rounds[0].receive.weight).abs().min() > 0
    record = json.loads((ensemble_run / "run.json").read_text())
    assert record["uncertainty"] == ["disagreement of 2 members"]
    clip = a_clip(2, dims=(first.token_dim, 4, 10))
    assert dynamics.rollout(dynamics.observe(clip), clip.actions_BTA).disagreement_BHS.min() > 0


def test_nothing_can_give_hints_when_planning(world_model_run, monkeypatch):
    build = loading.build_tokenizer

    def hinted(spec):
        tokenizer = build(spec)
        tokenizer.info = tokenizer.info._replace(hint_dim=2)
        return tokenizer

    monkeypatch.setattr(loading, "build_tokenizer", hinted)
    with pytest.raises(UserError, match="last.ckpt: its tokenizer .* label images"):
        load_world_model(world_model_run / "checkpoints" / "last.ckpt")


class Still(Predictor):
    """Adds a learned change of actions to the last tokens."""

    def __init__(self, token_dim: int):
        super().__init__()
        self.token_dim, self.proprio_dim, self.action_dim, self.history_blocks = token_dim, 0, 10, 1
        self.change = nn.Linear(10, token_dim)

    def forward(self, tokens_BTSD, proprio_BTP, actions_BTA, mask_BTS) -> Prediction:
        future = tokens_BTSD[:, -1:] + self.change(actions_BTA[:, -1:])[:, :, None]
        return Prediction(tokens_BTSD, future, proprio_BTP[:, -1:])


class EndToEnd(DynamicsTraining):
    """One token a frame, trained with its dynamics, from pixels: no token file, no fitted scales."""

    against_collapse = "the frame is drawn again"

    def __init__(self, dim: int = 8):
        super().__init__(lr=1e-3, weight_decay=0.0, warmup_steps=1)
        self.save_hyperparameters()
        self.tokenizer: Tokenizer = GlobalTokenizer(dim, channels=4, image_size=64)
        self.dynamics = PredictorDynamics(Still(dim))
        self.loss_weights = {"future": 1.0, "reconstruction": 1.0}

    def clip_of(self, batch: VideoBatch) -> Clip:
        pixels = float_frames(self.tokenizer, batch.pixels_BTYXC)
        return Clip(self.tokenizer.encode(pixels).slots_BTSD, batch.proprio_BTP, batch.actions_BTA)

    def loss_terms(self, batch: VideoBatch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        rollout, followed = rollout_clip(self.dynamics, self.clip_of(batch))
        drawn = self.tokenizer.loss_terms(float_frames(self.tokenizer, batch.pixels_BTYXC))
        return {"future": (rollout.tokens_BHSD - followed.tokens_BHSD).square().mean()} | drawn


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_model_that_is_trained_from_pixels_stands_beside(episodes_path, tmp_path):
    torch.manual_seed(0)
    model = EndToEnd()
    data = VideoClips(str(episodes_path), train_blocks=3, val_blocks=3, batch_size=4, val_clips=4)
    trainer = quiet_trainer(2, val_check_interval=1, default_root_dir=tmp_path)
    before = model.dynamics.predictor.change.weight.clone()
    trainer.fit(model, datamodule=data)
    assert not torch.equal(model.dynamics.predictor.change.weight, before)
    assert {"train/future", "train/reconstruction", "val/rollout_error@1"} <= set(trainer.callback_metrics)
    content = {"state_dict": model.state_dict(), "hyper_parameters": {"dim": 8, "_class_path": f"{__name__}.EndToEnd"}}
    model.on_save_checkpoint(content)
    assert content["lineage"] == data.lineage._asdict() and "tokenizer_fingerprint" not in content
