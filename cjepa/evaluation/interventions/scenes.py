"""Windows of held-out episodes with all that is true of them: the test scenes of interventions.

A scene is a history that the model sees and the blocks after it that it predicts, with the simulator's account of the
bodies, the true influence graph of the predicted blocks, and which slot shows which body.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.data.store.episodes import Episode, Episodes
from cjepa.envs.base import ObjectEnv
from cjepa.evaluation.bodies import match_slots, on_table, unpushed
from cjepa.evaluation.interventions.contact_graphs import contact_hops
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import clips_of, device_of, read_columns, tokenizer_inputs
from cjepa.tokenizers.episode_batches import batches_of, frames_at_once, padded, row_bytes
from cjepa.types import Clip
from cjepa.world_models.dynamics import take_rows

SCENES_A_BATCH = 16
"""Whose influence is estimated together: that of removing takes a rollout of each object."""
_MOST_FRAMES = 512  # at once, on a GPU too: their masks are kept
_COLUMNS = ("state", "objects", "contacts", "masks", "action", "proprio")


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

    def clips(self, device: torch.device) -> Iterator[Clip]:
        """The clips on a device, ``SCENES_A_BATCH`` at a time."""
        for first in range(0, len(self.episode_B), SCENES_A_BATCH):
            yield take_rows(self.clip, slice(first, first + SCENES_A_BATCH)).on(device)


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


def _labels(rows: Episode, env: ObjectEnv) -> Tensor:
    """Label images, drawn anew where the episodes have none."""
    if "masks" in rows:
        return torch.from_numpy(rows["masks"])
    drawn = []
    for state in rows["state"]:
        env.set_state(state)
        drawn.append(env.render_labels())
    return torch.from_numpy(np.stack(drawn))


def joined(parts: Sequence[Scenes]) -> Scenes:
    """All scenes of several episodes."""
    clip = Clip(*(torch.cat(values) for values in zip(*(part.clip for part in parts), strict=True)))
    return Scenes(clip, *(np.concatenate(values) for values in list(zip(*parts, strict=True))[1:]))
