"""Where interventions are tested: a world model, a simulator to compare with, and scenes of held-out episodes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jsonargparse.typing import NonNegativeInt, PositiveInt

from cjepa.data.clip_windows import clip_starts, evenly_spread
from cjepa.data.store.attributes import from_json
from cjepa.data.store.episodes import Episodes
from cjepa.data.store.shards import open_episodes
from cjepa.envs import make_env
from cjepa.envs.base import ObjectEnv
from cjepa.errors import UserError
from cjepa.evaluation.interventions.scenes import EncodedEpisode, Scenes, cut_scenes, encode_episodes, joined
from cjepa.evaluation.planning.pairs import check_proprio, held_out_from
from cjepa.planning.blocks import ActionBlocks
from cjepa.planning.compatibility import check_fits
from cjepa.progress import Progress
from cjepa.tokenizers.base import Tokenizer, check_environment
from cjepa.tokenizers.encode import read_columns
from cjepa.world_models.dynamics import Dynamics
from cjepa.world_models.loading import LoadedWorldModel


@dataclass(frozen=True)
class SceneProtocol:
    """Which scenes of an episode file are used.

    Args:
        episodes: episode file of an environment with interventions; episodes held out from training are used.
        scenes: number of test scenes, spread evenly over the test episodes.
        val_scenes: number of validation scenes, by which thresholds are chosen and probes are fitted.
        horizon_blocks: blocks that are predicted after the history.
        frame_stride: env steps per block; default: that of the training.
        seed: of everything that is drawn.
    """

    episodes: str
    scenes: PositiveInt = 200
    val_scenes: PositiveInt = 100
    horizon_blocks: PositiveInt = 10
    frame_stride: PositiveInt | None = None
    seed: NonNegativeInt = 0


class Laboratory(NamedTuple):
    """A world model, a simulator to compare with, and scenes of its held-out episodes."""

    dynamics: Dynamics
    tokenizer: Tokenizer
    env: ObjectEnv
    """One with interventions where counterfactuals are asked for."""
    frame_stride: int
    val: Scenes
    test: Scenes
    account: str
    """Why the test episodes are held out, for people."""
    fingerprint: str
    """Of the episodes."""
    episodes: dict[int, EncodedEpisode]
    """Those that the test scenes are cut out of, by index."""

    @property
    def history(self) -> int:
        """Blocks that the model sees."""
        return self.dynamics.history_blocks

    @property
    def block_seconds(self) -> float:
        """Duration of a block."""
        return self.frame_stride / self.env.env_steps_per_second


def open_laboratory(
    loaded: LoadedWorldModel, data: Mapping[str, Any], protocol: SceneProtocol, where: Path, progress: Progress
) -> Laboratory:
    """Encode the scenes of a world model.

    Args:
        loaded: the world model, on the device to use.
        data: options of the data module that it was trained with, as far as they are known.
        protocol: of the scenes.
        where: the model's checkpoint, for messages.
        progress: advanced by scenes, of ``scenes + val_scenes``.

    Raises:
        UserError: the episodes lack a column, are of an environment without bodies on a table or do not fit the model.
    """
    file = open_episodes(protocol.episodes)
    env = _environment(file)
    tokenizer = loaded.tokenizer
    check_environment(tokenizer, file.attributes["env_id"], str(file.path))
    if tokenizer.info.index_is_place:
        raise UserError(f"{where}: tokens of {type(tokenizer).__name__} are places, not objects to intervene on")
    for column in {"state", "objects", "contacts", *read_columns(tokenizer)}:
        file.require(column)
    stride = protocol.frame_stride or data.get("frame_stride") or 5
    if loaded.dynamics.action_dim:  # nobody acts in most scenes, and then a model need not know of actions
        check_fits(loaded.dynamics, env, ActionBlocks.of(env, stride), str(where))
    check_proprio(loaded.dynamics, file, env, str(where))
    test = held_out_from(file, loaded.lineage, data, "test")
    val = held_out_from(file, loaded.lineage, data, "val").episodes
    test_episodes = test.episodes
    if np.intersect1d(val, test_episodes).size:  # other episodes than those of the training: all are held out
        val, test_episodes = test_episodes[::2], test_episodes[1::2]
    history, blocks = loaded.dynamics.history_blocks, loaded.dynamics.history_blocks + protocol.horizon_blocks
    parts: list[Scenes] = []
    for episodes, count in ((val, protocol.val_scenes), (test_episodes, protocol.scenes)):
        starts = evenly_spread(clip_starts(file, episodes, blocks, stride), count)
        episode_B = file.episode_of(starts)
        encoded, scenes = {}, []
        for episode in encode_episodes(file, np.unique(episode_B), tokenizer, env):
            start_B = starts[episode_B == episode.index] - file.offsets[episode.index]
            encoded[episode.index] = episode
            scenes.append(cut_scenes(episode, start_B, history, protocol.horizon_blocks, stride))
            progress.advance(len(start_B))
        parts.append(joined(scenes))
    return Laboratory(loaded.dynamics, tokenizer, env, stride, *parts, test.account, file.fingerprint, encoded)


def _environment(file: Episodes) -> ObjectEnv:
    if "env_id" not in file.attributes:
        raise UserError(f"{file.path} does not name its environment; collect episodes with `cjepa collect`")
    kwargs = from_json(file.path, file.attributes, "env_kwargs") if "env_kwargs" in file.attributes else {}
    if ":" in file.attributes["env_id"]:  # Gymnasium would import what stands before the colon
        raise UserError(f"{file.path}: its environment is in a module of its own, which a file alone cannot import")
    env = make_env(file.attributes["env_id"], kwargs)
    if not {"x", "y"} <= set(env.attribute_names) or env.table is None:
        raise UserError(
            f"{file.path}: {type(env).__name__} has no bodies on a table; give episodes of cjepa/Collide-v0 or "
            "cjepa/PushT-v0"
        )
    return env
