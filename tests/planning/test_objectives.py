import pytest
import torch

from cjepa.errors import UserError
from cjepa.planning.cost_to_go import CostToGo
from cjepa.planning.distances import ByIndex, Matched
from cjepa.planning.objectives import (
    ActionCost,
    Disagreement,
    Goal,
    LastStepMSE,
    LeastStepMSE,
    MeanStepMSE,
    Objective,
    WeightedSum,
)
from cjepa.planning.probe_error import ProbeError
from cjepa.planning.sentence_goal import SentenceGoal
from cjepa.types import Rollout
from cjepa.world_models.dynamics import take_rows
from cjepa.world_models.state_probe import StateProbe
from tests.contracts import concrete_subclasses
from tests.planning.test_cost_to_go import Straight
from tests.planning.worlds import PointDynamics

B, N, H, S, D, P, A = 2, 3, 4, 2, 2, 4, 6
FIXED = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(B, P)  # a place, not a speed
ACTIONS = torch.zeros(B, N, H, A)


def a_case() -> tuple[Rollout, torch.Tensor, Goal]:
    """Two environments, the second candidate of each is off its goal."""
    tokens, proprio = torch.zeros(B, N, H, S, D), torch.zeros(B, N, H, P)
    tokens[:, :, 0], proprio[:, :, 1] = 50.0, 50.0  # only the last block counts
    tokens[0, 1, -1, 0] = torch.tensor([1.0, 3.0])  # (1 + 9) / 4
    proprio[1, 1, -1] = torch.tensor([2.0, 0.0, 4.0, 0.0])  # place 4 / 2, everything 20 / 4
    goal = Goal(torch.full((B, S, D), 7.0), torch.full((B, P), 5.0), FIXED)
    return Rollout(tokens + 7.0, proprio + 5.0, torch.zeros(B, N, H, S)), ACTIONS, goal


@pytest.mark.parametrize(
    ("weight", "position_only", "expected"),
    [(1.0, True, [2.5, 2.0]), (0.5, False, [2.5, 2.5]), (0.0, True, [2.5, 0.0])],
)
def test_last_step_by_hand(weight, position_only, expected):
    cost_BN = LastStepMSE(weight, position_only)(*a_case())
    assert cost_BN[:, 1].tolist() == expected and not cost_BN[:, [0, 2]].any()


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (LastStepMSE, [0.0, 4.0]),
        (LeastStepMSE, [0.0, 2.0]),  # the second one passes at a distance, the first one is there at its end
        (MeanStepMSE, [(9 + 4 + 1 + 0) / 4, (9 + 2.5 + 2 + 4) / 4]),
    ],
)
def test_which_block_counts_by_hand(cls, expected):
    off_NH = torch.tensor([[3.0, 2.0, 1.0, 0.0], [3.0, 1.0, 1.0, 2.0]])
    speed_NHP = torch.zeros(2, H, P)
    speed_NHP[1, 1:3, 0] = torch.tensor([3.0**0.5, 2.0**0.5])  # a place: half of 3 and of 2 is added to 1
    tokens = off_NH[None, :, :, None, None].expand(1, 2, H, S, D)
    goal = Goal(torch.zeros(1, S, D), torch.zeros(1, P), FIXED[:1])
    cost_BN = cls()(Rollout(tokens, speed_NHP[None]), torch.zeros(1, 2, H, A), goal)
    torch.testing.assert_close(cost_BN, torch.tensor([expected]))


@pytest.mark.parametrize(("known", "expected"), [([0, 0, 1, 1], 16 / 2), ([0, 0, 0, 0], 0.0)])
def test_what_is_not_known_of_a_goal_costs_nothing(known, expected):
    rollout, actions, goal = a_case()
    goal = goal._replace(known_BP=torch.tensor(known).expand(B, P).float())
    assert LastStepMSE(position_only=False)(rollout, actions, goal)[:, 1].tolist() == [2.5, expected]


def test_without_proprioception_tokens_decide():
    rollout, actions, goal = a_case()
    bare = rollout._replace(proprio_BHP=rollout.proprio_BHP[..., :0])
    goal = Goal(goal.tokens_BSD, goal.proprio_BP[:, :0], goal.fixed_BP[:, :0])
    assert LastStepMSE(3.0)(bare, actions, goal)[:, 1].tolist() == [2.5, 0.0]


class Effort(Objective):
    def __call__(self, rollout, actions_BNHA, goal):
        return actions_BNHA.square().mean(dim=(2, 3))


def test_a_weighted_sum_adds_up():
    rollout, _, goal = a_case()
    actions = torch.full((B, N, H, A), 2.0)
    both = WeightedSum([LastStepMSE(), Effort()], [2.0, 0.5])(rollout, actions, goal)
    assert both[:, 1].tolist() == [2 * 2.5 + 0.5 * 4, 2 * 2.0 + 0.5 * 4] and both[0, 0] == 0.5 * 4
    plain = WeightedSum([LastStepMSE(), Effort()])(rollout, actions, goal)
    assert plain[:, 1].tolist() == [2.5 + 4, 2.0 + 4]


@pytest.mark.parametrize(("objectives", "weights"), [([], None), ([LastStepMSE()], [1.0, 2.0])])
def test_a_weighted_sum_is_checked(objectives, weights):
    with pytest.raises(ValueError, match=f"for {len(objectives)} objectives"):
        WeightedSum(objectives, weights)


