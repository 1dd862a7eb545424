"""What it takes to judge a world model by its environment: a simulator, the tokenizer, pairs of start and goal."""

import sys
from pathlib import Path
from typing import NamedTuple

from cjepa.configuration.run_config import run_folder
from cjepa.data.clip_module import EpisodeClips
from cjepa.data.store.episodes import Episodes
from cjepa.data.store.origins import episodes_of
from cjepa.envs.base import ObjectEnv
from cjepa.errors import UserError
from cjepa.evaluation.planning.futures import MakeEnv
from cjepa.evaluation.planning.pairs import Pair, check_proprio, draw_pairs
from cjepa.evaluation.planning.protocol import PlanningProtocol, with_environment
from cjepa.planning.blocks import ActionBlocks
from cjepa.planning.compatibility import check_fits
from cjepa.tokenizers.base import Tokenizer, check_environment
from cjepa.world_models.dynamics_training import DynamicsTraining
from cjepa.world_models.loading import tokenizer_of


class Testbed(NamedTuple):
    """The parts, which fit each other and the model."""

    __test__ = False  # what pytest would else take for tests

    make_env: MakeEnv
    env: ObjectEnv
    """One of them, to set to any state."""
    tokenizer: Tokenizer
    blocks: ActionBlocks
    horizon_blocks: int
    """From start to goal."""
    pairs: list[Pair]


def open_testbed(module: DynamicsTraining, data: EpisodeClips, pairs: int, horizon_blocks: int) -> Testbed:
    """Of the test episodes of a world model.

    Args:
        module: the world model, on its device.
        data: set up for the test.
        pairs: of start and goal, ``horizon_blocks`` apart in a test episode.
        horizon_blocks: H.

    Raises:
        UserError: the environment, its states, a task or the tokenizer is missing, or does not fit the model.
    """
    protocol = _protocol(data, pairs, horizon_blocks)
    env = protocol.make_env()
    blocks = ActionBlocks.of(env, data.frame_stride)
    check_fits(module.dynamics, env, blocks, "the model")
    run = run_folder(data.trainer) if data.trainer else Path(module.run_folder)
    tokenizer = tokenizer_of(module, "the model", run).to(module.device).eval()
    check_environment(tokenizer, protocol.env_id, str(data.path))
    sizes = (pairs, protocol.goal_env_steps, protocol.seed)
    drawn = draw_pairs(data.file, data.splits["test"], env, *sizes).trials
    check_proprio(module.dynamics, data.file, env, "the model")
    return Testbed(protocol.make_env, env, tokenizer, blocks, horizon_blocks, drawn)


def _protocol(data: EpisodeClips, pairs: int, horizon_blocks: int) -> PlanningProtocol:
    source = _with_environment(data.file)
    env_id = source.attributes.get("env_id")
    if env_id is None:
        raise UserError(f"{source.path} does not name its environment")
    module, colon, _ = env_id.partition(":")
    if colon and not (module.startswith("cjepa.") or module in sys.modules):  # Gymnasium would import it
        raise UserError(f"{source.path} is of {env_id}, whose module {module} is not imported: a file alone cannot")
    protocol = PlanningProtocol(
        str(data.path),
        env_id=env_id,
        pairs=pairs,
        goal_env_steps=horizon_blocks * data.frame_stride,
        horizon_blocks=horizon_blocks,
        frame_stride=data.frame_stride,
    )
    return with_environment(protocol, source)


def _with_environment(file: Episodes) -> Episodes:
    """The file that may name the environment: token files of versions up to 0.3.0 leave this to their episodes."""
    if "env_id" in file.attributes or "episodes_path" not in file.attributes:
        return file
    episodes = episodes_of(file)
    if episodes.fingerprint != file.attributes.get("episodes_fingerprint"):
        raise UserError(f"{file.path} has tokens of another version of {episodes.path}")
    return episodes
