import pytest
import torch

from cjepa.data.splits import SPLIT_SHARES, Lineage, held_out, split_episodes
from cjepa.data.store.shards import open_episodes
from cjepa.data.token_clips import TokenClips
from cjepa.errors import UserError
from cjepa.policies.base import GoalPolicy
from cjepa.policies.lessons import Lessons, StoredLessons, read_lessons, write_lessons
from cjepa.policies.object_policy import ObjectPolicy
from cjepa.policies.training import PolicyTraining
from cjepa.types import Clip
from tests.trainers import quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Step(GoalPolicy):
    """Goes the way from the first value of the first object to the goal's in one block; remembers its goals."""

    def __init__(self):
        super().__init__(2, 0, 1)
        self.gain = torch.nn.Parameter(torch.ones(()))
        self.goals = []

    def forward(self, tokens_BSD, proprio_BP, goal_BSD):
        self.goals.append(goal_BSD)
        return self.gain * (goal_BSD - tokens_BSD)[:, 0, :1]


def clip(blocks: int = 4, batch: int = 64) -> Clip:
    """Objects that are moved by 1 in a block; value 2 of a token counts the blocks."""
    time = torch.arange(blocks, dtype=torch.float32).expand(batch, blocks)
    return Clip(time[..., None, None].expand(-1, -1, 1, 2), torch.zeros(batch, blocks, 3), torch.ones(batch, blocks, 1))


def test_the_loss_is_the_error_of_the_first_block_towards_goals_at_all_distances():
    """A policy that goes all the way in one block is wrong by k - 1 blocks."""
    module = PolicyTraining(Step(), goal_blocks=3)
    loss = module.loss_terms(clip(), torch.Generator().manual_seed(0))["action"]
    ahead = module.policy.goals[0][:, 0, 1]
    assert set(ahead.tolist()) == {1.0, 2.0, 3.0}
    torch.testing.assert_close(loss, (ahead - 1).square().mean())


def test_inverse_dynamics_look_one_block_ahead():
    module = PolicyTraining(Step(), goal_blocks=1)
    assert module.loss_terms(clip(), torch.Generator())["action"] == 0.0


def test_validation_tells_the_distances_apart():
    module, logged = PolicyTraining(Step(), goal_blocks=3), {}
    module.log_dict = lambda values, **_: logged.update(values)
    module.validation_step(clip(), 0)
    expected = {"val/action_error@1": 0.0, "val/action_error@2": 1.0, "val/action_error@3": 4.0, "val/loss": 5 / 3}
    assert {name: round(value.item(), 5) for name, value in logged.items()} == pytest.approx(expected, abs=1e-4)


def fit(tokens_path, module: PolicyTraining, max_steps: int = 2, **data) -> dict:
    trainer = quiet_trainer(max_steps)
    trainer.fit(module, datamodule=TokenClips(str(tokens_path), **{"train_blocks": 4, "val_blocks": 4} | data))
    return trainer.callback_metrics


def a_module(goal_blocks: int = 3, **sizes) -> PolicyTraining:
    torch.manual_seed(0)
    policy = ObjectPolicy(**{"token_dim": 6, "proprio_dim": 4, "action_dim": 10, "dim": 32, "rounds": 1} | sizes)
    return PolicyTraining(policy, goal_blocks, lr=1e-2, warmup_steps=0)


def test_a_short_training_learns_and_remembers_its_tokens(tokens_path):
    module = a_module()
    metrics = fit(tokens_path, module, max_steps=20, batch_size=128, val_clips=64)
    assert metrics["val/action_error@1"] < 0.9  # that of the mean action is 1
    assert module.tokenizer_fingerprint == "0123456789abcdef" and module.lineage["split_seed"] == 0