@pytest.mark.parametrize(("last_block", "expected"), [(False, [1.0, 3.0]), (True, [0.0, 6.0])])
def test_disagreement_by_hand(last_block, expected):
    disagreement_NHS = torch.tensor([[[4.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [10.0, 2.0]]])
    rollout = Rollout(torch.zeros(1, 2, 2, S, D), torch.zeros(1, 2, 2, P), disagreement_NHS[None])
    assert Disagreement(last_block)(rollout, ACTIONS[:1, :2, :2], a_case()[2])[0].tolist() == expected


def test_disagreement_makes_the_error_of_the_mean_the_mean_error():
    members = torch.randn(3, B, N, H, S, D, generator=torch.Generator().manual_seed(0))
    goal, no_proprio = Goal(torch.ones(B, S, D), torch.zeros(B, 0), torch.zeros(B, 0)), torch.zeros(B, N, H, 0)
    of_each = torch.stack([LastStepMSE()(Rollout(tokens, no_proprio), ACTIONS, goal) for tokens in members])
    mean = Rollout(members.mean(dim=0), no_proprio, members.var(dim=0, correction=0).mean(dim=-1))
    both = WeightedSum([LastStepMSE(), Disagreement(last_block=True)])
    torch.testing.assert_close(both(mean, ACTIONS, goal), of_each.mean(dim=0))


def test_disagreement_needs_members():
    rollout, actions, goal = a_case()
    with pytest.raises(UserError, match="needs a world model that is an ensemble; train one with `cjepa fit"):
        Disagreement()(rollout._replace(disagreement_BHS=None), actions, goal)


def test_action_cost_by_hand():
    rollout, actions, goal = a_case()
    actions = actions.clone()
    actions[1, 2, 0, :2] = torch.tensor([3.0, -4.0])
    expected = torch.zeros(B, N)
    expected[1, 2] = 25 / (H * A)
    torch.testing.assert_close(ActionCost()(rollout, actions, goal), expected)


def test_only_the_blocks_that_count_are_compared():
    class Look(ByIndex):
        def error(self, tokens_BNHSD, goal_BSD, chosen_K):
            shapes.append(tokens_BNHSD.shape[2])
            return super().error(tokens_BNHSD, goal_BSD, chosen_K)

    shapes = []
    for cls in (LastStepMSE, LeastStepMSE, MeanStepMSE):
        cls(distance=Look())(*a_case())
    assert shapes == [1, H, H]


def test_an_objective_compares_by_its_distance():
    rollout, actions, goal = a_case()
    swapped = rollout._replace(tokens_BHSD=rollout.tokens_BHSD.flip(3))
    expected = LastStepMSE(distance=Matched())(rollout, actions, goal)
    assert torch.equal(LastStepMSE(distance=Matched())(swapped, actions, goal), expected)
    assert LastStepMSE(0.0, distance=ByIndex([0]))(rollout, actions, goal)[:, 1].tolist() == [5.0, 0.0]
    assert not LastStepMSE(0.0, distance=ByIndex([1]))(rollout, actions, goal).any()


def summing() -> StateProbe:
    """A place and an angle, of the sum of all values."""
    probe = StateProbe(S, D, places=(0,), angles=(1,))
    probe.weight_WR.fill_(1.0), probe.bias_R.fill_(1.0)
    return probe


def build(cls: type[Objective]) -> Objective:
    if cls is WeightedSum:
        return cls([LastStepMSE()])
    if cls is ProbeError:
        return cls().reading(summing(), PointDynamics())
    if cls is CostToGo:
        return cls().knowing(Straight(summing()), PointDynamics())
    beside_the_goal = cls in (ActionCost, Disagreement)
    return WeightedSum([LastStepMSE(), cls()]) if beside_the_goal else cls()


COMPARING = [cls for cls in concrete_subclasses("cjepa.planning", Objective) if cls is not SentenceGoal]
"""With a goal that is seen; test_sentence_goal.py has the same of goals in words."""
every = pytest.mark.parametrize("cls", COMPARING, ids=lambda cls: cls.__name__)


@every
def test_contract(cls):
    objective, (rollout, actions, goal) = build(cls), a_case()
    stays = rollout.map(lambda values: values[:, :, -1:].expand_as(values))
    reached = goal._replace(tokens_BSD=rollout.tokens_BHSD[:, 1, -1], proprio_BP=rollout.proprio_BHP[:, 1, -1])
    missed = reached._replace(tokens_BSD=reached.tokens_BSD + 1)
    assert objective(stays, actions, reached).shape == (B, N)
    assert (objective(stays, actions, reached)[:, 1] == 0).all()
    assert (objective(stays, actions, missed)[:, 1] > 0).all()
    # environments and candidates do not mix: each on its own costs the same
    alone = rollout.map(lambda values: values[1:, 1:2]), actions[1:, 1:2], take_rows(goal, slice(1, None))
    torch.testing.assert_close(objective(*alone), objective(rollout, actions, goal)[1:, 1:2])


@every
def test_contract_gradients_reach_the_rollout(cls):
    rollout, actions, goal = a_case()
    tokens = rollout.tokens_BHSD[:, :, -1:].expand(-1, -1, H, -1, -1).clone().requires_grad_()
    build(cls)(rollout._replace(tokens_BHSD=tokens), actions, goal).sum().backward()
    assert tokens.grad[0, 1].abs().sum() > 0


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_rewards_errors_or_is_no_number_is_refused(weight):
    with pytest.raises(ValueError, match="proprio_weight is .*, expected a finite number, 0 or more"):
        LastStepMSE(proprio_weight=weight)
