"""The loss of DreamerV3's world model, by hand."""

import pytest
import torch

from cjepa.types import Clip
from cjepa.world_models.dreamer import DreamerWorldModel
from cjepa.world_models.predictors.rssm import Inferred, ObjectRSSM
from tests.contracts import stirred
from tests.world_models.small import a_clip, fit

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SIZES = {"dim": 16, "mlp_dim": 8, "coder_dim": 12, "latents": 5, "classes": 3, "groups": 4}


def model(**changes) -> DreamerWorldModel:
    torch.manual_seed(0)
    return DreamerWorldModel(stirred(ObjectRSSM(token_dim=6, **SIZES)), **changes)


def terms_of(monkeypatch, prior, posterior, variables: int, **changes):
    """Terms, and both log-probabilities, where the model infers zeros and these distributions of an entity."""
    one = model(**changes)
    logs = [
        torch.tensor(values).log().expand(1, 1, 1, variables, 2).clone().requires_grad_()
        for values in (prior, posterior)
    ]
    found = Inferred(torch.zeros(1, 2, 1, 6), torch.zeros(1, 2, 4), *logs)
    monkeypatch.setattr(one.dynamics.predictor, "infer", lambda *_: (found, None))
    clip = Clip(torch.full((1, 2, 1, 6), 2.0), torch.ones(1, 2, 4), torch.zeros(1, 2, 10))
    return one.loss_terms(clip, torch.Generator()), logs


def test_the_terms_by_hand(monkeypatch):
    """0.9 ln(0.9 / 0.5) + 0.1 ln(0.1 / 0.5) = 0.3681 nats for each of four variables."""
    terms, _ = terms_of(monkeypatch, [0.5, 0.5], [0.9, 0.1], variables=4)
    assert {name: round(value.item(), 3) for name, value in terms.items()} == {
        "tokens": 6 * 4.0,
        "proprio": 4.0,
        "dynamics": 1.472,
        "representation": 1.472,
    }


def test_each_divergence_trains_one_side(monkeypatch):
    for name, trained in (("dynamics", 0), ("representation", 1)):
        terms, logs = terms_of(monkeypatch, [0.5, 0.5], [0.9, 0.1], variables=4)
        gradients = torch.autograd.grad(terms[name], logs, allow_unused=True)
        assert gradients[trained].abs().sum() > 0 and gradients[1 - trained] is None


def test_the_first_nats_are_free(monkeypatch):
    terms, logs = terms_of(monkeypatch, [0.5, 0.5], [0.9, 0.1], variables=2)  # 0.74 nats
    assert terms["dynamics"] == 1.0 and torch.autograd.grad(terms["dynamics"], logs[0])[0].abs().sum() == 0
    terms, _ = terms_of(monkeypatch, [0.5, 0.5], [0.9, 0.1], variables=2, free_nats=0.5)
    assert terms["dynamics"].item() == pytest.approx(0.736, abs=1e-3)


def test_every_weight_is_trained_and_the_draws_depend_on_the_generator():
    one, clip = model(free_nats=0.0), a_clip(4)
    terms = one.loss_terms(clip, torch.Generator().manual_seed(0))
    one.total(terms).backward()
    assert [name for name, p in one.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    again, other = (one.loss_terms(clip, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert torch.equal(again["tokens"], terms["tokens"]) and not torch.equal(other["tokens"], terms["tokens"])


def test_a_clip_is_learned():
    """36 tokens, 8 variables of 4 classes each: far better than predicting the mean."""
    torch.manual_seed(0)
    wider = SIZES | {"mlp_dim": 16, "coder_dim": 32, "latents": 8, "classes": 4}
    one, clip = DreamerWorldModel(ObjectRSSM(token_dim=6, **wider)), a_clip(3, batch=4)
    optimiser = torch.optim.Adam(one.parameters(), lr=1e-2)
    for step in range(30):
        terms = one.loss_terms(clip, torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        one.total(terms).backward()
        optimiser.step()
    assert terms["tokens"] < 0.6 * clip.tokens_BTSD.square().sum(dim=(2, 3)).mean()


def test_a_short_training(tokens_path):
    one = model()
    metrics = fit(tokens_path, one).callback_metrics
    assert {"train/dynamics", "train/representation", "val/loss", "val/rollout_error@7"} <= set(metrics)
    assert one.describe_objective()["free_nats"] == 1.0 and one.tokenizer_fingerprint == "0123456789abcdef"
