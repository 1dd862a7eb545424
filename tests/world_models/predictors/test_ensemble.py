import pytest
import torch
from torch import Tensor

from cjepa.errors import UserError
from cjepa.types import Clip
from cjepa.world_models.dynamics import take_rows
from cjepa.world_models.masks import ObjectMask
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.normalise import Normaliser
from cjepa.world_models.predictors.base import Prediction, Predictor, Window
from cjepa.world_models.predictors.ensemble import Ensemble
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from cjepa.world_models.predictors.object_filter import ObjectFilter
from cjepa.world_models.token_source import check_data
from cjepa.world_models.training import WorldModel
from tests.contracts import assert_order_does_not_matter, stirred
from tests.world_models.small import a_clip

SIZES = {"token_dim": 6, "proprio_dim": 4, "action_dim": 10, "history_blocks": 3, "dim": 16}


def a_filter() -> Predictor:
    return ObjectFilter(**SIZES)


def a_transformer() -> Predictor:
    return EntityTransformer(**SIZES, depth=1, num_heads=2, mlp_dim=32)


def make(kind=a_filter, members: int = 3) -> Ensemble:
    torch.manual_seed(0)
    return stirred(Ensemble(kind, members)).eval()


def inputs(blocks: int = 3, slots: int = 3, later: int = 0):
    clip = a_clip(blocks + later, slots=slots)
    mask_BTS = torch.zeros(2, blocks, slots, dtype=torch.bool)
    return clip.tokens_BTSD[:, :blocks], clip.proprio_BTP[:, :blocks], clip.actions_BTA, mask_BTS


class Drift(Predictor):
    """Every token grows by a fixed amount a block, which is the n-th of its class for the n-th member."""

    token_dim, proprio_dim, action_dim, history_blocks = 2, 1, 1, 1

    def __init__(self, by: float):
        super().__init__()
        self.by = by
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, tokens_BTSD: Tensor, proprio_BTP: Tensor, actions_BTA: Tensor, mask_BTS: Tensor) -> Prediction:
        by = self.by + self.weight
        return Prediction(tokens_BTSD, tokens_BTSD[:, -1:] + by, proprio_BTP[:, -1:] + by)


def drifting(*by: float) -> Ensemble:
    left = list(by)
    return Ensemble(lambda: Drift(left.pop(0)), members=len(by))


def zeros(blocks: int, slots: int = 2) -> Clip:
    return Clip(torch.zeros(1, blocks, slots, 2), torch.zeros(1, blocks, 1), torch.zeros(1, blocks, 1))


def test_disagreement_by_hand():
    """Members at 1, 2, 6 a block: mean 3, variance (4 + 1 + 9) / 3; twice as far after two blocks."""
    dynamics = PredictorDynamics(drifting(1.0, 2.0, 6.0))
    rollout = dynamics.rollout(dynamics.observe(zeros(1)), torch.zeros(1, 2, 1))
    assert rollout.tokens_BHSD[0, :, 1, 0].tolist() == [3.0, 6.0]
    assert rollout.proprio_BHP[0, :, 0].tolist() == [3.0, 6.0]
    torch.testing.assert_close(
        rollout.disagreement_BHS, torch.tensor([14 / 3, 4 * 14 / 3])[None, :, None].expand(1, 2, 2)
    )


def test_the_loss_is_the_mean_over_members_and_each_has_its_own():
    """Nothing moves: members are wrong by 1 and 3, and right on average; they do not learn from that."""
    model = WorldModel(drifting(-1.0, 3.0), ObjectMask(0))
    terms = model.loss_terms(zeros(2), torch.Generator())
    assert {name: value.item() for name, value in terms.items()} == {"future": 5.0, "masked": 0.0, "proprio": 5.0}
    terms["future"].backward()
    first, second = (member.weight.grad.item() for member in model.dynamics.predictor.members)
    assert (first, second) == (-2.0 / 2, 6.0 / 2)  # half of what each had alone


@pytest.mark.parametrize("kind", [a_filter, a_transformer])
def test_an_ensemble_of_one_is_its_member(kind):
    ensemble = make(kind, members=1)
    (member,) = ensemble.members
    given = inputs(later=2)
    for ours, theirs in zip(ensemble.unroll(*given), member.unroll(*given), strict=True):
        assert torch.equal(ours, theirs)
    ours, theirs = (
        dynamics.rollout(dynamics.observe(a_clip(3)), a_clip(4).actions_BTA)
        for dynamics in (PredictorDynamics(ensemble), PredictorDynamics(member))
    )
    assert torch.equal(ours.tokens_BHSD, theirs.tokens_BHSD) and torch.equal(ours.proprio_BHP, theirs.proprio_BHP)
    assert theirs.disagreement_BHS is None and not ours.disagreement_BHS.any()


