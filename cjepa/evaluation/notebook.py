"""Interventions from Python: one scene at a time, model beside simulator; docs/interventions.md has an example."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.checkpoints import find_checkpoint
from cjepa.envs.interventions import Intervention, InterventionEnv, Kind
from cjepa.errors import UserError
from cjepa.evaluation.counterfactuals import latent_intervention, simulated_track
from cjepa.evaluation.influence_graphs import Estimate, influence_of
from cjepa.evaluation.intervention_card import place_of
from cjepa.evaluation.planning import data_options
from cjepa.evaluation.scenes import SceneProtocol, open_laboratory, places
from cjepa.interventions.edits import imagine
from cjepa.progress import NoProgress
from cjepa.types import Clip, Rollout
from cjepa.world_models.dynamics import split_clip, take_rows
from cjepa.world_models.loading import load_world_model


class WhatIf(NamedTuple):
    """Places of all bodies after each of H blocks, ``(H, O, 2)`` in the environment's units.

    NaN where no slot of the model shows the body.
    """

    true_factual: np.ndarray
    """In the simulator, without the intervention."""
    true: np.ndarray
    """In the simulator, with it."""
    factual: np.ndarray
    """As the model predicts it, without the intervention."""
    predicted: np.ndarray
    """As the model predicts it, with it."""


class SceneLab:
    """A world model and held-out scenes of its simulator, on the CPU.

    Args:
        run: run folder, exported folder or checkpoint of a world model.
        episodes: episode file with interventions, such as those of Collide.
        scenes: number of test scenes.
        horizon_blocks: H.

    Raises:
        UserError: the episodes and the model do not fit each other.
    """

    def __init__(self, run: str | Path, episodes: str | Path, scenes: int = 20, horizon_blocks: int = 10):
        checkpoint = find_checkpoint(str(run))
        protocol = SceneProtocol(str(episodes), scenes=scenes, val_scenes=scenes, horizon_blocks=horizon_blocks)
        loaded, options = load_world_model(checkpoint), data_options(checkpoint)
        self.lab = open_laboratory(loaded, options, protocol, checkpoint, NoProgress())
        self.place = place_of(self.lab)

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self.lab.test.episode_B)

    def bodies(self, scene: int) -> list[int]:
        """Bodies on the table that the model sees."""
        return np.flatnonzero(self.lab.test.slot_BO[self._checked(scene)] >= 0).tolist()

    def picture(self, scene: int) -> np.ndarray:
        """The last frame that the model sees, uint8 ``(Y, X, 3)``."""
        self.lab.env.set_state(self.lab.test.state_BF[self._checked(scene)])
        return self.lab.env.render_pixels()

    def contact_hops(self, scene: int) -> np.ndarray:
        """The true graph, int ``(O, O)``: fewest contacts from the body of a column to that of a row, 0 for no path."""
        return self.lab.test.hops_BOO[self._checked(scene)]

    def influence(self, scene: int, by: Estimate = "remove") -> dict[str, np.ndarray]:
        """Estimates by name, ``(O, O)``: influence of the body of a column on that of a row, NaN where unknown.

        Raises:
            UserError: the model does not allow this estimate.
        """
        found = influence_of(by, self.lab)(self.lab.dynamics, self._clip(scene))
        slot_O = self.lab.test.slot_BO[scene]
        unknown_OO = (slot_O < 0)[:, None] | (slot_O < 0)
        return {
            name: np.where(unknown_OO, np.nan, values_BHSS.mean(dim=1)[0].numpy()[np.ix_(slot_O, slot_O)])
            for name, values_BHSS in found.items()
        }

    @torch.no_grad()
    def what_if(self, scene: int, kind: Kind, body: int, value: tuple[float, float] | None = None) -> WhatIf:
        """Change a body at the end of the history, in the simulator and in the model.

        Args:
            scene: index.
            kind: ``remove``, ``set_velocity``, ``set_position`` or ``freeze``.
            body: one of :meth:`bodies`.
            value: the new velocity or place, for the kinds that take one.

        Raises:
            UserError: no such body, the kind makes no sense for it, or the simulator has no interventions.
        """
        if not isinstance(self.lab.env, InterventionEnv):
            raise UserError(f"{type(self.lab.env).__name__} has no interventions; give episodes of cjepa/Collide-v0")
        if body not in self.bodies(scene):
            raise UserError(f"body {body} of scene {scene}: expected one of {self.bodies(scene)}")
        lab, scenes = self.lab, self.lab.test
        start = lab.env, lab.frame_stride, scenes.state_BF[scene], scenes.action_BTA[scene]
        true_HO2 = simulated_track(*start, Intervention(kind, body, 0, value))
        history, actions_BHA, _ = split_clip(lab.dynamics, self._clip(scene))
        slot_V = torch.tensor([scenes.slot_BO[scene, body]])
        value_V2 = torch.tensor([value or (0.0, 0.0)], dtype=torch.float32)
        edit = latent_intervention(lab, kind, slot_V, value_V2, history, self.place)
        rollouts = imagine(lab.dynamics, history, actions_BHA, edit)
        predicted = (self._tracks(scene, rollout) for rollout in rollouts)
        return WhatIf(places(scenes.objects_BTOF[scene, lab.history :], lab.env), true_HO2, *predicted)

    def _tracks(self, scene: int, rollout: Rollout) -> np.ndarray:
        tokens_HSD: Tensor = self.lab.dynamics.denormalise(rollout).tokens_BHSD[0]
        slot_O = self.lab.test.slot_BO[scene]
        track_HO2 = self.place.read(tokens_HSD).double().numpy()[:, slot_O]
        return np.where((slot_O < 0)[:, None], np.nan, track_HO2)

    def _clip(self, scene: int) -> Clip:
        scene = self._checked(scene)
        return take_rows(self.lab.test.clip, slice(scene, scene + 1))

    def _checked(self, scene: int) -> int:
        if not 0 <= scene < len(self):
            raise UserError(f"scene {scene}: expected 0..{len(self) - 1}")
        return scene
