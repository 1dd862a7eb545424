"""Interventions from Python: one scene at a time, model beside simulator; docs/interventions.md has an example."""

from pathlib import Path

import numpy as np

from cjepa.checkpoints import find_checkpoint
from cjepa.configuration.run_config import data_options
from cjepa.evaluation.interventions.card import place_of
from cjepa.evaluation.interventions.influence_graphs import Estimate
from cjepa.evaluation.interventions.laboratory import SceneProtocol, open_laboratory
from cjepa.evaluation.interventions.what_if import HeldOutScenes, Way, WhatIf
from cjepa.progress import NoProgress, Progress
from cjepa.world_models.loading import load_world_model


class SceneLab(HeldOutScenes):
    """A world model and held-out scenes of its simulator, on the CPU.

    Args:
        run: run folder, exported folder or checkpoint of a world model.
        episodes: episode file with interventions, such as those of Collide.
        scenes: number of test scenes; as many validation scenes fit the probe of places, where one is needed.
        horizon_blocks: H.
        progress: advanced by test and validation scenes.

    Raises:
        UserError: the episodes and the model do not fit each other.
    """

    def __init__(
        self,
        run: str | Path,
        episodes: str | Path,
        scenes: int = 20,
        horizon_blocks: int = 10,
        progress: Progress | None = None,
    ):
        checkpoint = find_checkpoint(str(run))
        protocol = SceneProtocol(str(episodes), scenes=scenes, val_scenes=scenes, horizon_blocks=horizon_blocks)
        loaded, options = load_world_model(checkpoint), data_options(checkpoint)
        lab = open_laboratory(loaded, options, protocol, checkpoint, progress or NoProgress())
        super().__init__(lab, place_of(lab), horizon_blocks)

    def bodies(self, scene: int) -> list[int]:
        """Bodies on the table that the model sees."""
        return self.scene(scene).bodies

    def picture(self, scene: int) -> np.ndarray:
        """The last frame that the model sees, uint8 ``(Y, X, 3)``."""
        return self.scene(scene).picture()

    def contact_hops(self, scene: int) -> np.ndarray:
        """The true graph, see :attr:`Scene.contact_hops`."""
        return self.scene(scene).contact_hops

    def influence(self, scene: int, by: Estimate = "remove") -> dict[str, np.ndarray]:
        """Estimates of the graph, see :meth:`Scene.influence`."""
        return self.scene(scene).influence(by)

    def what_if(self, scene: int, kind: Way, body: int, value: tuple[float, float] | None = None) -> WhatIf:
        """The answer to an intervention, see :meth:`Scene.what_if`."""
        return self.scene(scene).what_if(kind, body, value)