@pytest.mark.parametrize(
    ("module", "data", "said"),
    [
        (
            a_module(token_dim=7),
            {},
            "policy.init_args.token_dim is 7, but the data have 6; set it to 6",
        ),
        (a_module(action_dim=4), {}, "action_dim is 4, but the data have 10"),
        (a_module(goal_blocks=4), {}, "train_blocks is 4, but goals are up to 4 blocks after the first frame"),
        (a_module(), {"val_blocks": 3}, "data.init_args.val_blocks is 3, .*; set it to 4"),
    ],
)
def test_what_does_not_fit_is_refused(tokens_path, module, data, said):
    with pytest.raises(UserError, match=said):
        fit(tokens_path, module, **data)


def test_other_tokens_than_those_of_the_checkpoint_are_refused(tokens_path):
    module = a_module()
    module.tokenizer_fingerprint = "of others"
    with pytest.raises(UserError, match="was trained on tokens of tokenizer of others"):
        fit(tokens_path, module)


def lessons_of(folder, tokenizer: str = "0123456789abcdef", tokens: int = 6, identities=(11, 12)) -> str:
    values = torch.linspace(-1, 1, 3)[:, None]
    many = Lessons(
        values[:, None].expand(-1, 2, tokens), values.expand(-1, 4), torch.zeros(3, 2, tokens), values.expand(-1, 10)
    )
    write_lessons(folder / "lessons.pt", StoredLessons(many, tokenizer, list(identities)))
    return str(folder / "lessons.pt")


def test_the_error_of_lessons_is_in_units_of_the_scales():
    """A policy that goes all the way: 3 from 1 to 4, told to go 5; actions have a deviation of 2, tokens of 1."""
    module = PolicyTraining(Step())
    module.policy.action_scale.std.fill_(2.0)
    lesson = Lessons(torch.ones(1, 1, 2), torch.zeros(1, 0), torch.full((1, 1, 2), 4.0), torch.tensor([[5.0]]))
    assert module.lesson_error(lesson) == (3 - 5 / 2) ** 2


def test_a_policy_learns_from_lessons_and_remembers_their_episodes(tokens_path, tmp_path):
    path = lessons_of(tmp_path)
    errors = {}
    for name, given in (("with", [path]), ("without", None)):
        module = a_module()
        module = PolicyTraining(module.policy, 3, lr=1e-2, warmup_steps=0, lessons=given)
        metrics = fit(tokens_path, module, max_steps=20, batch_size=128, val_clips=64)
        errors[name] = module.lesson_error(read_lessons([path]).lessons).item()
        assert ("train/lesson" in metrics) == bool(given)
        assert ({11, 12} <= set(module.lineage["identities"])) == bool(given)
    assert errors["with"] < 0.5 * errors["without"]


def test_lessons_of_other_tokens_are_refused(tokens_path, tmp_path):
    policy = a_module().policy
    with pytest.raises(UserError, match="lessons.pt: of tokenizer other, but the data are of 0123456789abcdef"):
        fit(tokens_path, PolicyTraining(policy, 3, lessons=[lessons_of(tmp_path, "other")]))
    with pytest.raises(UserError, match="lessons.pt: 5 token values, but the policy takes 6"):
        fit(tokens_path, PolicyTraining(policy, 3, lessons=[lessons_of(tmp_path, tokens=5)]))


def test_lessons_of_episodes_that_are_held_out_are_refused(tokens_path, tmp_path):
    """So no policy has learned from an episode that `held_out` names."""
    file = open_episodes(tokens_path)
    for split, episodes in split_episodes(len(file), SPLIT_SHARES, 0).items():
        taken_from = [11, file.identities[episodes[0]]]
        module = PolicyTraining(a_module().policy, 3, lessons=[lessons_of(tmp_path, identities=taken_from)])
        if split == "train":
            fit(tokens_path, module)
            assert episodes[0] not in held_out(file, Lineage(**module.lineage), "test")
            assert set(taken_from) <= set(module.lineage["identities"])
        else:
            line = f"lessons: taken from episode {episodes[0]} of .*, which is held out here .{split}."
            with pytest.raises(UserError, match=line):
                fit(tokens_path, module)
