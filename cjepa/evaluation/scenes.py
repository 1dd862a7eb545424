"""Windows of held-out episodes with all that is true of them: the test scenes of interventions.

A scene is a history that the model sees and the blocks after it that it predicts, with the simulator's account of the
bodies, the true influence graph of the predicted blocks, and which slot shows which body.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jsonargparse.typing import NonNegativeInt, PositiveInt
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from cjepa.data.clip_windows import clip_starts
from cjepa.data.store.attributes import from_json
from cjepa.data.store.episodes import Episode, Episodes
from cjepa.data.store.shards import open_episodes
from cjepa.envs import make_env
from cjepa.envs.base import ObjectEnv
from cjepa.errors import UserError
from cjepa.evaluation.contact_graphs import contact_hops
from cjepa.evaluation.pairs import check_proprio, held_out_from
from cjepa.evaluation.segmentation import contingency, overlaps
from cjepa.evaluation.tokens import spread
from cjepa.planning.blocks import ActionBlocks
from cjepa.planning.compatibility import check_fits
from cjepa.progress import Progress
from cjepa.tokenizers.base import Tokenizer, check_environment
from cjepa.tokenizers.encode import clips_of, device_of, read_columns, tokenizer_inputs
from cjepa.tokenizers.episode_batches import batches_of, frames_at_once, padded, row_bytes
from cjepa.types import Clip
from cjepa.world_models.dynamics import Dynamics
from cjepa.world_models.loading import LoadedWorldModel

_LEAST_OVERLAP = 0.1  # IoU of a slot and a body; masks may be as coarse as patches
_MOST_FRAMES = 512  # at once, on a GPU too: their masks are kept
_COLUMNS = ("state", "objects", "contacts", "masks", "action", "proprio")


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


class Scenes(NamedTuple):
    """Scenes on the CPU, batch first; T is the history plus the predicted blocks."""

    clip: Clip
    objects_BTOF: np.ndarray
    """The simulator's account at every frame."""
    hops_BOO: np.ndarray
    """Of the true influence graph of the predicted blocks, see :func:`contact_hops`."""
    slot_BO: np.ndarray
    """Which slot shows a body at the end of the history; -1 for bodies off the table, or that no slot shows."""
    state_BF: np.ndarray
    """Of the simulator at the end of the history, float64."""
    action_BTA: np.ndarray
    """Of every env step after the history."""
    episode_B: np.ndarray
    start_B: np.ndarray
    """First env step of the scene in its episode."""
    touched_BHOO: np.ndarray
    """bool, which bodies touched during each of the H predicted blocks, symmetric."""


class EncodedEpisode(NamedTuple):
    """An episode as tokens, with the simulator's account; T env steps, on the CPU."""

    index: int
    """In its file."""
    rows: Episode
    """Columns of the simulator's account, by name."""
    tokens_TSD: Tensor
    slot_TO: np.ndarray
    """Which slot shows a body at every env step; -1 for bodies off the table, or that no slot shows."""
    unpushed_O: np.ndarray
    """Which bodies no other can move, bool."""

    @property
    def env_steps(self) -> int:
        """T."""
        return len(self.slot_TO)


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
        starts = spread(clip_starts(file, episodes, blocks, stride), count)
        episode_B = np.searchsorted(file.offsets, starts, side="right") - 1
        encoded, scenes = {}, []
        for episode in encode_episodes(file, np.unique(episode_B), tokenizer, env):
            start_B = starts[episode_B == episode.index] - file.offsets[episode.index]
            encoded[episode.index] = episode
            scenes.append(cut_scenes(episode, start_B, history, protocol.horizon_blocks, stride))
            progress.advance(len(start_B))
        parts.append(_joined(scenes))
    return Laboratory(loaded.dynamics, tokenizer, env, stride, *parts, test.account, file.fingerprint, encoded)


def encode_episodes(
    file: Episodes, indices: Sequence[int], tokenizer: Tokenizer, env: ObjectEnv
) -> Iterator[EncodedEpisode]:
    """Tokens of all frames of episodes, and which slot shows which body.

    Args:
        file: of episodes.
        indices: of the episodes.
        tokenizer: on the device to use.
        env: of the episodes.
    """
    read = {*_COLUMNS, *read_columns(tokenizer)} & set(file.columns)
    fitting = frames_at_once(device_of(tokenizer), tokenizer.peak_bytes(row_bytes(file, read_columns(tokenizer))))
    for places_K in batches_of(file.lengths[list(indices)], min(_MOST_FRAMES, fitting)):
        chosen = [int(indices[place]) for place in places_K]
        yield from _encoded(chosen, [file.episode(index, read) for index in chosen], tokenizer, env)


