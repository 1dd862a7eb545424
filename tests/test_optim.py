"""The optimisers: who learns with Muon, and that two work as one."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import AdamW, Muon

from cjepa.optim import adamw_with_warmup_cosine, muon_with_warmup_cosine
from cjepa.world_models.predictors.rssm import GroupedLinear


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 2))


def train(model: nn.Module, optimiser: torch.optim.Optimizer, scheduler, steps: range) -> None:
    for step in steps:
        inputs = torch.randn(8, 20, generator=torch.Generator().manual_seed(step))
        model(inputs).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        scheduler.step()


def of(model: nn.Module):
    made = muon_with_warmup_cosine(model, 0.02, 0.003, 0.1, warmup_steps=2, total_steps=10)
    return made["optimizer"], made["lr_scheduler"]["scheduler"]


def test_who_learns_with_muon():
    model = small_model()
    groups = {group["name"]: group for group in of(model)[0].param_groups}
    assert {name: [tuple(p.shape) for p in group["params"]] for name, group in groups.items()} == {
        "muon": [(32, 20), (16, 32)],
        "decay": [(2, 16)],  # too narrow
        "no_decay": [(32,), (16,), (2,)],
    }
    first_of_two = 0.5
    rates = {name: group["lr"] for name, group in groups.items()}
    assert rates == pytest.approx({"muon": 0.02 * first_of_two, "decay": 0.0015, "no_decay": 0.0015})
    assert [groups[name]["weight_decay"] for name in ("muon", "decay", "no_decay")] == [0.1, 0.1, 0.0]


@pytest.mark.parametrize("groups", [2, 16])
def test_no_bias_decays_whatever_its_shape(groups):
    """A layer in groups has biases as large as a matrix that learns with Muon."""
    model = nn.Sequential(nn.Linear(20, 32), GroupedLinear(2, 16, groups))
    for made in (of(model)[0], adamw_with_warmup_cosine(model, 0.01, 0.1, 2, 10)["optimizer"]):
        found = {group["name"]: {id(p) for p in group["params"]} for group in made.param_groups}
        assert found["no_decay"] == {id(model[0].bias), id(model[1].bias)}
        assert id(model[1].weight) in found["decay"]


def test_a_step_is_that_of_muon_and_that_of_adamw():
    model = small_model()
    expected = copy.deepcopy(model)
    optimiser, scheduler = of(model)
    train(model, optimiser, scheduler, range(1))
    matrices = [expected[0].weight, expected[2].weight]
    vectors = [expected[0].bias, expected[2].bias, expected[4].bias]
    muon = Muon(matrices, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    groups = [{"params": [expected[4].weight], "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    expected(torch.randn(8, 20, generator=torch.Generator().manual_seed(0))).square().mean().backward()
    muon.step()
    AdamW(groups, lr=0.0015).step()
    torch.testing.assert_close(model.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_it_goes_on_from_its_state_as_if_it_had_not_stopped():
    whole, half = small_model(), small_model()
    train(whole, *of(whole), range(6))
    optimiser, scheduler = of(half)
    train(half, optimiser, scheduler, range(3))
    saved = copy.deepcopy([half.state_dict(), optimiser.state_dict(), scheduler.state_dict()])
    rest = small_model()
    optimiser, scheduler = of(rest)
    for part, state in zip((rest, optimiser, scheduler), saved, strict=True):
        part.load_state_dict(state)
    train(rest, optimiser, scheduler, range(3, 6))
    torch.testing.assert_close(rest.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_models_without_wide_matrices():
    model = nn.Linear(20, 2)
    optimiser, scheduler = of(model)
    train(model, optimiser, scheduler, range(1))
    assert [group["name"] for group in optimiser.param_groups] == ["decay", "no_decay"]
