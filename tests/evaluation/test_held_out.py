"""How every held-out clip is scored."""

import lightning as L
import numpy as np
import pytest
import torch

from cjepa.data.token_clips import TokenClips
from cjepa.evaluation.held_out import in_eval_mode, score_held_out
from cjepa.progress import ProgressBar


class Doubling(L.LightningModule):
    """Says of clips what their first action is, twice as much while it is evaluated."""

    def score(self, clip):
        assert not torch.is_grad_enabled()
        return (1 if self.training else 2) * clip.actions_BTA[:, 0]


def test_scores_and_episodes_are_those_of_the_clips(tokens_path):
    data = TokenClips(str(tokens_path), val_blocks=2, val_clips=7, batch_size=3)
    data.setup("test")
    module = Doubling()
    score_NA, episode_N = score_held_out(module.score, module, data, "test", ProgressBar, "score")
    clips = data.held_out_dataloader("test").dataset
    assert len(score_NA) > 3 and len(score_NA) == len(clips)
    every = clips.__getitems__(list(range(len(clips))))
    np.testing.assert_allclose(score_NA, 2 * every.actions_BTA[:, 0].double().numpy())
    assert set(episode_N) == set(data.splits["test"]) and module.training


def test_the_mode_is_kept_whatever_happens():
    module = Doubling().eval()
    with in_eval_mode(module):
        assert not module.training
    assert not module.training
    with pytest.raises(ValueError), in_eval_mode(module.train()):
        raise ValueError
    assert module.training
