"""A world model of pixels: by hand, and through the product's commands."""

import json

import pytest
import torch

from cjepa.cli import main
from cjepa.errors import UserError
from cjepa.tokenizers.baselines.pixels import PixelTokenizer
from cjepa.types import Clip, VideoBatch
from cjepa.world_models.dynamics import rollout_clip
from cjepa.world_models.loading import load_world_model
from cjepa.world_models.pixels import PixelDynamics, PixelWorldModel
from tests.conftest import FEW_FRAMES, configs, fit
from tests.contracts import stirred
from tests.small_experiments import ONE_PAIR

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SIDE = 8


def model() -> PixelWorldModel:
    torch.manual_seed(0)
    return PixelWorldModel(PixelTokenizer(SIDE, 16), PixelDynamics(SIDE, action_dim=2, channels=8)).eval()


def batch(blocks: int = 4) -> VideoBatch:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, blocks, 16, 16, 3), dtype=torch.uint8, generator=generator)
    return VideoBatch(pixels, proprio_BTP=torch.zeros(3, blocks, 4), actions_BTA=torch.randn(3, blocks, 2))


def test_a_token_is_the_smaller_frame():
    """Of 4 x 4 pixels, whose red is 0 to 15 and whose blue is 1: means of 2 x 2."""
    frame = torch.stack([torch.arange(16.0).reshape(4, 4), torch.zeros(4, 4), torch.ones(4, 4)])
    tokenizer = PixelTokenizer(side=2, image_size=4)
    tokens = tokenizer.encode(frame[None, None]).slots_BTSD
    assert tokens.flatten().tolist() == [2.5, 4.5, 10.5, 12.5, 0, 0, 0, 0, 1, 1, 1, 1]
    frames, _ = tokenizer.decode(tokens)
    assert frames[0, 0, 0].tolist() == [[2.5, 2.5, 4.5, 4.5]] * 2 + [[10.5, 10.5, 12.5, 12.5]] * 2


def test_the_loss_by_hand(monkeypatch):
    """A network that brightens by 0.5 per block is fed its own frames."""
    one = model()
    monkeypatch.setattr(one.dynamics.network, "forward", lambda pixels, actions: torch.full_like(pixels, 0.5))
    frames = 2 * one.clip_of(batch()).tokens_BTSD - 1
    expected = [(frames[:, 0] + 0.5 * block - frames[:, block]).square().mean() for block in (1, 2, 3)]
    torch.testing.assert_close(one.loss_terms(batch(), torch.Generator())["pixels"], torch.stack(expected).mean())


def test_untrained_nothing_changes():
    clip = model().clip_of(batch())
    predicted, _ = rollout_clip(model().dynamics, clip)
    first = (2 * clip.tokens_BTSD[:, :1] - 1).expand(-1, 3, -1, -1)
    torch.testing.assert_close(predicted.tokens_BHSD, first)
    torch.testing.assert_close(model().dynamics.denormalise(predicted).tokens_BHSD[:, 0], clip.tokens_BTSD[:, 0])


def test_later_frames_are_targets_only_and_every_action_counts():
    dynamics, clip = stirred(model().dynamics), model().clip_of(batch())
    before, _ = rollout_clip(dynamics, clip)
    later = clip.tokens_BTSD.clone()
    later[:, 1:] = 0
    assert torch.equal(rollout_clip(dynamics, clip._replace(tokens_BTSD=later))[0].tokens_BHSD, before.tokens_BHSD)
    actions = clip.actions_BTA[:, :3].clone().requires_grad_()
    state = dynamics.observe(Clip(*(values[:, :1] for values in clip)))
    dynamics.rollout(state, actions).tokens_BHSD[:, -1].sum().backward()
    assert (actions.grad.abs().sum(dim=(0, 2)) > 0).all()


def test_every_weight_is_trained():
    one = model()
    stirred(one.dynamics)
    one.total(one.loss_terms(batch(), torch.Generator())).backward()
    assert [name for name, p in one.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_it_is_trained_and_planned_with(episodes_path, tmp_path):
    small = ["--model.init_args.tokenizer.init_args.side=8", "--model.init_args.dynamics.init_args.side=8"]
    small += ["--model.init_args.dynamics.init_args.channels=8", *FEW_FRAMES]
    run = fit(tmp_path / "run", episodes_path, *configs("pusht/pixels.yaml"), *small)
    loaded = load_world_model(run / "checkpoints" / "last.ckpt")
    assert isinstance(loaded.dynamics, PixelDynamics) and loaded.tokenizer.info.env_id == "cjepa/PushT-v0"
    assert bool(loaded.dynamics.action_scale.fitted)
    search = [f"--planner.init_args.{name}={value}" for name, value in {"num_samples": 4, "num_elites": 2}.items()]
    words = [*configs("pusht/plan.yaml", "pusht/plan_pixels.yaml"), *search, *ONE_PAIR, "--num_videos=0"]
    assert main(["plan", str(run), *words, f"--episodes={episodes_path}", f"--out={tmp_path / 'plan'}"]) == 0
    rows = {row["metric"]: row for row in json.loads((tmp_path / "plan" / "results.json").read_text())}
    assert rows["success"]["tokens"] == 1 and rows["success"]["token_dim"] == 3 * 8 * 8


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="side is 16, expected the tokenizer's side = 8"):
        PixelWorldModel(PixelTokenizer(8, 16), PixelDynamics(16))
    with pytest.raises(ValueError, match="image_size is 20, expected a multiple of side = 8"):
        PixelTokenizer(8, 20)
    with pytest.raises(ValueError, match="side is 12, expected a multiple of 8"):
        PixelDynamics(12)
    clips = type("Data", (), {"train_blocks": 1, "val_blocks": 6})
    with pytest.raises(UserError, match="action_dim is 2, but the data have 10; set it to 10"):
        model().check_data(torch.zeros(5, 4, 10), clips)
    with pytest.raises(UserError, match="train_blocks is 1, but a frame has to follow; set it to 2 or more"):
        model().check_data(torch.zeros(5, 4, 2), clips)
