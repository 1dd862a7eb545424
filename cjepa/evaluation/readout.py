"""What predicted tokens say in the simulator's own units: where bodies are and how they are turned, by frozen probes.

File letter: N frames.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.data.clip_module import EpisodeClips
from cjepa.data.clip_windows import evenly_spread
from cjepa.data.splits import rows_of
from cjepa.data.store.episodes import Episodes
from cjepa.envs.base import ObjectEnv
from cjepa.evaluation.intervals import bootstrap
from cjepa.evaluation.measurements import Measurement
from cjepa.evaluation.probes import Probe, Task, fit_mlp, turns_alike
from cjepa.evaluation.rollouts import Imagined
from cjepa.world_models.dynamics import Dynamics
from cjepa.world_models.dynamics_training import DynamicsTraining

_TRAINING_FRAMES = 6000


class Reading(NamedTuple):
    """A probe from all tokens of a frame to the place or the angle of one body."""

    name: str
    """``position_error_BODY`` or ``angle_error_BODY``."""
    body: int
    alike_after: int
    """0 for a place; for an angle, how many turns of the body look alike."""
    probe: Probe


class States:
    """The simulator's account of rows of a file that has states.

    Args:
        file: of the rows.
        episodes: indices of those that are asked for.
        env: whose states they are.
    """

    def __init__(self, file: Episodes, episodes: np.ndarray, env: ObjectEnv):
        self.env = env
        self._state_RF = rows_of(file, "state", episodes).double().numpy()

    def objects(self, row_N: np.ndarray) -> np.ndarray:
        """Attributes of the bodies at N rows, ``(N, bodies, attributes)``."""
        found = []
        for state in self._state_RF[row_N]:
            self.env.set_state(state)
            found.append(self.env.objects())
        return np.stack(found)


class PlaceErrors:
    """Errors of predicted places and angles, clip by clip, block by block; block 0 has the error of the probe itself.

    Args:
        dynamics: that predicts.
        readings: fitted on training episodes.
        states: of the file that the clips are from.
        blocks: ahead, 1..H.
    """

    def __init__(self, dynamics: Dynamics, readings: Sequence[Reading], states: States, blocks: Sequence[int]):
        self.dynamics, self.readings, self.states, self.blocks = dynamics, readings, states, blocks
        self._errors: dict[str, list[np.ndarray]] = {}
        self._episodes: list[np.ndarray] = []

    def add(self, batch: Imagined) -> None:
        """One more batch."""
        self._episodes.append(batch.episode_B)
        true_BHSD, predicted_BHSD = (
            self.dynamics.denormalise(rollout).tokens_BHSD for rollout in (batch.followed, batch.predicted)
        )
        self._read(0, true_BHSD[:, 0], batch.row_BH[:, 0])
        for block in self.blocks:
            self._read(block, predicted_BHSD[:, block - 1], batch.row_BH[:, block - 1])

    def measurements(self) -> list[Measurement]:
        """``position_error_BODY@k`` and ``angle_error_BODY@k``, resampled by episode."""
        episodes, place_N = np.unique(np.concatenate(self._episodes), return_inverse=True)
        clips_E = np.bincount(place_N)
        return [
            Measurement.of(name, bootstrap(np.bincount(place_N, np.concatenate(parts)), clips_E), self._unit(name))
            for name, parts in self._errors.items()
        ]

    def _unit(self, name: str) -> str:
        return "degrees" if name.startswith("angle") else self.states.env.length_unit

    def _read(self, block: int, tokens_BSD: Tensor, row_B: np.ndarray) -> None:
        objects_BOF = self.states.objects(row_B)
        for reading in self.readings:
            error_B = reading_error(reading, tokens_BSD, objects_BOF, self.states.env)
            self._errors.setdefault(f"{reading.name}@{block}", []).append(error_B)


def training_frames(module: DynamicsTraining, data: EpisodeClips) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Tokens of some thousand frames of training episodes ``(N, S, D)``, their rows and their episodes ``(N,)``."""
    dataset = data.training_clips()
    picks = evenly_spread(np.arange(len(dataset)), _TRAINING_FRAMES)
    tokens = []
    with torch.inference_mode():
        for part in np.array_split(picks, max(1, len(picks) // data.batch_size)):
            batch = dataset.__getitems__(part.tolist())
            first = type(batch)(*(None if v is None else v[:, :1].to(module.device) for v in batch))
            tokens.append(module.clip_of(first).tokens_BTSD[:, 0].cpu())
    row_N = np.asarray(dataset.starts)[picks]
    return torch.cat(tokens), row_N, data.file.episode_of(row_N)


def fit_readings(tokens_NSD: Tensor, objects_NOF: np.ndarray, episode_N: np.ndarray, env: ObjectEnv) -> list[Reading]:
    """Fit probes of place and angle of every body on frames of training episodes.

    Args:
        tokens_NSD: in the tokenizer's units.
        objects_NOF: the simulator's account of the same frames.
        episode_N: that the frames are from.
        env: what the attributes are called.
    """
    inputs_ND, episodes_N = tokens_NSD.flatten(1).double().cpu(), torch.from_numpy(episode_N)
    readings = []
    for body, name in enumerate(env.body_names):
        for kind, alike_after in _readable(env, name):
            answers_NR = _answers(objects_NOF[:, body], env, alike_after)
            probe = fit_mlp(Task(inputs_ND, answers_NR, episodes_N), is_class=False)
            readings.append(Reading(f"{kind}_error_{name}", body, alike_after, probe))
    return readings


def reading_error(reading: Reading, tokens_NSD: Tensor, objects_NOF: np.ndarray, env: ObjectEnv) -> np.ndarray:
    """How far a probe's answers are from the truth, ``(N,)``: distance in the environment's units, or degrees.

    Args:
        reading: the probe.
        tokens_NSD: to read, in the tokenizer's units.
        objects_NOF: the simulator's account of the frames that the tokens should show.
        env: what the attributes are called.
    """
    found_N2 = reading.probe(tokens_NSD.flatten(1).double().cpu())
    truth_N2 = _answers(objects_NOF[:, reading.body], env, reading.alike_after)
    if not reading.alike_after:
        return (found_N2 - truth_N2).norm(dim=1).numpy()
    found_N, truth_N = (torch.atan2(values_N2[:, 1], values_N2[:, 0]) for values_N2 in (found_N2, truth_N2))
    difference_N = torch.remainder(found_N - truth_N + torch.pi, 2 * torch.pi) - torch.pi
    return torch.rad2deg(difference_N.abs() / reading.alike_after).numpy()


def _readable(env: ObjectEnv, body: str) -> list[tuple[str, int]]:
    """What can be asked of a body: ``position``, and ``angle`` with how many turns of it look alike."""
    places = [("position", 0)] if {"x", "y"} <= set(env.attribute_names) else []
    can_turn = "angle" in env.attribute_names and turns_alike(body)
    return [*places, ("angle", turns_alike(body))] if can_turn else places


def _answers(object_NF: np.ndarray, env: ObjectEnv, alike_after: int) -> Tensor:
    """x and y, or cosine and sine of the multiple of an angle after which the body looks the same; ``(N, 2)``."""
    if not alike_after:
        places = [env.attribute_names.index(name) for name in ("x", "y")]
        return torch.from_numpy(object_NF[:, places]).double()
    turned_N = alike_after * torch.from_numpy(object_NF[:, env.attribute_names.index("angle")]).double()
    return torch.stack([turned_N.cos(), turned_N.sin()], dim=1)
