"""What every predictor promises, whatever its options."""

import re

import pytest
import torch

from cjepa.errors import UserError
from cjepa.world_models.masks import Mask, split_mask
from cjepa.world_models.predictors.base import Predictor
from cjepa.world_models.predictors.causal_transformer import CausalTransformer
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from tests.contracts import arguments_of, concrete_subclasses
from tests.world_models.predictors.small import OPTIONS, A, B, D, P, S, T, inputs, make

PREDICTORS = [(cls, {}) for cls in concrete_subclasses("cjepa.world_models", Predictor)]
PREDICTORS += [(EntityTransformer, changes) for changes in OPTIONS.values()]
PREDICTORS += [(CausalTransformer, OPTIONS["concatenated"]), (CausalTransformer, OPTIONS["no-anchor"])]


@pytest.fixture(params=PREDICTORS, ids=lambda given: "-".join([given[0].__name__, *given[1]]))
def predictor(request):
    cls, changes = request.param
    return make(cls, **changes)


def test_contract_sizes_are_known(predictor):
    sizes = (predictor.token_dim, predictor.proprio_dim, predictor.action_dim, predictor.history_blocks)
    assert sizes == (D, P, A, T)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (tuple, " gives a tuple, expected a Prediction"),
        (lambda made: None, " gives a NoneType, expected a Prediction"),
        (lambda made: made._replace(history_BTSD=None), ": history_BTSD gives a NoneType, expected shape "),
        (lambda made: made._replace(future_BFSD=made.future_BFSD[:, 0]), f": future_BFSD gives shape {(B, S, D)}"),
        (
            lambda made: made._replace(future_BFSD=made.future_BFSD[:, :0]),
            f": future_BFSD gives shape {(B, 0, S, D)}",
        ),
        (lambda made: made._replace(proprio_BFP=made.proprio_BFP[:, 0]), f": proprio_BFP gives shape {(B, P)}"),
    ],
)
def test_what_a_predictor_gives_is_looked_at(change, said):
    class Own(EntityTransformer):
        def forward(self, *history):
            return change(super().forward(*history))

    with pytest.raises(UserError, match=f"^Own.forward{re.escape(said)}"):
        make(Own).unroll(*inputs())


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_contract_shapes(predictor, blocks):
    prediction = predictor(*inputs(blocks))
    future = prediction.future_BFSD.shape[1]
    assert prediction.history_BTSD.shape == (B, blocks, S, D)
    assert prediction.future_BFSD.shape == (B, future, S, D) and future >= 1
    assert prediction.proprio_BFP.shape == (B, future, P)
    assert all(torch.isfinite(values).all() for values in prediction)


@pytest.mark.parametrize("slots", [1, 2, 7])
def test_contract_any_number_of_objects(predictor, slots):
    """Or the one that it says."""
    if predictor.num_tokens is not None:
        with pytest.raises(UserError, match=f"for {S} tokens a block, but there are {slots};"):
            predictor(*inputs(slots=slots))
        return
    future = predictor(*inputs(slots=slots)).future_BFSD
    assert future.shape == (B, future.shape[1], slots, D) and torch.isfinite(future).all()


def test_contract_what_is_hidden_is_never_read(predictor):
    tokens, proprio, actions, mask = inputs()
    mask[0, 1:, 2] = True
    mask[1, 1:] = True
    mask[2, 2, 0] = True
    expected = predictor(tokens, proprio, actions, mask)
    for value in (1e3, float("nan")):
        found = predictor(torch.where(mask[..., None], value, tokens), proprio, actions, mask)
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def test_contract_whatever_a_mask_hides_is_never_read(predictor):
    tokens, proprio, actions, _ = inputs()
    actions = torch.cat([actions, actions[:, :2]], dim=1)
    for mask in concrete_subclasses("cjepa.world_models", Mask):
        for seed in range(3):
            mask_BTE = mask(2, hide_proprio=0.5).sample(tokens, torch.Generator().manual_seed(seed))
            hidden_BTS, hidden_BT1 = split_mask(mask_BTE, S)
            expected = predictor.unroll(tokens, proprio, actions, mask_BTE)
            unseen = torch.where(hidden_BTS[..., None], torch.nan, tokens), torch.where(hidden_BT1, torch.nan, proprio)
            found = predictor.unroll(*unseen, actions, mask_BTE)
            assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True)), mask


def test_contract_hidden_proprioception_is_never_read(predictor):
    tokens, proprio, actions, mask = inputs()
    hidden = torch.zeros(B, T, 1, dtype=torch.bool)
    hidden[0, 1:] = True
    mask[1, 1:, 0] = True
    actions = torch.cat([actions, actions], dim=1)
    mask_BTE = torch.cat([mask, hidden], dim=2)
    expected = predictor.unroll(tokens, proprio, actions, mask_BTE)
    found = predictor.unroll(tokens, torch.where(hidden, torch.nan, proprio), actions, mask_BTE)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    open_proprio = predictor.unroll(tokens, proprio, actions, mask)
    for hiding, shown in zip(expected, open_proprio, strict=True):
        assert (hiding[0] - shown[0]).abs().max() > 1e-4  # it matters
        torch.testing.assert_close(hiding[1:], shown[1:])  # and only where it is hidden


