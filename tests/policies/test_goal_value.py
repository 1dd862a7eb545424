"""The value of goals on a line: an agent that dawdles, and goals that lie behind one another."""

import json
import math

import lightning as L
import numpy as np
import pytest
import torch

from cjepa.data.token_clips import TokenClips
from cjepa.errors import UserError
from cjepa.moving_average import move_towards
from cjepa.policies.goal_value import GoalValue, load_goal_value
from cjepa.policies.goal_value_training import GoalValueTraining, Pairs
from cjepa.policies.pose_features import PoseFeatures
from cjepa.types import Clip
from tests.trainers import quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class OnALine(PoseFeatures):
    """The only value of a state, and how far it is from that of the goal."""

    places, angles, width = (0,), (), 2

    def forward(self, seen_LR, goal_LR):
        seen_LR, goal_LR = torch.broadcast_tensors(seen_LR, goal_LR)
        return torch.cat([seen_LR, goal_LR - seen_LR], dim=-1)[None] / 4


def a_module(**options) -> GoalValueTraining:
    torch.manual_seed(0)
    value = GoalValue(1, 1, OnALine(), dim=32, layers=2, discount=0.9)
    value.probe.weight_WR.fill_(1.0)
    return GoalValueTraining(value, **options)


def test_discounted_blocks_and_blocks_are_inverse():
    value = GoalValue(1, 1, discount=0.9)
    numbers = torch.cat([value.discounted(torch.tensor([0.0, 3.0, 12.0])), torch.tensor([-1.0, 20.0])])
    value.forward = lambda seen, goal: torch.stack([numbers, numbers - 1])
    never = math.log(0.02) / math.log(0.9)
    torch.testing.assert_close(value.blocks(None, None), torch.tensor([0.0, 3.0, 12.0, 0.0, never]))
    assert value.discounted(torch.tensor(torch.inf)) == pytest.approx(10.0)


def test_the_way_is_what_the_episode_took_or_less():
    """One block on, and the slow copy expects 5 from there: 6 of other clips, never more than is known."""
    module = a_module()
    rest = module.value.discounted(torch.tensor(5.0))
    module.slow.forward = lambda later, goal: rest.expand(2, len(later))
    known, blocks = torch.tensor([torch.inf, 4.0, 1.0, 0.0, 9.0]), torch.ones(5)
    found = module.way(Pairs(*[torch.zeros(5, 1)] * 3, blocks, known))
    torch.testing.assert_close(found, module.value.discounted(torch.tensor([6.0, 4.0, 1.0, 0.0, 6.0])))


def test_pairs_hold_the_frames_that_their_blocks_say():
    """Answers say clip and frame."""
    answers = torch.tensor([[100.0 * clip + frame for frame in range(7)] for clip in range(50)])[..., None]
    pairs = a_module(pairs_per_clip=20).pairs(answers, torch.Generator().manual_seed(0))
    seen, later, goal = (values.flatten() for values in pairs[:3])
    torch.testing.assert_close(later - seen, pairs.blocks_K.float())
    within = pairs.known_K.isfinite()
    torch.testing.assert_close((goal - seen)[within], pairs.known_K[within])
    on_the_way = within & (pairs.known_K > 0)
    assert (pairs.blocks_K <= pairs.known_K)[on_the_way].all() and pairs.blocks_K.max() == 4
    shares = [float((pairs.known_K == known).float().mean()) for known in (0.0, torch.inf)]
    assert shares == pytest.approx([0.1, 0.3], abs=0.05)


