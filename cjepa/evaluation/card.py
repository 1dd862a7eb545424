"""The model card: whether a world model is worth planning with; docs/model-card.md defines every number."""

import logging
from typing import Literal

import numpy as np

from cjepa.data.clip_module import EpisodeClips
from cjepa.envs.base import ObjectEnv
from cjepa.errors import UserError
from cjepa.evaluation.bodies import body_slots, have_identity
from cjepa.evaluation.calibration import Calibration
from cjepa.evaluation.held_out import in_eval_mode
from cjepa.evaluation.measurements import Measurement, OpenProgress
from cjepa.evaluation.planning.card import CANDIDATES, HORIZON_BLOCKS, PAIRS, planning_measurements
from cjepa.evaluation.planning.futures import look_at
from cjepa.evaluation.planning.testbed import Testbed, open_testbed
from cjepa.evaluation.readout import PlaceErrors, States, fit_readings, training_frames
from cjepa.evaluation.rollouts import (
    BLOCKS_AHEAD,
    RolloutErrors,
    TokenRanks,
    blocks_for_test,
    error_measurements,
    imagine,
)
from cjepa.world_models.dynamics_training import DynamicsTraining

_MOST_READ_VALUES = 4096
"""Token values of a frame (S x D) beyond which no probe is fitted: it would take minutes."""
_MOST_RANKED_VALUES = 1024
"""Values of a token beyond which no effective rank is measured: D x D numbers of every episode fill the memory."""

_log = logging.getLogger(__name__)


def evaluate(
    module: DynamicsTraining, data: EpisodeClips, split: Literal["val", "test"], progress: OpenProgress
) -> list[Measurement]:
    """``rollout_error@k``; for ``test`` the whole card. See :class:`~cjepa.evaluation.measurements.Evaluation`."""
    with in_eval_mode(module):
        return _validation(module, data) if split == "val" else _test(module, data, progress)


def _validation(module: DynamicsTraining, data: EpisodeClips) -> list[Measurement]:
    errors = RolloutErrors()
    for batch in imagine(module, data.val_dataloader(), data.file):
        errors.add(batch)
    return error_measurements(errors, sorted({1, errors.horizon_blocks}), {}, module.dynamics.token_dim)


def _test(module: DynamicsTraining, data: EpisodeClips, progress: OpenProgress) -> list[Measurement]:
    try:
        bed = open_testbed(module, data, PAIRS, HORIZON_BLOCKS)
    except UserError as reason:
        _log.warning("the model card has rollout errors only: %s", reason)
        return rollout_measurements(module, data, None, progress)
    measured = rollout_measurements(module, data, bed, progress)
    return measured + planning_measurements(module.dynamics, bed, data.file, CANDIDATES, progress)


def rollout_measurements(
    module: DynamicsTraining, data: EpisodeClips, bed: Testbed | None, progress: OpenProgress
) -> list[Measurement]:
    """How far predictions are from test episodes: in tokens, and where there is a simulator in its own units.

    Args:
        module: the world model, in eval mode.
        data: set up.
        bed: of the environment; None where there is none.
        progress: begins one part of the work.
    """
    loader = data.held_out_dataloader("test", blocks_for_test(data, module.dynamics.history_blocks))
    horizon_blocks = loader.dataset.blocks - module.dynamics.history_blocks
    blocks = sorted({block for block in BLOCKS_AHEAD if block <= horizon_blocks} | {horizon_blocks})
    for missing in sorted(set(BLOCKS_AHEAD) - set(blocks)):
        _log.warning("rollout_error@%d left out: most test episodes are too short for that many blocks", missing)
    ahead = min(horizon_blocks, HORIZON_BLOCKS)
    errors, ranks, calibration = RolloutErrors(), _ranks(module.dynamics.token_dim, ahead), Calibration(ahead)
    places = None if bed is None else _place_errors(module, data, bed.env, blocks)
    watching = [one for one in (errors, ranks, calibration, places) if one is not None]
    with progress("roll out", len(loader.dataset), "clips") as bar:
        for batch in imagine(module, loader, data.file):
            for one in watching:
                one.add(batch)
            bar.advance(len(batch.episode_B))
    entities = {} if bed is None else _body_slots(bed)
    if errors.has_proprio:
        entities["proprio"] = errors.num_slots
    measured = error_measurements(errors, blocks, entities, module.dynamics.token_dim)
    measured += [] if ranks is None else ranks.measurements()
    measured += calibration.measurements(blocks)
    return measured + ([] if places is None else places.measurements())


def _ranks(token_dim: int, ahead: int) -> TokenRanks | None:
    if token_dim > _MOST_RANKED_VALUES:
        _log.warning("no effective rank: a token has more than %d values", _MOST_RANKED_VALUES)
        return None
    return TokenRanks(ahead)


def _body_slots(bed: Testbed) -> dict[str, int]:
    states = [state for pair in bed.pairs for state in (pair.start_state, pair.goal_state)]
    return body_slots(bed.tokenizer, bed.env, look_at(bed.env, states))


def _place_errors(
    module: DynamicsTraining, data: EpisodeClips, env: ObjectEnv, blocks: list[int]
) -> PlaceErrors | None:
    if not have_identity(env):
        return None
    tokens_NSD, row_N, episode_N = training_frames(module, data)
    if tokens_NSD[0].numel() > _MOST_READ_VALUES:
        _log.warning("no errors in the environment's units: a frame has more than %d values", _MOST_READ_VALUES)
        return None
    states = States(data.file, np.concatenate([data.splits["train"], data.splits["test"]]), env)
    readings = fit_readings(tokens_NSD, states.objects(row_N), episode_N, env)
    return PlaceErrors(module.dynamics, readings, states, blocks)