def test_contract_what_is_visible_is_read(predictor):
    tokens, proprio, actions, mask = inputs()
    expected = predictor(tokens, proprio, actions, mask).future_BFSD
    for block in range(T):
        changed = tokens.clone()
        changed[:, block, 1] += 1
        found = predictor(changed, proprio, actions, mask).future_BFSD
        assert (found[:, 0, 0] - expected[:, 0, 0]).abs().max() > 1e-4  # another object's future


def test_contract_hiding_matters(predictor):
    tokens, proprio, actions, mask = inputs()
    hidden = mask.clone()
    hidden[:, 1:, 1] = True
    open_next, hidden_next = (predictor(tokens, proprio, actions, m).future_BFSD[:, 0, 0] for m in (mask, hidden))
    assert (open_next - hidden_next).abs().max() > 1e-4


def test_contract_the_next_block_depends_on_every_action(predictor):
    tokens, proprio, actions, mask = inputs()
    expected = predictor(tokens, proprio, actions, mask)
    for block in range(T):
        changed = actions.clone()
        changed[:, block] += 1
        found = predictor(tokens, proprio, changed, mask)
        assert all((f - e).abs().max() > 1e-4 for f, e in zip(found[1:], expected[1:], strict=True))


def test_contract_several_blocks(predictor):
    tokens, proprio, actions, mask = inputs()
    mask[:, 1:, 2] = True
    later = torch.randn(B, 2, A, generator=torch.Generator().manual_seed(5))
    prediction = predictor.unroll(tokens, proprio, torch.cat([actions, later], dim=1), mask)
    assert prediction.future_BFSD.shape == (B, 3, S, D) and prediction.proprio_BFP.shape == (B, 3, P)
    one = predictor.unroll(tokens, proprio, actions, mask)
    torch.testing.assert_close(prediction.future_BFSD[:, :1], one.future_BFSD)
    torch.testing.assert_close(one.future_BFSD[:, 0], predictor(tokens, proprio, actions, mask).future_BFSD[:, 0])
    for block in range(2):
        changed = later.clone()
        changed[:, block] += 1
        found = predictor.unroll(tokens, proprio, torch.cat([actions, changed], dim=1), mask).future_BFSD
        assert torch.equal(found[:, : block + 1], prediction.future_BFSD[:, : block + 1])
        assert not torch.equal(found[:, block + 1], prediction.future_BFSD[:, block + 1])
    hidden = torch.where(mask[..., None], torch.nan, tokens)
    found = predictor.unroll(hidden, proprio, torch.cat([actions, later], dim=1), mask)
    assert torch.equal(found.future_BFSD, prediction.future_BFSD)


def test_contract_samples_do_not_mix(predictor):
    tokens, proprio, actions, mask = inputs()
    mask[1, 1:, 0] = True
    whole = predictor(tokens, proprio, actions, mask)
    for row in range(B):
        alone = predictor(*(values[row : row + 1] for values in (tokens, proprio, actions, mask)))
        for ours, theirs in zip(alone, whole, strict=True):
            torch.testing.assert_close(ours[0], theirs[row])


def test_contract_inputs_are_left_alone(predictor):
    given = inputs()
    given[3][:, 1, 0] = True
    copies = [values.clone() for values in given]
    predictor(*given)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(given, copies, strict=True))


def test_contract_everything_is_trained(predictor):
    tokens, proprio, actions, mask = inputs()
    mask[:, 1:, 0] = True
    sum(values.square().sum() for values in predictor(tokens, proprio, actions, mask)).backward()
    unused = [name for name, p in predictor.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert unused == []


@pytest.mark.parametrize("widths", [(0, A), (P, 0), (0, 0)])
@pytest.mark.parametrize("cls", concrete_subclasses("cjepa.world_models", Predictor), ids=lambda cls: cls.__name__)
def test_contract_entities_may_be_missing(cls, widths):
    predictor = make(cls, proprio_dim=widths[0], action_dim=widths[1])
    tokens, proprio, actions, mask = inputs()
    mask[:, 1:, 0] = True
    prediction = predictor(tokens, proprio[..., : widths[0]], actions[..., : widths[1]], mask)
    assert prediction.history_BTSD.shape == (B, T, S, D) and prediction.proprio_BFP.shape[2] == widths[0]
    assert torch.isfinite(prediction.future_BFSD).all()
    sum(values.square().sum() for values in prediction).backward()
    assert [name for name, p in predictor.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("cls", concrete_subclasses("cjepa.world_models", Predictor), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize(("name", "value"), [("token_dim", 0), ("history_blocks", 0), ("dim", -1), ("action_dim", -1)])
def test_contract_sizes_that_make_no_sense_are_named(cls, name, value):
    taken = arguments_of(cls)
    if name not in taken and "predictor" not in taken:
        pytest.skip(f"{cls.__name__} has no {name}")
    with pytest.raises(ValueError, match=f"{name} is {value}, expected"):
        make(cls, **{name: value})
