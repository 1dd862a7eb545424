"""The distance to a goal in the environment's own units, as a frozen probe reads them from tokens."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cjepa.arguments import above
from cjepa.data.splits import SPLIT_SEED, Lineage, lineage_beside
from cjepa.data.store.episodes import Episodes
from cjepa.data.store.shards import open_episodes
from cjepa.errors import UserError
from cjepa.planning.compatibility import check_tokens
from cjepa.planning.objectives import Goal, Learned, Objective, tokenizer_units
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import device_of
from cjepa.types import Rollout
from cjepa.world_models.dynamics import Dynamics
from cjepa.world_models.state_probe import StateProbe, check_indices


class ProbeError(Objective):
    """Error of place and angle of the block that comes nearest to the goal, each over its tolerance, added up.

    A probe is fitted once on tokens of training episodes: ridge regression of the recorded states. Where the probe is
    exact, a future with both parts below 1 is a success.

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
        check_indices(places, angles)
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
        check_tokens(file, tokenizer, "objective.init_args.tokens")
        probe = StateProbe(*file.columns["tokens"][0][1:], self.places, self.angles)
        probe.fit_on(file, self._fitted_on(file, lineage))
        return self.reading(probe.to(device_of(dynamics)), dynamics)

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
        distance_BNH, degrees_BNH = self._probe.differences(self._read(rollout), self._read(goal.as_rollout()))
        error_BNH = distance_BNH / self.place_tolerance + degrees_BNH / self.angle_tolerance
        return error_BNH.amin(dim=2)

    def _read(self, rollout: Rollout) -> Tensor:
        """Answers ``(B, N, H, R)``."""
        with torch.autocast(rollout.tokens_BHSD.device.type, enabled=False):  # bfloat16 is too coarse for pixels
            return self._probe(tokenizer_units(self._dynamics, rollout))

    def _fitted_on(self, file: Episodes, lineage: Mapping[str, Any]) -> Lineage:
        return lineage_beside(file, lineage, SPLIT_SEED if self.split_seed is None else self.split_seed)
