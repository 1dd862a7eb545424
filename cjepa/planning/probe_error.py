"""The distance to a goal in the environment's own units, as a frozen probe reads them from tokens.

File letters: W values of all tokens of a frame (S x D), R answers of a probe, V of them places.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.arguments import above, check
from cjepa.data.splits import SPLIT_SEED, Lineage, lineage_beside, training_episodes
from cjepa.data.store.episodes import Episodes
from cjepa.data.store.shards import frame_reader, open_episodes
from cjepa.errors import UserError
from cjepa.planning.objectives import Goal, Learned, Objective, tokenizer_units
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import fingerprint
from cjepa.types import Rollout
from cjepa.world_models.dynamics import Dynamics

_FRAMES, _RIDGE = 6000, 1.0


class StateProbe(NamedTuple):
    """A linear map from all tokens of a frame to places, and cosines and sines of angles."""

    weight_WR: Tensor
    bias_R: Tensor

    def __call__(self, tokens_LSD: Tensor) -> Tensor:
        """Answers ``(..., R)``: places, then cosines, then sines; tokens with any leading dimensions.

        Raises:
            UserError: another number of tokens than the probe was fitted on.
        """
        values_LW = tokens_LSD.flatten(-2)
        if values_LW.shape[-1] != len(self.weight_WR):
            slots, expected = tokens_LSD.shape[-2], len(self.weight_WR) // tokens_LSD.shape[-1]
            raise UserError(f"ProbeError: the world model has {slots} tokens, but the probe was fitted on {expected}")
        return values_LW @ self.weight_WR.to(values_LW) + self.bias_R.to(values_LW)


class ProbeError(Objective):
    """Error of place and angle of the block that comes nearest to the goal, each over its tolerance, added up.

    A probe is fitted once on tokens of training episodes: ridge regression of the recorded states. Where the probe is
    exact, a future with both parts below 1 is a success. On slots of Push-T, its own mean errors are 0.5 px (agent),
    6 px (block) and 5 degrees.

    Args:
        tokens: token file with a column ``state``, of the tokenizer that the world model was trained on.
        places: indices of the state's values that are places; their joint distance counts.
        angles: indices of the state's values that are angles, in radians.
        place_tolerance: distance that costs 1, in the units of the state.
        angle_tolerance: angle that costs 1, in degrees.
        split_seed: of the split by episode, whose training part the probe is fitted on; None: the world model's.

    Raises:
        ValueError: neither places nor angles, an index below 0, or a tolerance that is not above 0.
    """

    def __init__(
        self,
        tokens: str = "data/pusht-tokens.h5",
        places: Sequence[int] = (0, 1, 2, 3),
        angles: Sequence[int] = (4,),
        place_tolerance: float = 20.0,
        angle_tolerance: float = 20.0,
        split_seed: int | None = None,
    ):
        above(0, place_tolerance=place_tolerance, angle_tolerance=angle_tolerance)
        if not [*places, *angles]:
            raise ValueError("places and angles are both empty, expected one index or more")
        lowest = min([*places, *angles])
        check(lowest >= 0, "an index of places or angles", lowest, "0 or more")
        self.tokens = tokens
        self.places, self.angles = list(places), list(angles)
        self.place_tolerance, self.angle_tolerance = place_tolerance, angle_tolerance
        self.split_seed = split_seed

    def for_model(self, dynamics: Dynamics, tokenizer: Tokenizer, lineage: Mapping[str, Any]) -> "ProbeError":
        """See :class:`~cjepa.planning.objectives.Objective`; fits the probe.

        Raises:
            UserError: ``tokens`` is not a file of the tokenizer's tokens with states, its states are too short, or the
                world model was trained with another ``split_seed``.
        """
        trained_with = lineage.get("split_seed", self.split_seed)
        if self.split_seed not in (None, trained_with):
            raise UserError(
                f"objective.init_args.split_seed is {self.split_seed}, but the world model was trained with "
                f"split_seed {trained_with}; leave split_seed out"
            )
        file = open_episodes(self.tokens)
        found, expected = file.attributes.get("tokenizer_fingerprint"), fingerprint(tokenizer)
        if found != expected:
            raise UserError(
                f"objective.init_args.tokens {self.tokens}: its tokens are of tokenizer {found}, those of the world "
                f"model of {expected}; give the token file that the world model was trained on"
            )
        return self.reading(self._fitted(file, self._fitted_on(file, lineage)), dynamics)

    def learned(self, lineage: Mapping[str, Any]) -> list[Learned]:
        """See :class:`~cjepa.planning.objectives.Objective`; the episodes that the probe is fitted on.

        Raises:
            UserError: there is no such token file.
        """
        fitted_on = self._fitted_on(open_episodes(self.tokens), lineage)
        return [Learned(f"probe of {self.tokens}", fitted_on._asdict())]

    def decided_by(self) -> dict[str, Any]:
        """What decides its costs: the content of the token file, wherever the file is.

        Raises:
            UserError: there is no such file.
        """
        return vars(self) | {"tokens": open_episodes(self.tokens).fingerprint}

    def reading(self, probe: StateProbe, dynamics: Dynamics) -> "ProbeError":
        """The objective with a probe, for the rollouts of a world model."""
        reads = copy.copy(self)
        reads._probe, reads._dynamics = probe, dynamics
        return reads

    def __call__(self, rollout: Rollout, actions_BNHA: Tensor, goal: Goal) -> Tensor:
        """See :class:`~cjepa.planning.objectives.Objective`."""
        return self.of_blocks(rollout, goal).amin(dim=2)

    def of_blocks(self, rollout: Rollout, goal: Goal) -> Tensor:
        """Errors of all blocks, ``(B, N, H)``."""
        return self._error(self._read(rollout), self._read(goal.as_rollout()))

    def _error(self, predicted_LR: Tensor, goal_LR: Tensor) -> Tensor:
        """Cost ``(...)`` of answers at any leading dimensions."""
        places, angles = len(self.places), len(self.angles)
        distance_L = (predicted_LR - goal_LR)[..., :places].norm(dim=-1)
        found_LR, wanted_LR = (
            torch.atan2(answers[..., places + angles :], answers[..., places : places + angles])
            for answers in (predicted_LR, goal_LR)
        )
        turn_LR = torch.remainder(found_LR - wanted_LR + math.pi, 2 * math.pi) - math.pi
        degrees_L = torch.rad2deg(turn_LR.abs()).sum(dim=-1)
        return distance_L / self.place_tolerance + degrees_L / self.angle_tolerance

    def _read(self, rollout: Rollout) -> Tensor:
        """Answers ``(B, N, H, R)``."""
        with torch.autocast(rollout.tokens_BHSD.device.type, enabled=False):  # bfloat16 is too coarse for pixels
            return self._probe(tokenizer_units(self._dynamics, rollout))

    def _fitted_on(self, file: Episodes, lineage: Mapping[str, Any]) -> Lineage:
        return lineage_beside(file, lineage, SPLIT_SEED if self.split_seed is None else self.split_seed)

    def _fitted(self, file: Episodes, lineage: Lineage) -> StateProbe:
        """Ridge regression on frames of training episodes."""
        file.require("tokens"), file.require("state")
        width = file.columns["state"][0][1]
        if (largest := max([*self.places, *self.angles])) >= width:
            raise UserError(
                f"objective.init_args: index {largest} of places or angles, but states of {file.path} have {width} "
                f"values; give indices in 0..{width - 1}"
            )
        train = training_episodes(file, lineage)
        rows = np.concatenate([file.offsets[e] + np.arange(file.lengths[e]) for e in train])
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, _FRAMES).round().astype(int))]
        tokens_NW, state_NF = (
            torch.from_numpy(frame_reader(file, name).read(rows)).double().flatten(1) for name in ("tokens", "state")
        )
        angle_NV = state_NF[:, self.angles]
        return fit_probe(tokens_NW, torch.cat([state_NF[:, self.places], angle_NV.cos(), angle_NV.sin()], dim=1))


def fit_probe(tokens_NW: Tensor, answers_NR: Tensor) -> StateProbe:
    """Ridge regression in closed form, of tokens that are scaled to standard deviation 1.

    Args:
        tokens_NW: of N frames, float64.
        answers_NR: float64.
    """
    mean_W, centre_R, std_W = tokens_NW.mean(dim=0), answers_NR.mean(dim=0), tokens_NW.std(dim=0)
    std_W[std_W < 1e-6] = 1.0  # a value that never changed
    scaled_NW = (tokens_NW - mean_W) / std_W
    gram_WW = scaled_NW.T @ scaled_NW + _RIDGE * torch.eye(len(mean_W), dtype=torch.float64)
    weight_WR = torch.linalg.solve(gram_WW, scaled_NW.T @ (answers_NR - centre_R)) / std_W[:, None]
    return StateProbe(weight_WR, centre_R - mean_W @ weight_WR)