def test_it_finds_ways_that_are_shorter_than_those_recorded():
    """Half of the clips stand still every second block; nobody was seen to go from 0 to 7."""
    torch.manual_seed(0)
    starts = torch.arange(4.0).repeat_interleave(16)[:, None]
    clips = torch.cat([starts + torch.arange(5.0), starts + torch.arange(5.0).div(2).floor()])[..., None, None]
    batch = Clip(clips, torch.zeros(128, 5, 0), torch.zeros(128, 5, 2))
    module = a_module()
    optimizer = torch.optim.Adam(module.value.parameters(), 3e-3)
    for step in range(300):
        loss = module.loss_terms(batch, torch.Generator().manual_seed(step))["value"]
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        move_towards(module.slow, module.value, module.momentum)
    found = module.value.blocks(torch.zeros(1, 1), torch.tensor([[0.0], [1.0], [3.0], [7.0]]))
    torch.testing.assert_close(found[:3], torch.tensor([0.0, 1.0, 3.0]), atol=0.8, rtol=0)
    assert 5 < found[3] < 9


def test_the_slow_copy_follows_every_step_of_the_optimiser(monkeypatch):
    """And so is in a checkpoint of that step, which callbacks write before the hooks of the module."""
    module = a_module(momentum=0.75)
    copy, weights = (net.networks[0][-1].weight for net in (module.slow, module.value))
    monkeypatch.setattr(L.LightningModule, "optimizer_step", lambda *_: weights.data.add_(1))
    module.optimizer_step()
    torch.testing.assert_close(copy, weights - 0.75)


def test_correlation_is_with_the_recorded_blocks():
    """One by one, the other way round, and a clip whose first half stands still."""
    module = a_module()
    module.value.blocks = lambda seen, goal: (goal - seen)[..., 0].abs()
    clips = torch.tensor([[0.0, 1, 2, 3, 4], [9, 3, 2, 1, 8], [2, 2, 2, 3, 4]])[..., None, None]
    found = module.blocks_correlation(Clip(clips, torch.zeros(3, 5, 0), torch.zeros(3, 5, 2)))
    by_hand = [1.0, np.corrcoef([1, 5, 6, 7], [4, 3, 2, 1])[0, 1], np.corrcoef([2, 2, 2, 1], [4, 3, 2, 1])[0, 1]]
    torch.testing.assert_close(found, torch.tensor(by_hand, dtype=torch.float32))


def fit(tokens_path, module: GoalValueTraining, **data) -> L.Trainer:
    trainer = quiet_trainer(2)
    trainer.fit(module, datamodule=TokenClips(str(tokens_path), **{"train_blocks": 4, "val_blocks": 4} | data))
    return trainer


def test_a_training_remembers_its_tokens_and_comes_back(tokens_path, goal_value_run):
    module = GoalValueTraining(GoalValue(3, 6, dim=16))
    metrics = fit(tokens_path, module).callback_metrics
    assert metrics["val/loss"] > 0 and -1 <= metrics["val/blocks_correlation"] <= 1
    (row,) = json.loads((goal_value_run / "results.json").read_text())
    assert row["metric"] == "blocks_correlation" and -1 <= row["value"] <= 1 and row["n"] >= 1
    assert module.tokenizer_fingerprint == "0123456789abcdef" and module.value.probe.fitted
    assert torch.equal(module.slow.probe.weight_WR, module.value.probe.weight_WR)
    with pytest.raises(
        UserError, match="was trained on tokens of tokenizer .*, but those of the world model are of me"
    ):
        load_goal_value(goal_value_run / "checkpoints" / "last.ckpt", "me")


@pytest.mark.parametrize(
    ("sizes", "data", "said"),
    [
        ((2, 6), {}, "value.init_args.num_tokens is 2, but the data have 3; set it to 3"),
        ((3, 7), {}, "value.init_args.token_dim is 7, but the data have 6; set it to 6"),
        ((3, 6), {"val_blocks": 2}, "data.init_args.val_blocks is 2, expected 3 or more: goals are later frames"),
    ],
)
def test_what_does_not_fit_is_refused(tokens_path, sizes, data, said):
    with pytest.raises(UserError, match=said):
        fit(tokens_path, GoalValueTraining(GoalValue(*sizes, dim=16)), **data)


@pytest.mark.parametrize("options", [{"expectile": 0.5}, {"momentum": 1.0}, {"pairs_per_clip": 0}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} is "):
        a_module(**options)
