"""DreamerV3's actor and critic: losses by hand, whom gradients reach, and that it learns."""

import copy
import json
import math

import pytest
import torch

from cjepa.errors import UserError
from cjepa.policies.base import Situation
from cjepa.policies.dreamer import DreamerActor, DreamerTraining, Imagined
from cjepa.policies.loading import load_policy
from cjepa.policies.object_policy import ObjectPolicy
from cjepa.types import Clip, Predicted
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.rssm import ObjectRSSM
from tests.conftest import configs, fit
from tests.contracts import stirred
from tests.policies.test_training import fit as train
from tests.world_models.test_dreamer import SIZES

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
BINS = 5


def module(**changes) -> DreamerTraining:
    """For three objects, on a small recurrent world model."""
    torch.manual_seed(0)
    sizes = {"token_dim": 6, "dim": 16, "rounds": 2}
    one = DreamerTraining(
        stirred(DreamerActor(**sizes)), stirred(ObjectPolicy(action_dim=BINS, **sizes)), goal_blocks=3, **changes
    )
    one._frozen = [PredictorDynamics(stirred(ObjectRSSM(token_dim=6, **SIZES))).requires_grad_(False)]
    return one


def a_clip(batch: int = 4) -> Clip:
    generator = torch.Generator().manual_seed(1)
    return Clip(*(torch.randn(batch, 4, *shape, generator=generator) for shape in ((3, 6), (4,), (10,))))


def reached(part: torch.nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in part.parameters())


@pytest.mark.parametrize("gradient", ["dynamics", "reinforce"])
def test_each_term_trains_one_part_and_none_the_world_model(gradient):
    for name, trained in (("actor", "policy"), ("critic", "critic")):
        one = module(gradient=gradient)
        one.loss_terms(a_clip(), torch.Generator().manual_seed(0))[name].backward()
        parts = {"policy": one.policy, "critic": one.critic, "slow": one.slow_critic, "world": one.dynamics}
        assert [part for part in parts if reached(parts[part])] == [trained]


@pytest.mark.parametrize("gradient", ["dynamics", "reinforce"])
def test_choosing_later_actions_does_not_train_earlier_ones(gradient, monkeypatch):
    """The first block has an actor of its own; distances alone depend on it later, with REINFORCE not even these."""
    one = module(gradient=gradient)
    first, later = copy.deepcopy(one.policy), one.policy.distribution
    turns = iter([first.distribution])
    monkeypatch.setattr(one.policy, "distribution", lambda *scene: next(turns, later)(*scene))
    found = one.imagine(a_clip(), torch.full((4,), 2), torch.Generator().manual_seed(0))
    for values_BH in (found.log_probability_BH, found.entropy_BH):
        values_BH[:, 1:].sum().backward(retain_graph=True)
    assert reached(one.policy) and not reached(first)
    assert found.distance_BH.requires_grad == (gradient == "dynamics")
    if gradient == "dynamics":
        found.distance_BH[:, 1:].sum().backward()
        assert reached(first)


def test_gradients_go_through_the_world_model(monkeypatch):
    """Returns depend on the actor by way of what its actions lead to alone."""
    one = module(entropy=0.0)
    step = one.dynamics.step
    monkeypatch.setattr(one.dynamics, "step", lambda state, actions_BA: step(state, actions_BA.detach()))
    one.loss_terms(a_clip(), torch.Generator().manual_seed(0))["actor"].backward()
    assert not reached(one.policy)


def imagined(one: DreamerTraining, monkeypatch, values: list[float]) -> Imagined:
    """One clip, two blocks: distances 1 and 2, log-probabilities -1 and -3, entropy 10; values by the slow critic."""
    seen = Situation(torch.zeros(1, 3, 6), torch.zeros(1, 4), torch.zeros(1, 3, 6))
    tensors = (torch.tensor([row]) for row in ([-1.0, -3.0], [10.0, 10.0], [1.0, 2.0]))
    found = Imagined([seen] * 3, *tensors)
    monkeypatch.setattr(one, "imagine", lambda *_: found)
    monkeypatch.setattr(one, "values", lambda critic, situations: torch.tensor([values]))
    return found


def test_the_actor_follows_returns_over_their_range(monkeypatch):
    """Returns are -1 + 0.5 * -4 = -3 and -2 + 0.5 * -4 = -4; their range is below 1, so it counts as 1."""
    one = module(discount=0.5, trace=1.0, entropy=0.01)
    imagined(one, monkeypatch, [-9.0, -9.0, -4.0])
    found = one.loss_terms(a_clip(1), torch.Generator())["actor"]
    assert found.item() == pytest.approx(3.5 - 0.1)
    assert one.range.item() == pytest.approx(0.99 + 0.01 * 0.9)  # 90 % of the way between two returns
    one.range.fill_(10.0)
    one.eval()
    assert one.loss_terms(a_clip(1), torch.Generator())["actor"].item() == pytest.approx(0.35 - 0.1)