def test_members_differ_from_the_start():
    torch.manual_seed(0)
    first, second, third = (member.embed.objects[0].weight for member in Ensemble(a_filter).members)
    assert min((first - second).abs().min(), (second - third).abs().min(), (first - third).abs().min()) > 0


@pytest.mark.parametrize("kind", [a_filter, a_transformer])
def test_members_roll_out_alone(kind):
    """Each is fed its own predictions, not the mean."""
    ensemble, actions = make(kind), a_clip(4).actions_BTA
    alone = [PredictorDynamics(member) for member in ensemble.members]
    tokens = torch.stack([one.rollout(one.observe(a_clip(2)), actions).tokens_BHSD for one in alone])
    together = PredictorDynamics(ensemble)
    rollout = together.rollout(together.observe(a_clip(2)), actions)
    torch.testing.assert_close(rollout.tokens_BHSD, tokens.mean(dim=0))
    torch.testing.assert_close(rollout.disagreement_BHS, tokens.var(dim=0, correction=0).mean(dim=-1))
    assert rollout.disagreement_BHS.min() > 0


def test_a_rollout_reads_every_member_once_a_block():
    ensemble, passes = make(), []
    for member in ensemble.members:
        member.token_head.register_forward_hook(lambda head, _, __: passes.append(head))
    dynamics = PredictorDynamics(ensemble)
    assert dynamics.rollout(dynamics.observe(a_clip(1)), a_clip(4).actions_BTA).disagreement_BHS.min() > 0
    assert passes == 4 * [member.token_head for member in ensemble.members]


def test_equal_members_agree():
    ensemble = make()
    for member in ensemble.members[1:]:
        member.load_state_dict(ensemble.members[0].state_dict())
    dynamics = PredictorDynamics(ensemble)
    disagreement = dynamics.rollout(dynamics.observe(a_clip(3)), a_clip(4).actions_BTA).disagreement_BHS
    assert disagreement.shape == (2, 4, 3) and disagreement.max() < 1e-12


def test_object_order_does_not_matter():
    assert_order_does_not_matter(make(), *inputs(slots=4))


def test_candidates_do_not_mix():
    dynamics, actions = PredictorDynamics(make()), a_clip(4).actions_BTA
    state, order = dynamics.observe(a_clip(2)), torch.tensor([1, 0, 1])
    whole = dynamics.rollout(state, actions)
    found = dynamics.rollout(take_rows(state, order), actions[order])
    torch.testing.assert_close(found, whole.map(lambda values: values[order]))


def test_a_state_has_the_batch_first():
    state = make(a_transformer).observe(*(values[:, :2] for values in a_clip(3)))
    assert isinstance(state, Window) and state.tokens_BTSD.shape == (2, 3, 2, 3, 6)


def test_scales_reach_every_member():
    ensemble = Ensemble(lambda: ObjectFilter(**SIZES, place=(0, 1)), members=2)
    scale = Normaliser(6)
    scale.fit(torch.randn(50, 6) + 3)
    ensemble.fit_scales(scale)
    assert all(torch.equal(member.geometry.mean, scale.mean[:4]) for member in ensemble.members)


def test_units_are_those_of_the_model():
    dynamics = PredictorDynamics(make())
    dynamics.fit_scales(a_clip(50, seed=3))
    rollout = dynamics.rollout(dynamics.observe(a_clip(3)), a_clip(2).actions_BTA)
    assert torch.equal(dynamics.denormalise(rollout).disagreement_BHS, rollout.disagreement_BHS)


def test_a_wrong_size_is_named_by_the_key_of_the_members():
    model = WorldModel(make(), ObjectMask(0))
    key = "model.init_args.predictor.init_args.predictor.init_args.token_dim is 6, but the data have 7; set it to 7"
    with pytest.raises(UserError, match=key):
        check_data(model.dynamics, a_clip(4, dims=(7, 4, 10)), None)


def test_no_members():
    with pytest.raises(ValueError, match="members is 0, expected 1 or more"):
        Ensemble(a_filter, members=0)
