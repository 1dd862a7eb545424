import pytest
import torch

from cjepa.data.token_clips import TokenClips
from cjepa.evaluation import card
from cjepa.world_models.masks import ObjectMask
from cjepa.world_models.predictors.ensemble import Ensemble
from cjepa.world_models.predictors.object_filter import ObjectFilter
from cjepa.world_models.training import WorldModel
from tests.contracts import stirred
from tests.evaluation.conftest import no_progress
from tests.world_models.small import small_model


@pytest.fixture
def data(tokens_path) -> TokenClips:
    module = TokenClips(str(tokens_path), val_blocks=7, batch_size=16, val_clips=20)
    module.setup("test")
    return module


def named(measured) -> dict:
    return {one.metric: one for one in measured}


def test_validation_says_little_and_keeps_the_mode(data):
    module = small_model().train()
    found = named(card.evaluate(module, data, "val", no_progress))
    assert set(found) == {"rollout_error@1", "rollout_error@4"} and module.training


def test_an_ensemble_is_measured_with_its_disagreement(data):
    torch.manual_seed(0)
    sizes = {"token_dim": 6, "history_blocks": 3, "dim": 16}
    module = WorldModel(stirred(Ensemble(lambda: ObjectFilter(**sizes), members=2)), ObjectMask(0))
    found = named(card.evaluate(module, data, "test", no_progress))
    assert {f"disagreement@{block}" for block in (1, 2, 5)} | {"spearman_disagreement_error"} <= set(found)
    assert {f"calibration_{name}@{bin}" for name in ("error", "disagreement") for bin in range(1, 11)} <= set(found)
    assert all(found[f"disagreement@{block}"].value > 0 for block in (1, 2, 5))


def test_tokens_too_wide_for_memory_have_no_effective_rank(caplog):
    """A frame of 32 px is a token of 3,072 values, whose products take 75 MB for every episode."""
    assert card._ranks(1024, 5) is not None and card._ranks(3072, 5) is None
    assert "no effective rank: a token has more than 1024 values" in caplog.text


@pytest.mark.slow
def test_without_a_tokenizer_one_line_says_why_and_dropout_is_off(data, caplog):
    """A model in training mode is tested as in planning: two passes agree."""
    module = small_model().train()
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.5
    first, again = (named(card.evaluate(module, data, "test", no_progress)) for _ in range(2))
    assert first == again and module.training
    assert set(first) == {
        *(f"rollout_error@{block}" for block in (1, 2, 5)),  # val_blocks 7 ask for 4, episodes allow 5
        *(f"rollout_error_proprio@{block}" for block in (1, 2, 5)),
        "effective_rank",
        "effective_rank_true",
    }
    lines = [record.getMessage() for record in caplog.records if "model card" in record.getMessage()]
    assert len(lines) == 2 and "does not name the tokenizer" in lines[0]
    assert "rollout_error@10 left out" in caplog.text
