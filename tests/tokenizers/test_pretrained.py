"""A trained encoder where others take its features: patches, slots, a run of its own."""

from types import SimpleNamespace

import pytest
import torch
import yaml

from cjepa.data.video_clips import VideoClips
from cjepa.errors import UserError
from cjepa.tokenizers import pretrained
from cjepa.tokenizers.baselines.global_token import GlobalTokenizer
from cjepa.tokenizers.baselines.initialisers import GaussianSlots
from cjepa.tokenizers.baselines.patches import PatchTokenizer
from cjepa.tokenizers.baselines.videosaur import VideoSAUR
from cjepa.tokenizers.jepa.ijepa import IJepa
from cjepa.tokenizers.pretrained import PretrainedFeatures
from cjepa.tokenizers.training import TokenizerTraining, lineage_of_checkpoint
from tests.conftest import EXPERIMENTS
from tests.trainers import quiet_trainer


def trained() -> IJepa:
    torch.manual_seed(0)
    return IJepa(dim=16, depth=1, num_heads=2, predictor_width=8, predictor_depth=1, predictor_heads=2).eval()


def frames() -> torch.Tensor:
    return torch.rand(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def features(monkeypatch) -> PretrainedFeatures:
    monkeypatch.setattr(pretrained, "load_tokenizer", {"runs/ijepa": trained()}.__getitem__)
    content = yaml.safe_load((EXPERIMENTS / "pusht" / "videosaur_ijepa.yaml").read_text())
    named = content["model"]["init_args"]["tokenizer"]["init_args"]["features"]
    assert named["class_path"] == f"{PretrainedFeatures.__module__}.{PretrainedFeatures.__qualname__}"
    return PretrainedFeatures(**named["init_args"])


def test_slots_on_its_features(features):
    slots = VideoSAUR(features, GaussianSlots(2, slot_dim=8))
    sum(slots.loss_terms(frames()).values()).backward()
    assert slots.feature_shape == (16, 8) and slots.image_size == 64
    assert all(parameter.grad is None for parameter in features.parameters())
    torch.testing.assert_close(slots.features(frames()[:, 0]), trained().features(frames()[:, 0]))


@torch.no_grad()
def test_patches_of_its_features():
    tokens = PatchTokenizer(trained(), grid=4).encode(frames())
    own = trained().encode(frames()).slots_BTSD.unflatten(2, (4, 2, 4, 2))
    assert tokens.slots_BTSD.shape == (2, 3, 16, 48)
    torch.testing.assert_close(tokens.slots_BTSD[..., :16], own.mean(dim=(3, 5)).flatten(2, 3))


def test_a_tokenizer_without_a_grid_is_refused(monkeypatch):
    monkeypatch.setattr(pretrained, "load_tokenizer", lambda source: GlobalTokenizer(dim=4, channels=2))
    with pytest.raises(UserError, match="^features: runs/none is a GlobalTokenizer, which has no grid of features"):
        PretrainedFeatures("runs/none")


def slots_on(source, episodes, split_seed: int) -> tuple[TokenizerTraining, VideoClips]:
    slots = VideoSAUR(PretrainedFeatures(str(source)), GaussianSlots(2, slot_dim=8))
    data = VideoClips(str(episodes), train_blocks=3, batch_size=4, split_seed=split_seed)
    data.setup("fit")
    return TokenizerTraining(slots, [], {"reconstruction": 1.0}), data


def test_no_episode_that_the_encoder_learned_from_is_held_out(slots_run, episodes_path):
    module, data = slots_on(slots_run, episodes_path, 1)
    with pytest.raises(UserError, match=r"^features: .* was trained on episode \d+ of .*; set .*split_seed to 0$"):
        quiet_trainer().fit(module, datamodule=data)
    module, data = slots_on(slots_run, episodes_path, 0)
    module.tokenizer.backbone.check_data(data.file, data.splits)
    elsewhere = SimpleNamespace(attributes={"env_id": "cjepa/Collide-v0"}, path="collide.h5")
    with pytest.raises(UserError, match="collide.h5: frames of cjepa/Collide-v0, but this SlotTokenizer was trained"):
        module.tokenizer.backbone.check_data(elsewhere, data.splits)


def test_checkpoints_say_what_a_tokenizer_learned_from(slots_run, episodes_path, tmp_path):
    _, data = slots_on(slots_run, episodes_path, 0)
    checkpoint = slots_run / "checkpoints" / "last.ckpt"
    assert lineage_of_checkpoint(checkpoint) == data.lineage._asdict()
    content = torch.load(checkpoint, weights_only=True)
    del content["lineage"]
    torch.save(content, tmp_path / "of-0.6.0.ckpt")
    assert lineage_of_checkpoint(tmp_path / "of-0.6.0.ckpt") == data.lineage._asdict() | {"identities": []}
    del content["callbacks"]
    torch.save(content, tmp_path / "older.ckpt")
    assert lineage_of_checkpoint(tmp_path / "older.ckpt") == {}