@torch.inference_mode()
def _encoded(
    indices: Sequence[int], rows: Sequence[Episode], tokenizer: Tokenizer, env: ObjectEnv
) -> list[EncodedEpisode]:
    """A batch of episodes; several small ones take a CPU little longer than one."""
    device = device_of(tokenizer)
    columns = {name: [torch.from_numpy(one[name]) for one in rows] for name in read_columns(tokenizer)}
    batch = clips_of({name: padded(values, device) for name, values in columns.items()})
    with torch.autocast(device.type, torch.bfloat16):
        tokens = tokenizer.encode(*tokenizer_inputs(tokenizer, batch))
    found = []
    for place, (index, one) in enumerate(zip(indices, rows, strict=True)):
        visible_TO, seen = on_table(one["objects"], env), slice(len(one["objects"]))
        if tokenizer.info.column == "objects":
            slot_TO = np.where(visible_TO, np.arange(visible_TO.shape[1]), -1)
        else:
            slot_TO = match_slots(tokens.masks_BTSYX[place, seen].float().cpu(), _labels(one, env), visible_TO)
        kept = {name: values for name, values in one.items() if name not in ("pixels", "masks")}
        slots_TSD = tokens.slots_BTSD[place, seen].float().cpu()
        found.append(EncodedEpisode(index, kept, slots_TSD, slot_TO, unpushed(env)))
    return found


def cut_scenes(episode: EncodedEpisode, start_B: np.ndarray, history: int, horizon: int, stride: int) -> Scenes:
    """Scenes of one episode.

    Args:
        episode: that is long enough.
        start_B: first env step of each scene.
        history: blocks that the model sees.
        horizon: blocks that it predicts.
        stride: env steps per block.
    """
    rows = episode.rows
    frame_BT = start_B[:, None] + np.arange(history + horizon) * stride
    last_B = frame_BT[:, history - 1]
    step_BTF = frame_BT[:, :, None] + np.arange(stride)
    actions, proprio = (torch.from_numpy(rows[name]) for name in ("action", "proprio"))
    after_BT = last_B[:, None] + np.arange(horizon * stride)
    contacts_BTOO = rows["contacts"][after_BT + 1].astype(bool)
    touched_BHOO = contacts_BTOO.reshape(len(after_BT), horizon, stride, *contacts_BTOO.shape[2:]).any(axis=2)
    return Scenes(
        Clip(episode.tokens_TSD[frame_BT], proprio[frame_BT], actions[step_BTF].flatten(2)),
        rows["objects"][frame_BT],
        contact_hops(contacts_BTOO & ~episode.unpushed_O[:, None]),
        episode.slot_TO[last_B],
        rows["state"][last_B].astype(np.float64),
        rows["action"][after_BT],
        np.full(len(start_B), episode.index),
        start_B,
        touched_BHOO,
    )


def on_table(objects_BOF: np.ndarray, env: ObjectEnv) -> np.ndarray:
    """Bodies whose centre is on the table, bool ``(B, O)``."""
    column = env.attribute_names.index
    place_BO2 = objects_BOF[..., [column("x"), column("y")]]
    low, high = env.table
    inside_BO = ((place_BO2 > low) & (place_BO2 < high)).all(axis=-1)
    return inside_BO & (objects_BOF[..., column("present")] > 0) if "present" in env.attribute_names else inside_BO


def unpushed(env: ObjectEnv) -> np.ndarray:
    """Which bodies no other can move, bool ``(O,)``."""
    return np.isin(env.body_names, env.unpushed_names)


def places(objects: np.ndarray, env: ObjectEnv) -> np.ndarray:
    """x and y of the bodies, ``(..., O, 2)``."""
    return objects[..., [env.attribute_names.index(name) for name in ("x", "y")]].astype(np.float64)


def match_slots(masks_BSYX: Tensor, labels_BYX: Tensor, visible_BO: np.ndarray) -> np.ndarray:
    """Which slot shows which body, int ``(B, O)``, -1 for none: of all one-to-one matchings, that of largest IoU.

    Args:
        masks_BSYX: the larger owns the pixel.
        labels_BYX: k + 1 for body k.
        visible_BO: bodies to match.
    """
    bodies = visible_BO.shape[1]
    counts_BKS = contingency(masks_BSYX, labels_BYX)
    missing = 1 + bodies - counts_BKS.shape[1]
    counts_BKS = torch.nn.functional.pad(counts_BKS, (0, 0, 0, max(0, missing)))[:, : 1 + bodies]
    overlap_BOS = overlaps(counts_BKS)[0].numpy() * visible_BO[..., None]
    slot_BO = np.full(visible_BO.shape, -1)
    for scene, overlap_OS in enumerate(overlap_BOS):
        for body, slot in zip(*linear_sum_assignment(-overlap_OS), strict=True):
            if overlap_OS[body, slot] >= _LEAST_OVERLAP:
                slot_BO[scene, body] = slot
    return slot_BO


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


def _labels(rows: Episode, env: ObjectEnv) -> Tensor:
    """Label images, drawn anew where the episodes have none."""
    if "masks" in rows:
        return torch.from_numpy(rows["masks"])
    drawn = []
    for state in rows["state"]:
        env.set_state(state)
        drawn.append(env.render_labels())
    return torch.from_numpy(np.stack(drawn))


def _joined(parts: Sequence[Scenes]) -> Scenes:
    clip = Clip(*(torch.cat(values) for values in zip(*(part.clip for part in parts), strict=True)))
    return Scenes(clip, *(np.concatenate(values) for values in list(zip(*parts, strict=True))[1:]))
