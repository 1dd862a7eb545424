"""One scene, model beside simulator: what would happen if a body were changed, and who influences whom."""

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.envs.interventions import Intervention, InterventionEnv
from cjepa.errors import UserError
from cjepa.evaluation.bodies import places
from cjepa.evaluation.interventions.counterfactuals import MASK, latent_intervention, simulated_track
from cjepa.evaluation.interventions.influence_graphs import Estimate, influence_of
from cjepa.evaluation.interventions.laboratory import Laboratory
from cjepa.evaluation.interventions.scenes import EncodedEpisode, Scenes, cut_scenes
from cjepa.interventions.edits import imagine
from cjepa.interventions.quantities import Quantity
from cjepa.types import Clip, Rollout
from cjepa.world_models.dynamics import split_clip

Way = Literal["remove", "set_velocity", "set_position", "freeze", "mask"]
"""How a body is changed: the kinds of intervention of the simulator; ``mask`` changes only what the model sees."""


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


class Scene:
    """A scene of a held-out episode, and what the simulator and a model say of it.

    Args:
        lab: the model and the simulator.
        place: where tokens hold it.
        scenes: a batch of this one scene.
    """

    def __init__(self, lab: Laboratory, place: Quantity, scenes: Scenes):
        self.lab, self.place, self.scenes = lab, place, scenes
        self.slot_O = scenes.slot_BO[0]
        self.state_F = scenes.state_BF[0]  # of the simulator at the end of the history
        self.action_TA = scenes.action_BTA[0]  # of every env step after the history

    @property
    def bodies(self) -> list[int]:
        """Bodies on the table that the model sees."""
        return np.flatnonzero(self.slot_O >= 0).tolist()

    @property
    def contact_hops(self) -> np.ndarray:
        """The true graph, int ``(O, O)``: fewest contacts from the body of a column to that of a row, 0 for no path."""
        return self.scenes.hops_BOO[0]

    def picture(self) -> np.ndarray:
        """The last frame that the model sees, uint8 ``(Y, X, 3)``."""
        self.lab.env.set_state(self.state_F)
        return self.lab.env.render_pixels()

    def influence(self, by: Estimate) -> dict[str, np.ndarray]:
        """Estimates by name, ``(O, O)``: influence of the body of a column on that of a row, NaN where unknown.

        Raises:
            UserError: the model does not allow this estimate.
        """
        found = influence_of(by, self.lab)(self.lab.dynamics, self.scenes.clip)
        unknown_OO = (self.slot_O < 0)[:, None] | (self.slot_O < 0)
        slots_OO = np.ix_(self.slot_O, self.slot_O)
        return {
            name: np.where(unknown_OO, np.nan, values_BHSS.mean(dim=1)[0].numpy()[slots_OO])
            for name, values_BHSS in found.items()
        }

    @torch.no_grad()
    def what_if(self, way: Way, body: int, value: tuple[float, float] | None = None) -> WhatIf:
        """Change a body at the end of the history, in the simulator and in the model.

        Args:
            way: how.
            body: one of :attr:`bodies`.
            value: the new velocity or place, for ``set_velocity`` and ``set_position``.

        Raises:
            UserError: no such body, the model or the body does not allow this change, or the simulator has no
                interventions.
        """
        if not isinstance(self.lab.env, InterventionEnv):
            raise UserError(f"{type(self.lab.env).__name__} has no interventions; give episodes of cjepa/Collide-v0")
        lab, start = self.lab, (self.lab.env, self.lab.frame_stride, self.state_F, self.action_TA)
        true_factual_HO2 = places(self.scenes.objects_BTOF[0, lab.history :], lab.env)
        change = self.intervention(way, body, value)
        true_HO2 = true_factual_HO2 if change is None else simulated_track(*start, change)
        history, actions_BHA, _ = split_clip(lab.dynamics, self.scenes.clip)
        slot_1, value_12 = torch.tensor([self.slot_O[body]]), torch.tensor([value or (0.0, 0.0)], dtype=torch.float32)
        edit = latent_intervention(lab, way, slot_1, value_12, history, self.place)
        rollouts = imagine(lab.dynamics, history, actions_BHA, edit)
        return WhatIf(true_factual_HO2, true_HO2, *(self._track(rollout, history) for rollout in rollouts))

    def intervention(self, way: Way, body: int, value: tuple[float, float] | None) -> Intervention | None:
        """What is done in the simulator; None if nothing is.

        Raises:
            UserError: the model does not see this body.
        """
        if body not in self.bodies:
            raise UserError(f"body {body}: expected one of {self.bodies}, which the model sees")
        return None if way == MASK else Intervention(way, body, 0, value)

    def _track(self, rollout: Rollout, history: Clip) -> np.ndarray:
        tokens_BHSD: Tensor = self.lab.dynamics.denormalise(rollout).tokens_BHSD
        tokens_BTSD = torch.cat([history.tokens_BTSD[:, -1:], tokens_BHSD], dim=1)
        track_HO2 = self.place.track(tokens_BTSD)[0, 1:].double().numpy()[:, self.slot_O]
        return np.where((self.slot_O < 0)[:, None], np.nan, track_HO2)


class HeldOutScenes:
    """Scenes of held-out episodes by index, and any other scene of the same episodes.

    Args:
        lab: with its test scenes.
        place: where tokens hold it.
        horizon_blocks: H of the test scenes.
    """

    def __init__(self, lab: Laboratory, place: Quantity, horizon_blocks: int):
        self.lab, self.place, self.horizon_blocks = lab, place, horizon_blocks

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self.lab.test.episode_B)

    def scene(self, scene: int, start_env_step: int | None = None, horizon_blocks: int | None = None) -> Scene:
        """A scene, or another one of the same episode.

        Args:
            scene: index.
            start_env_step: at which the history begins in its episode; None for that of the test scene.
            horizon_blocks: blocks after the history; None for H.

        Raises:
            UserError: no such scene, or it does not fit into its episode.
        """
        lab, horizon = self.lab, self.horizon_blocks if horizon_blocks is None else horizon_blocks
        longest = self.longest_horizon(scene)
        if not 1 <= horizon <= longest:
            raise UserError(f"horizon {horizon}: expected 1..{longest} blocks, which fit into the episode")
        start, last = self.start(scene) if start_env_step is None else start_env_step, self.last_start(scene, horizon)
        if not 0 <= start <= last:
            raise UserError(f"start {start}: expected 0..{last} env steps, after which {horizon} blocks fit")
        cut = cut_scenes(self.episode(scene), np.array([start]), lab.history, horizon, lab.frame_stride)
        return Scene(lab, self.place, cut)

    def start(self, scene: int) -> int:
        """Env step of its episode at which the history of the test scene begins."""
        return int(self.lab.test.start_B[self._checked(scene)])

    def last_start(self, scene: int, horizon_blocks: int) -> int:
        """The last env step at which a scene of the same episode may begin."""
        return self.episode(scene).env_steps - (self.lab.history + horizon_blocks) * self.lab.frame_stride

    def longest_horizon(self, scene: int) -> int:
        """The most blocks that a scene of the same episode may have after its history."""
        return self.episode(scene).env_steps // self.lab.frame_stride - self.lab.history

    def episode(self, scene: int) -> EncodedEpisode:
        """That a scene is cut out of."""
        return self.lab.episodes[int(self.lab.test.episode_B[self._checked(scene)])]

    def _checked(self, scene: int) -> int:
        if not 0 <= scene < len(self):
            raise UserError(f"scene {scene}: expected 0..{len(self) - 1}")
        return scene