def test_reinforce_weighs_what_was_done_by_its_advantage(monkeypatch):
    """Returns -3 and -4 against values of -5 and -4."""
    one = module(discount=0.5, trace=1.0, entropy=0.0, gradient="reinforce")
    imagined(one, monkeypatch, [-5.0, -4.0, -4.0])
    assert one.loss_terms(a_clip(1), torch.Generator())["actor"].item() == pytest.approx(-(2 * -1.0 + 0) / 2)


def test_the_critic_learns_the_returns(monkeypatch):
    """Bins are 1 - e^5, 1 - e^2.5, 0, ...; returns of -3 and -4 are between the second and the third."""
    one = module(discount=0.5, trace=1.0)
    imagined(one, monkeypatch, [0.0, 0.0, -4.0])
    torch.nn.init.zeros_(one.critic.head.weight)
    one.critic.head.bias.data = torch.tensor([0.1, 0.2, 0.4, 0.2, 0.1]).log()
    second = 3.5 / (math.exp(2.5) - 1)  # mean of both
    expected = -second * math.log(0.2) - (1 - second) * math.log(0.4)
    assert one.loss_terms(a_clip(1), torch.Generator())["critic"].item() == pytest.approx(expected)


def test_what_a_critic_expects_is_the_mean_of_its_bins():
    one = module()
    torch.nn.init.zeros_(one.critic.head.weight)
    one.critic.head.bias.data = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0]) * 1e4
    seen = Situation(torch.zeros(2, 3, 6), torch.zeros(2, 4), torch.zeros(2, 3, 6))
    expected = (0 + math.exp(2.5) - 1) / 2
    torch.testing.assert_close(one.values(one.critic, [seen, seen]), torch.full((2, 2), expected))


def test_imagination_teaches_the_actor():
    """In a world in which the actions move the only object."""
    one = module(entropy=0.0, imagined_blocks=3)
    mixing = torch.randn(10, 6, generator=torch.Generator().manual_seed(2)) / 3

    class Moves(torch.nn.Module):
        def observe(self, clip):
            return clip.tokens_BTSD[:, -1], clip.proprio_BTP[:, -1]

        def normalise(self, clip):
            return clip

        denormalise = normalise

        def step(self, state, actions_BA):
            return state[0] + (actions_BA @ mixing)[:, None], state[1]

        def predicted(self, state):
            return Predicted(*state)

    one._frozen = [Moves()]
    torch.nn.init.zeros_(one.slow_critic.head.weight), torch.nn.init.zeros_(one.slow_critic.head.bias)
    clip, generator, distances = a_clip(2), torch.Generator().manual_seed(0), []
    clip = clip._replace(tokens_BTSD=clip.tokens_BTSD[:, :, :1])
    optimizer = torch.optim.Adam(one.policy.parameters(), 2e-2)
    for _ in range(25):
        loss = one.loss_terms(clip, generator)["actor"]
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        distances.append(one.imagine(clip, torch.full((2,), 3), None).distance_BH[:, -1].mean().item())
    assert distances[-1] < 0.8 * distances[0]


def test_it_is_trained_on_a_finished_run_and_read_back_without_it(slot_tokens, world_model_run, tmp_path):
    sizes = [f"--model.init_args.{part}.init_args.dim=16" for part in ("policy", "critic")]
    words = [*configs("pusht/policy.yaml", "pusht/dreamer.yaml"), *sizes, "--data.init_args.val_clips=8"]
    run = fit(tmp_path / "run", slot_tokens, *words, f"--model.init_args.world_model={world_model_run}")
    policy = load_policy(run / "checkpoints" / "last.ckpt").policy
    assert isinstance(policy, DreamerActor) and bool(policy.token_scale.fitted)
    assert json.loads((run / "run.json").read_text())["objective"]["world_model"] == str(world_model_run)
    rows = {row["metric"] for row in json.loads((run / "results.json").read_text())}
    assert {"distance@1", "distance@5"} <= rows
    weights = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert {name.split(".")[0] for name in weights} == {"policy", "critic", "slow_critic", "bins_K", "range"}


def test_what_its_world_model_learned_from_is_not_held_out(slot_tokens, world_model_run, tmp_path):
    """Other episodes are remembered; those that the data hold out are refused."""

    def trained(**lineage) -> DreamerTraining:
        content = torch.load(world_model_run / "checkpoints" / "last.ckpt", weights_only=True)
        content["lineage"] |= lineage
        torch.save(content, tmp_path / "last.ckpt")
        sizes = {"token_dim": content["hyper_parameters"]["predictor"]["init_args"]["token_dim"], "dim": 16}
        parts = (DreamerActor(**sizes), ObjectPolicy(action_dim=BINS, **sizes))
        one = DreamerTraining(*parts, str(tmp_path / "last.ckpt"), goal_blocks=3, imagined_blocks=1)
        train(slot_tokens, one, max_steps=1, batch_size=4, val_clips=2)
        return one

    own, others = (trained(**changes).lineage for changes in ({}, {"episodes_fingerprint": "b", "identities": [11]}))
    assert others == own | {"identities": [*own["identities"], 11]}
    with pytest.raises(UserError, match="last.ckpt: it was trained on episode .* held out here; set .*split_seed to 1"):
        trained(split_seed=1)
