from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cjepa.data.token_clips import TokenClips
from cjepa.evaluation.rollouts import (
    Imagined,
    RolloutErrors,
    TokenRanks,
    blocks_for_test,
    error_measurements,
    imagine,
)
from cjepa.types import Rollout
from tests.world_models.small import small_model


def batch(error_BHE: np.ndarray, copy_error: float, episodes: list[int], slots: int) -> Imagined:
    """What followed is 0, so that the squares of what is predicted are the errors; D = P = 1."""
    root = torch.from_numpy(error_BHE).sqrt()[..., None]
    copied = torch.full((len(error_BHE), 1, root.shape[2], 1), copy_error**0.5)
    predicted, copied, followed = (
        Rollout(values[:, :, :slots], values[:, :, slots:].flatten(2)) for values in (root, copied, 0 * root)
    )
    return Imagined(predicted, followed, copied, np.zeros(error_BHE.shape[:2], int), np.array(episodes))


def test_errors_are_resampled_by_episode():
    """Two episodes: many overlapping clips of one say no more than few of the other."""
    errors = RolloutErrors()
    errors.add(batch(np.array([[1.0, 4.0]] * 9)[..., None], 2.0, [4] * 9, slots=1))
    errors.add(batch(np.array([[3.0, 8.0]])[..., None], 2.0, [7], slots=1))
    found = {one.metric: one for one in error_measurements(errors, [1, 2], {}, token_dim=1)}
    assert set(found) == {"rollout_error@1", "rollout_error@2"}
    assert [one.n for one in found.values()] == [2, 2]
    assert found["rollout_error@1"].value == pytest.approx((9 * 1 + 3) / (10 * 2))  # every clip counts once
    assert found["rollout_error@1"].low == pytest.approx(1 / 2)  # only the first episode
    assert found["rollout_error@1"].high == pytest.approx(3 / 2)  # only the second
    assert found["rollout_error@2"].value == pytest.approx((9 * 4 + 8) / (10 * 2))


def test_entities_have_errors_of_their_own():
    errors = RolloutErrors()
    errors.add(batch(np.array([[[1.0, 2.0, 9.0]], [[3.0, 6.0, 5.0]]]), 4.0, [0, 1], slots=2))
    assert errors.has_proprio and errors.horizon_blocks == 1 and errors.num_slots == 2
    found = error_measurements(errors, [1], {"agent": 0, "block": 1, "proprio": 2}, token_dim=1)
    values = {one.metric: one.value for one in found}
    expected = {"": 12 / 16, "_agent": 4 / 8, "_block": 8 / 8, "_proprio": 14 / 8}  # proprio is no token
    assert values == pytest.approx({f"rollout_error{name}@1": value for name, value in expected.items()})
    assert {(one.tokens, one.unit) for one in found} == {(2, "of copying")}


def test_every_clip_is_imagined_from_its_own_rows(tokens_path):
    data = TokenClips(str(tokens_path), val_blocks=5, batch_size=4, val_clips=7)
    data.setup("test")
    module, loader = small_model(), data.test_dataloader()
    found = list(imagine(module, loader, data.file))
    row_NH = np.concatenate([one.row_BH for one in found])
    np.testing.assert_array_equal(row_NH[:, 0], loader.dataset.starts.numpy() + 3 * 5)
    np.testing.assert_array_equal(row_NH[:, 1], row_NH[:, 0] + 5)
    tokens = torch.from_numpy(data.file.read("tokens", 0, data.file.env_steps)).float()
    followed = torch.cat([one.followed.tokens_BHSD for one in found])
    torch.testing.assert_close(followed, module.dynamics.token_scale(tokens[row_NH]))
    copied = torch.cat([one.copied.tokens_BHSD for one in found])
    torch.testing.assert_close(copied, module.dynamics.token_scale(tokens[row_NH[:, :1] - 5]))
    assert {int(e) for one in found for e in one.episode_B} == set(data.splits["test"].tolist())


@pytest.mark.parametrize(
    ("lengths", "blocks"),
    [
        ([200] * 4, 13),  # history 3 and 10 ahead
        ([60] * 4, 8),  # 60 env steps are 12 blocks: 5 ahead
        ([60, 60, 60, 200], 8),  # one long episode does not speak for all
        ([20] * 4, 7),  # never less than the data module's own
    ],
)
def test_test_clips_are_as_long_as_episodes_allow(lengths, blocks):
    file = SimpleNamespace(lengths=np.array([5, *lengths]))
    data = SimpleNamespace(file=file, splits={"test": np.arange(1, 5)}, frame_stride=5, val_blocks=7)
    assert blocks_for_test(data, history_blocks=3) == blocks


def test_ranks_of_what_is_predicted_and_of_the_truth():
    line = torch.linspace(-1, 1, 8)
    followed = torch.stack([line, torch.tensor([1.0, -1, -1, 1] * 2) * line.square().mean().sqrt()], dim=1)
    followed = followed - followed.mean(dim=0)
    predicted = torch.stack([line, line], dim=1)
    nothing = torch.zeros(8, 2, 0)
    rollouts = (
        Rollout(torch.stack([torch.zeros(8, 1, 2), values[:, None]], dim=1), nothing)
        for values in (predicted, followed)
    )
    ranks = TokenRanks(2)
    first, second = rollouts
    ranks.add(Imagined(first, second, first, np.zeros((8, 2), int), np.arange(8) // 2))
    collapsed, true = ranks.measurements()
    assert (collapsed.metric, true.metric) == ("effective_rank", "effective_rank_true")
    assert collapsed.value == pytest.approx(1.0, abs=1e-3) and true.value == pytest.approx(2.0, abs=0.02)
