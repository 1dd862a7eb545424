import pytest
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


def test_absolute_errors_by_hand():
    terms = loss_terms(zeros(), *a_clip_and_its_mask(), norm="l1")
    assert {name: term.item() for name, term in terms.items()} == {"masked": 2.0, "future": 0.5, "proprio": 1.0}


def test_falling_weights_by_hand():
    """Blocks of errors 1 and 0; the weights 4/3 and 2/3 are 1 on average."""
    clip, mask_BTS = a_clip_and_its_mask()
    longer = Clip(*(torch.cat([values, torch.zeros_like(values[:, :1])], dim=1) for values in clip))
    terms = loss_terms(zeros(future=2), longer, mask_BTS, future_decay=0.5)
    assert terms["future"].item() == pytest.approx(4 / 3 / 2) and terms["proprio"].item() == pytest.approx(1.5 * 4 / 6)


def test_objects_in_another_order_cost_nothing_when_matched():
    tokens = torch.randn(3, 4, 5, 2, generator=torch.Generator().manual_seed(0))
    mask_BTS = torch.zeros(3, 2, 5, dtype=torch.bool)
    mask_BTS[:, 1, 1:4] = True
    history, future = tokens[:, :2].clone(), tokens[:, 2:].clone()
    history[:, 1, 1:4] = history[:, 1, [2, 3, 1]]
    future[:, 0], future[:, 1] = future[:, 0, [4, 0, 1, 2, 3]], future[:, 1, [1, 0, 2, 4, 3]]
    clip = Clip(tokens, torch.zeros(3, 4, 0), torch.zeros(3, 4, 0))
    prediction = Prediction(history, future, torch.zeros(3, 2, 0))
    matched, by_index = (loss_terms(prediction, clip, mask_BTS, matching=name) for name in ("hungarian", "index"))
    assert matched == {"future": 0.0, "masked": 0.0}
    assert by_index["future"] > 0.1 and by_index["masked"] > 0.1


def test_hidden_objects_are_matched_with_hidden_ones():
    """Object 0, visible, would be the better target of object 1."""
    tokens = torch.zeros(1, 3, 3, 1)
    tokens[0, 1, :, 0] = torch.tensor([5.0, 1.0, 2.0])
    mask_BTS = torch.zeros(1, 2, 3, dtype=torch.bool)
    mask_BTS[0, 1, 1:] = True
    history = torch.zeros(1, 2, 3, 1)
    history[0, 1, 1:, 0] = torch.tensor([5.0, 1.0])  # 1 -> 2 and 2 -> 1: errors 3 and 0
    clip = Clip(tokens, torch.zeros(1, 3, 0), torch.zeros(1, 3, 0))
    prediction = Prediction(history, torch.zeros(1, 1, 3, 1), torch.zeros(1, 1, 0))
    assert loss_terms(prediction, clip, mask_BTS, matching="hungarian")["masked"].item() == (9 + 0) / 2


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_matching_changes_nothing_where_the_order_is_right(norm):
    clip, mask_BTS = a_clip_and_its_mask()
    prediction = Prediction(clip.tokens_BTSD[:, :2] + 0.1, clip.tokens_BTSD[:, 2:] + 0.1, clip.proprio_BTP[:, 2:])
    matched, by_index = (loss_terms(prediction, clip, mask_BTS, 1.0, norm, name) for name in ("hungarian", "index"))
    torch.testing.assert_close(matched, by_index)
