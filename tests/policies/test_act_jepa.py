"""What defines ACT-JEPA: a chunk until the goal, latents of later frames by a slow copy, and who gets a gradient."""

import pytest
import torch
from lightning import LightningModule

from cjepa.policies.act_jepa import ActJepaPolicy, ActJepaTraining, Chunk
from cjepa.types import Clip
from tests.contracts import stirred
from tests.policies.test_training import fit

SIZES = {"token_dim": 6, "proprio_dim": 4, "action_dim": 10, "chunk_blocks": 3, "dim": 16, "mlp_dim": 32}
SIZES |= {"encoder_depth": 1, "predictor_depth": 2, "num_heads": 2}


def make(**changes) -> ActJepaPolicy:
    torch.manual_seed(0)
    return stirred(ActJepaPolicy(**SIZES | changes)).eval()


def training(**changes) -> ActJepaTraining:
    return ActJepaTraining(make(), goal_blocks=3, **changes)


def seen(slots: int = 3):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) for shape in [(2, slots, 6), (2, 4), (2, slots, 6)]]


def a_clip(batch: int = 12) -> Clip:
    generator = torch.Generator().manual_seed(2)
    return Clip(*(torch.randn(batch, 4, *shape, generator=generator) for shape in [(3, 6), (4,), (10,)]))


def test_the_order_of_objects_does_not_matter():
    policy, (tokens, proprio, goal) = make(), seen(4)
    order = torch.tensor([2, 0, 3, 1])
    expected, found = policy.chunk(tokens, proprio, goal), policy.chunk(tokens[:, order], proprio, goal[:, order])
    torch.testing.assert_close(found.actions_BKA, expected.actions_BKA)
    torch.testing.assert_close(found.latents_BKEW[:, :, :4], expected.latents_BKEW[:, :, :4][:, :, order])
    assert (policy(tokens, proprio, goal[:, order]) - policy(tokens, proprio, goal)).abs().max() > 1e-3


@pytest.mark.parametrize("part", range(3))
def test_all_that_is_seen_counts(part):
    policy, given = make(), seen()
    other = [values + (index == part) for index, values in enumerate(given)]
    chunk, changed = policy.chunk(*given), policy.chunk(*other)
    for before, after in zip(chunk, changed, strict=True):
        assert ((before - after).abs().amax(dim=(0, *range(2, before.dim()))) > 1e-3).all()
    assert torch.equal(policy(*given), chunk.actions_BKA[:, 0])


def test_untrained_it_acts_as_was_done_on_average():
    policy, clips = ActJepaPolicy(**SIZES), a_clip()
    policy.fit_scales(clips)
    torch.testing.assert_close(policy.act(*seen()), clips.actions_BTA.mean(dim=(0, 1)).expand(2, 10))


def test_proprioception_may_be_left_out():
    policy, (tokens, proprio, goal) = make(proprio_dim=0), seen()
    torch.testing.assert_close(policy.act(tokens, proprio, goal), policy.act(tokens, proprio + 1, goal))
    assert policy.chunk(tokens, proprio[:, :0], goal).latents_BKEW.shape == (2, 3, 3, 16)


def test_the_loss_by_hand(monkeypatch):
    """Of zeros; in block k actions are k + 1 and latents 10 (k + 1), and only blocks before the goal count."""
    one, clip = training(), a_clip()
    k_K = torch.arange(1.0, 4.0)
    zeros = Chunk(torch.zeros(12, 3, 10), torch.zeros(12, 3, 4, 16))
    monkeypatch.setattr(one.policy, "chunk", lambda *_: zeros)
    monkeypatch.setattr(one, "targets", lambda _: -10 * k_K[:, None, None].expand(12, 3, 4, 16))
    actions = torch.cat([k_K, torch.tensor([99.0])])[:, None].expand(12, 4, 10)
    terms = one.loss_terms(clip._replace(actions_BTA=actions), torch.Generator().manual_seed(0))
    ahead = torch.randint(1, 4, (12,), generator=torch.Generator().manual_seed(0)).tolist()
    assert set(ahead) == {1, 2, 3}
    expected = sum(sum(range(1, count + 1)) for count in ahead) / sum(ahead)
    assert terms["action"].item() == pytest.approx(expected)
    assert terms["latent"].item() == pytest.approx(10 * expected)


def test_actions_know_the_first_frame_and_the_goal_alone(monkeypatch):
    """Frames between them are targets of latents, and frames behind the goal are neither."""
    one, clip = training(), a_clip()
    monkeypatch.setattr(one, "drawn_goals", lambda batch, generator: torch.full((12,), 2))
    before = one.loss_terms(clip, torch.Generator())
    for block, changes in ((1, ["latent"]), (3, [])):
        tokens = clip.tokens_BTSD.clone()
        tokens[:, block] += 1
        after = one.loss_terms(clip._replace(tokens_BTSD=tokens), torch.Generator())
        assert [name for name in before if not torch.equal(before[name], after[name])] == changes


def test_every_weight_is_trained_but_those_of_the_slow_copy():
    one = training()
    terms = one.loss_terms(a_clip(), torch.Generator().manual_seed(0))
    one.total(terms).backward()
    trained = [name for name, p in one.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert trained == [name for name, _ in one.named_parameters() if not name.startswith("target_encoder.")]


def test_the_slow_copy_follows_every_step(monkeypatch):
    one = training(momentum=0.75)
    copy, weights = one.target_encoder.norm.weight, one.policy.encoder.norm.weight
    torch.testing.assert_close(copy, weights)
    monkeypatch.setattr(LightningModule, "optimizer_step", lambda *_: weights.data.add_(1))
    one.optimizer_step()
    torch.testing.assert_close(copy, weights - 0.75)


def test_a_short_training_learns(tokens_path):
    torch.manual_seed(0)
    one = ActJepaTraining(ActJepaPolicy(**SIZES), goal_blocks=3, lr=1e-2, warmup_steps=0)
    metrics = fit(tokens_path, one, max_steps=30, batch_size=64, val_clips=64)
    assert metrics["val/action_error@1"] < 0.9  # that of the mean action is 1
    assert {"train/action", "train/latent"} <= set(metrics) and "moving average" in str(one.describe_objective())


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(ValueError, match="chunk_blocks is 3, expected at most goal_blocks = 2"):
        ActJepaTraining(make(), goal_blocks=2)
    with pytest.raises(ValueError, match="dim is 15, expected a multiple of num_heads = 2"):
        make(dim=15)
