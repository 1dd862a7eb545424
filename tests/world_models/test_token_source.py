"""What trainings on tokens ask of their data before the first step."""

from types import SimpleNamespace

import pytest
from torch.nn.functional import layer_norm

from cjepa.errors import UserError
from cjepa.types import Clip
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.base import Predictor
from cjepa.world_models.predictors.dino_wm import DinoWM
from cjepa.world_models.predictors.ensemble import Ensemble
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from cjepa.world_models.predictors.official import OfficialTransformer
from cjepa.world_models.predictors.prefix_transformer import PrefixTransformer
from cjepa.world_models.predictors.vjepa2_ac import VJepa2AC
from cjepa.world_models.token_source import check_data, check_layer_norm
from tests.contracts import build
from tests.world_models.small import SMALL, a_clip

PREDICT = "model.init_args.predict_blocks to {}"


def make(cls: type[Predictor], **changes) -> Predictor:
    return build(cls, token_dim=6, **SMALL | changes)


def check(predictor: Predictor, predict_blocks: int | None, train_blocks: int) -> None:
    source = SimpleNamespace(train_blocks=train_blocks, val_blocks=20)
    check_data(PredictorDynamics(predictor), a_clip(4), source, predict_blocks)


def prefixes() -> Predictor:
    """Predicts five blocks in one pass, from one block."""
    return make(PrefixTransformer, history_blocks=1, prefix_blocks=5)


@pytest.mark.parametrize(
    ("predictor", "predict_blocks", "train_blocks", "key", "trained", "more"),
    [
        (prefixes(), 1, 6, "prefix_blocks is 5", 1, PREDICT.format(5)),
        (prefixes(), None, 4, "prefix_blocks is 5", 3, "data.init_args.train_blocks to 6"),
        (make(OfficialTransformer, predict_blocks=10), 9, 20, "predict_blocks is 10", 9, PREDICT.format(10)),
        (Ensemble(prefixes, 2), 4, 6, "predictor.init_args.prefix_blocks is 5", 4, PREDICT.format(5)),
    ],
    ids=["prefix", "pixels", "official", "ensemble"],
)
def test_blocks_of_a_pass_that_would_not_be_trained(predictor, predict_blocks, train_blocks, key, trained, more):
    with pytest.raises(UserError) as refused:
        check(predictor, predict_blocks, train_blocks)
    assert str(refused.value) == (
        f"model.init_args.predictor.init_args.{key}, but the loss is over {trained} of the predicted blocks, so the "
        f"others would not be trained; set it to {trained}, or {more}"
    )


def test_passes_that_are_trained_whole():
    for predict_blocks, train_blocks in ((5, 6), (6, 7), (None, 6), (None, 7)):
        check(prefixes(), predict_blocks, train_blocks)
    check(make(OfficialTransformer, predict_blocks=10), 10, 13)
    check(make(EntityTransformer), 1, 4)


def test_without_a_number_of_blocks_one_after_the_history_is_needed():
    with pytest.raises(UserError, match="train_blocks is 3, .* and 1 to predict; set it to 4 or more"):
        check(make(EntityTransformer), None, 3)


def normed(clip: Clip) -> Clip:
    """As a token file holds it, in float16; one token in 60 is of a patch that has one value everywhere."""
    tokens_BTSD = layer_norm(clip.tokens_BTSD, clip.tokens_BTSD.shape[-1:])
    tokens_BTSD[0, 0, 0] = 0
    return clip._replace(tokens_BTSD=tokens_BTSD.half().float())


def test_layer_normed_predictions_reach_layer_normed_tokens_alone():
    predictor, clip = make(VJepa2AC), a_clip(10)
    check_layer_norm(predictor, normed(clip), scale_tokens=False)
    with pytest.raises(UserError, match="VJepa2AC predicts layer-normed tokens, .*init_args.scale_tokens to false"):
        check_layer_norm(predictor, normed(clip), scale_tokens=True)
    shifted, wide = (change(normed(clip).tokens_BTSD) for change in (lambda x: x + 0.5, lambda x: 2 * x))
    for tokens_BTSD, found in ((shifted, "means of about 0.5 and"), (wide, "deviations of about 2;")):
        with pytest.raises(UserError, match=found):
            check_layer_norm(predictor, clip._replace(tokens_BTSD=tokens_BTSD), scale_tokens=False)
    with pytest.raises(UserError, match="Ensemble predicts layer-normed tokens"):
        check_layer_norm(Ensemble(lambda: make(VJepa2AC), 2), normed(clip), scale_tokens=True)


@pytest.mark.parametrize("scale_tokens", [True, False])
def test_other_predictors_take_any_tokens(scale_tokens):
    for cls in (DinoWM, EntityTransformer):
        check_layer_norm(make(cls), a_clip(4), scale_tokens)
