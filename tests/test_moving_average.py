"""A slow copy of a model, by hand."""

import torch
from torch import nn

from cjepa.moving_average import frozen_copy, move_towards


def test_it_moves_by_hand():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    model[0].weight.data.fill_(2.0)
    slow = frozen_copy(model)
    model[0].weight.data.fill_(10.0)
    model[1].running_mean.fill_(4.0)
    model[1].num_batches_tracked.fill_(7)
    move_towards(slow, model, 0.75)
    assert slow[0].weight.item() == 0.75 * 2 + 0.25 * 10
    assert slow[1].running_mean.item() == 1.0 and slow[1].num_batches_tracked.item() == 7
    assert model[0].weight.item() == 10.0


def test_the_ends_of_the_momentum():
    model = nn.Linear(3, 2)
    slow = frozen_copy(model)
    before = slow.weight.clone()
    model.weight.data.add_(1.0)
    move_towards(slow, model, 1.0)
    assert torch.equal(slow.weight, before)
    move_towards(slow, model, 0.0)
    assert torch.equal(slow.weight, model.weight)


def test_it_takes_no_gradient():
    model = nn.Linear(3, 2)
    slow = frozen_copy(model)
    assert not any(p.requires_grad for p in slow.parameters()) and all(p.requires_grad for p in model.parameters())
    assert slow.weight.data_ptr() != model.weight.data_ptr()
