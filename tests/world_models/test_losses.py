import torch

from cjepa.types import Clip
from cjepa.world_models.losses import loss_terms
from cjepa.world_models.predictors.base import Prediction


def a_clip_and_its_mask() -> tuple[Clip, torch.Tensor]:
    """Three blocks of two objects; of the history of two, object 1 of the first sample is hidden at block 1."""
    mask_BTS = torch.zeros(2, 2, 2, dtype=torch.bool)
    mask_BTS[0, 1, 1] = True
    tokens = torch.zeros(2, 3, 2, 2)
    tokens[0, 1, 1] = torch.tensor([1.0, 3.0])  # hidden: mean of squares 5
    tokens[0, 0, 0] = 100.0  # visible history costs nothing
    tokens[1, 1, 1] = 100.0
    tokens[0, 2] = torch.tensor([[2.0, 0.0], [0.0, 0.0]])  # next block: (4 + 4) / 8
    tokens[1, 2] = torch.tensor([[0.0, 0.0], [0.0, 2.0]])
    proprio = torch.zeros(2, 3, 2)
    proprio[:, 2] = torch.tensor([[1.0, 2.0], [0.0, 1.0]])  # (1 + 4 + 0 + 1) / 4
    return Clip(tokens, proprio, torch.zeros(2, 3, 1)), mask_BTS


def zeros(proprio_dim: int = 2, future: int = 1) -> Prediction:
    return Prediction(torch.zeros(2, 2, 2, 2), torch.zeros(2, future, 2, 2), torch.zeros(2, future, proprio_dim))


def test_terms_by_hand():
    terms = loss_terms(zeros(), *a_clip_and_its_mask())
    assert {name: term.item() for name, term in terms.items()} == {"masked": 5.0, "future": 1.0, "proprio": 1.5}


def test_several_predicted_blocks():
    clip, mask_BTS = a_clip_and_its_mask()
    longer = Clip(*(torch.cat([values, torch.zeros_like(values[:, :1])], dim=1) for values in clip))
    terms = loss_terms(zeros(future=2), longer, mask_BTS)
    assert {name: term.item() for name, term in terms.items()} == {"masked": 5.0, "future": 0.5, "proprio": 0.75}


def test_nothing_hidden_costs_nothing_and_has_a_gradient():
    clip, mask_BTS = a_clip_and_its_mask()
    prediction = Prediction(*(values.requires_grad_() for values in zeros()))
    terms = loss_terms(prediction, clip, torch.zeros_like(mask_BTS))
    assert terms["masked"].item() == 0.0
    sum(terms.values()).backward()
    assert not prediction.history_BTSD.grad.any() and prediction.future_BFSD.grad.any()


def test_a_model_without_proprioception_has_no_such_term():
    assert set(loss_terms(zeros(proprio_dim=0), *a_clip_and_its_mask())) == {"future", "masked"}
