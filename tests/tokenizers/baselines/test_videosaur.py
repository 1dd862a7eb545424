"""VideoSAUR: what it predicts, and that it can be trained and read again."""

import pytest
import torch
from torch import nn

from cjepa.tokenizers.baselines.initialisers import GaussianSlots, LearnedSlots
from cjepa.tokenizers.baselines.patches import PatchTokenizer
from cjepa.tokenizers.baselines.videosaur import VideoSAUR, temporal_similarity, temporal_similarity_loss
from cjepa.tokenizers.features import ConvFeatures
from cjepa.tokenizers.training import load_tokenizer
from tests.conftest import FEW_FRAMES, configs, fit
from tests.contracts import stirred
from tests.tokenizers.squares import video


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.rand(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def tokenizer(pixels) -> VideoSAUR:
    torch.manual_seed(0)
    tokenizer = stirred(VideoSAUR(ConvFeatures(16), LearnedSlots(3, 16), render_dim=16))
    tokenizer.prepare(pixels.flatten(0, 1))
    return tokenizer.eval()


def keys(*frames: list[tuple[float, float]]) -> torch.Tensor:
    """One clip of cells in a row whose keys are points of the plane."""
    return torch.tensor(frames)[None]


def test_similarity_over_time_by_hand():
    found = temporal_similarity(keys([(2.0, 0.0), (0.0, 1.0)], [(1.0, 0.0), (3.0, 4.0)]), temperature=0.5)
    right = torch.tensor([1.0, 0.6]).mul(2).softmax(dim=0)  # cosines of 1 and 3 / 5
    up = torch.tensor([0.0, 0.8]).mul(2).softmax(dim=0)
    torch.testing.assert_close(found, torch.stack([right, up])[None, None])


def test_what_points_the_other_way_is_not_alike_at_all():
    found = temporal_similarity(keys([(1.0, 0.0)] * 3, [(1.0, 0.0), (-1.0, 0.1), (0.0, 5.0)]), temperature=0.5)
    expected = torch.tensor([1.0, -torch.inf, 0.0]).mul(2).softmax(dim=0)
    torch.testing.assert_close(found[0, 0, 0], expected)
    assert found[0, 0, 0, 1] == 0


def test_a_cell_like_no_other_may_go_anywhere():
    found = temporal_similarity(keys([(1.0, 0.0)] * 2, [(-1.0, 0.0), (-1.0, 1.0)]), temperature=0.5)
    assert found.eq(0.5).all()


def test_each_frame_looks_for_its_cells_in_the_next():
    """Three cells with keys of their own move on by one cell a frame."""
    moving = torch.stack([torch.eye(3).roll(t, dims=0) for t in range(3)])[None]
    found = temporal_similarity(moving, temperature=0.05)
    assert found.argmax(dim=-1)[0].tolist() == [[1, 2, 0]] * 2


def test_the_loss_is_least_for_what_is_true():
    moving = torch.stack([torch.eye(3).roll(t, dims=0) for t in range(3)])[None]
    target = temporal_similarity(moving, temperature=0.25)
    perfect = torch.cat([target.log(), torch.zeros(1, 1, 3, 3)], dim=1)
    entropy = -(target * target.log()).sum(dim=-1).mean()
    torch.testing.assert_close(temporal_similarity_loss(perfect, moving, 0.25), entropy)
    others = [torch.zeros_like(perfect), perfect.roll(1, dims=-1), -perfect]
    assert all(temporal_similarity_loss(other, moving, 0.25) > entropy + 0.01 for other in others)
    last = perfect.clone()
    last[:, -1] = 100.0  # of what nothing is known
    torch.testing.assert_close(temporal_similarity_loss(last, moving, 0.25), entropy)


def test_targets_carry_no_gradient():
    moving = torch.rand(1, 3, 4, 2, requires_grad=True)
    assert not temporal_similarity(moving, 0.25).requires_grad


@torch.no_grad()
def test_losses_by_hand(tokenizer, pixels):
    """With rendered features and logits of nothing but zeros."""
    tokenizer.mixer.render = nn.Sequential(tokenizer.mixer.render, nn.Linear(16 + 256, 16 + 256))
    for parameter in tokenizer.mixer.render[1].parameters():
        parameter.zero_()
    terms = tokenizer.loss_terms(pixels)
    features = tokenizer.features(pixels.flatten(0, 1))
    torch.testing.assert_close(terms["reconstruction"], features.square().mean(), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(terms["temporal_similarity"], torch.tensor(256.0).log())


@torch.no_grad()
def test_masks_are_the_mixing_weights(tokenizer, pixels):
    tokens = tokenizer.encode(pixels)
    weights = tokenizer.mixer.mixing_weights(tokens.slots_BTSD[:, 1])
    centre = (
        tokens.masks_BTSYX[:, 1].unflatten(-1, (16, 4)).unflatten(-3, (16, 4))[:, :, :, 1:3, :, 1:3].mean(dim=(3, 5))
    )
    torch.testing.assert_close(centre.flatten(2), weights, atol=0.05, rtol=0)
    torch.testing.assert_close(tokens.masks_BTSYX.sum(dim=2), torch.ones(2, 3, 64, 64))


def test_training_makes_both_losses_smaller():
    clip = video({"red": (8, 8), "green": (40, 20)}, {"red": (12, 8), "green": (40, 28)})
    torch.manual_seed(0)
    tokenizer = VideoSAUR(ConvFeatures(16), GaussianSlots(3, 16), allocation_blocks=1, render_dim=32)
    tokenizer.prepare(clip.flatten(0, 1))
    optimizer = torch.optim.Adam(tokenizer.parameters(), lr=1e-2)
    seen = []
    for _ in range(40):
        terms = tokenizer.loss_terms(clip)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        seen.append([float(term.detach()) for term in terms.values()])
    first, last = torch.tensor(seen[0]), torch.tensor(seen[-5:]).mean(dim=0)
    assert (last < 0.9 * first).all(), (first, last)


@pytest.mark.slow
def test_a_checkpoint_has_the_digest_of_a_backbone_for_its_weights(tmp_path, episodes_path, pixels, tiny_dinov2):
    """The weights are read from where they came from, and patches of their features can be had."""
    words = configs("pusht/videosaur.yaml", "pusht/videosaur_dino.yaml")
    features = "--model.init_args.tokenizer.init_args.features.init_args"
    small = [f"{features}.source={tiny_dinov2}", f"{features}.image_size=56"]
    checkpoint = fit(tmp_path / "run", episodes_path, *words, *small, *FEW_FRAMES) / "checkpoints" / "last.ckpt"
    patches = PatchTokenizer(load_tokenizer(checkpoint), 2).eval()
    assert patches.encode(pixels).slots_BTSD.shape == (2, 3, 4, 3 * 32)
    names = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert [name for name in names if ".backbone." in name] == ["tokenizer.backbone.digest"]
