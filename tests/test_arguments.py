"""Numbers that make no sense are named when something is made with them, long before anything is trained or planned."""

import re
from math import inf, nan

import pytest

from cjepa.data.token_clips import TokenClips
from cjepa.data.video_clips import VideoClips
from cjepa.planning.objectives import LastStepMSE, WeightedSum
from cjepa.planning.planners.cem import CEM
from cjepa.planning.planners.gradient import GradientPlanner
from cjepa.planning.planners.icem import ICEM
from cjepa.planning.planners.mppi import MPPI
from cjepa.planning.planners.random_shooting import RandomShooting
from cjepa.tokenizers.baselines.vit import ViTTokenizer
from cjepa.tokenizers.training import TokenizerTraining
from cjepa.world_models.end_to_end import LeWorldModel
from cjepa.world_models.masks import CentralityMask, FixedMask, ObjectMask, TokenMask, TubeMask
from cjepa.world_models.predictors.adaln_transformer import AdaLNTransformer
from cjepa.world_models.predictors.causal_transformer import CausalTransformer
from cjepa.world_models.predictors.ensemble import Ensemble
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from cjepa.world_models.predictors.object_filter import ObjectFilter
from cjepa.world_models.regularisers import SIGReg, VICReg
from cjepa.world_models.training import WorldModel

MASKS = (ObjectMask, FixedMask, CentralityMask, TubeMask, TokenMask)
PREDICTORS = (EntityTransformer, CausalTransformer, ObjectFilter, AdaLNTransformer)
CLIPS = (TokenClips, VideoClips)
POSITIVE, NOT_NEGATIVE = "a finite number above 0", "a finite number, 0 or more"
SHARE, BELOW_ONE = "a share in 0..1", "a share in 0 to below 1"


def each(classes, needed, name, values, expected):
    return [(cls, needed, name, value, expected) for cls in classes for value in values]


def trained(name, values, expected):
    model = {"predictor": ObjectFilter(4, dim=4), "mask": ObjectMask(1)}
    return each((WorldModel,), model, name, values, expected)


def from_pixels(name, values, expected):
    parts = {"tokenizer": ViTTokenizer(8, 1), "predictor": AdaLNTransformer(8, dim=8), "regulariser": SIGReg()}
    return each((LeWorldModel,), parts, name, values, expected)


WRONG = [
    *each(MASKS, {}, "num_masked", (-1,), "0 or more"),
    *each(MASKS, {"num_masked": 1}, "hide_proprio", (-0.5, 1.5, nan), SHARE),
    (FixedMask, {"num_masked": 1}, "seed", -1, "0 to 2^32 - 1"),
    (FixedMask, {"num_masked": 1}, "seed", 2**32, "0 to 2^32 - 1"),
    (CentralityMask, {"num_masked": 1}, "num_neighbours", 0, "1 or more"),
    *each(PREDICTORS, {"token_dim": 4, "dim": 8}, "dropout", (-0.1, 1.0, nan), BELOW_ONE),
    (Ensemble, {"predictor": lambda: ObjectFilter(4)}, "members", 0, "1 or more"),
    *trained("lr", (0.0, -1.0, nan, inf), POSITIVE),
    *trained("weight_decay", (-0.1, nan), NOT_NEGATIVE),
    *trained("warmup_steps", (-1,), "0 or more"),
    *trained("masked_weight", (-1.0, nan, inf), NOT_NEGATIVE),
    *trained("proprio_weight", (-1.0, nan, inf), NOT_NEGATIVE),
    *trained("future_decay", (-1.0, nan, inf), NOT_NEGATIVE),
    *trained("predict_blocks", (0, -1), "1 or more"),
    *trained("mask_seed", (-1,), "0 or more"),
    *from_pixels("least_rank", (-1.0, nan), NOT_NEGATIVE),
    *from_pixels("least_deviation", (-1.0, nan), NOT_NEGATIVE),
    *from_pixels("step_seed", (-1,), "0 or more"),
    *each((SIGReg,), {}, "weight", (-0.1, nan, inf), NOT_NEGATIVE),
    *each((SIGReg,), {}, "num_directions", (0,), "1 or more"),
    *each((SIGReg,), {}, "num_knots", (0, 1), "2 or more"),
    *each((SIGReg,), {}, "longest", (0.0, nan), POSITIVE),
    *each((VICReg,), {}, "variance_weight", (-1.0, nan), NOT_NEGATIVE),
    *each((VICReg,), {}, "covariance_weight", (-1.0, inf), NOT_NEGATIVE),
    *[
        (ViTTokenizer, {}, name, 0, "1 or more")
        for name in ("dim", "depth", "num_heads", "patch_size", "projection_dim", "image_size")
    ],
    *each((TokenizerTraining,), {"tokenizer": None, "metrics": [], "loss_weights": {}}, "lr", (nan, -1.0), POSITIVE),
    *[
        wrong
        for name in ("frame_stride", "train_blocks", "val_blocks", "batch_size", "val_clips")
        for wrong in each(CLIPS, {"path": "none.h5"}, name, (0, -1), "1 or more")
    ],
    *each(CLIPS, {"path": "none.h5"}, "split_seed", (-1,), "0 or more"),
    *each(CLIPS, {"path": "none.h5"}, "shuffle_seed", (-1,), "0 or more"),
    (VideoClips, {"path": "none.h5"}, "num_workers", -1, "0 or more"),
    *each((CEM, ICEM, MPPI, GradientPlanner), {}, "initial_std", (0.0, -1.0, nan, inf), POSITIVE),
    *each((CEM, ICEM, MPPI), {}, "min_std", (-1.0, nan, inf), NOT_NEGATIVE),
    *each((CEM, ICEM, MPPI, GradientPlanner), {}, "iterations", (0,), "1 or more"),
    *each((CEM, ICEM, MPPI), {"num_samples": 8}, "num_elites", (1, 9), "2..num_samples = 8"),
    *each((RandomShooting,), {}, "num_samples", (0,), "1 or more"),
    *each((GradientPlanner,), {}, "learning_rate", (0.0, nan, inf), POSITIVE),
    *each((MPPI,), {}, "temperature", (0.0, nan, inf), POSITIVE),
    *each((MPPI,), {"min_std": 0.5}, "max_std", (0.1, nan, inf), "a finite number, 0.5 or more"),
    *each((ICEM,), {}, "noise_exponent", (-1.0, nan, inf), NOT_NEGATIVE),
    *each((ICEM,), {}, "decay", (0.5, nan, inf), "a finite number, 1 or more"),
    *each((ICEM,), {}, "keep", (-0.1, 1.1, nan), SHARE),
    *each((ICEM,), {}, "momentum", (-0.1, 1.0, nan), BELOW_ONE),
]


@pytest.mark.parametrize(("cls", "needed", "name", "value", "expected"), WRONG)
def test_a_number_that_makes_no_sense(cls, needed, name, value, expected):
    with pytest.raises(ValueError, match=rf"^(data\.init_args\.)?{name} is {value}, expected {re.escape(expected)}$"):
        cls(**needed, **{name: value})


def test_weights_of_terms_and_objectives():
    with pytest.raises(ValueError, match="^the loss weight of pixels is nan, expected a finite number, 0 or more$"):
        TokenizerTraining(None, [], {"pixels": nan})
    with pytest.raises(ValueError, match="^a weight is inf, expected a finite number$"):
        WeightedSum([LastStepMSE()], [inf])
