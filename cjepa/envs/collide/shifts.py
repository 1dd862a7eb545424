"""What recorded states of Collide become under a shift: bodies at the same places that look or weigh otherwise.

File letters: K bodies that are there, without the agent; A attributes of a body.
"""

from collections.abc import Callable, Mapping

import numpy as np

from cjepa.envs.base import Shift
from cjepa.envs.collide.drawing import COLOUR_NAMES
from cjepa.envs.collide.world import MAX_BODIES, SHAPE_NAMES, Attribute

_UNSEEN_COLOURS = [COLOUR_NAMES.index(name) for name in ("lime", "mint", "sky", "salmon")]


def collide_shifts(agent: bool, target_body: int) -> Mapping[str, Shift]:
    """All shifts of an environment; none of them changes an agent.

    Args:
        agent: whether body 0 is one.
        target_body: of the task, which stays when others are taken away.
    """

    def of_bodies(change: Callable[[np.ndarray], None]) -> Shift:
        def state(state_F: np.ndarray) -> np.ndarray:
            bodies = np.array(state_F, np.float64).reshape(MAX_BODIES, len(Attribute))
            there = bodies[:, Attribute.PRESENT] > 0
            there[0] &= not agent
            changed_KA = bodies[there]
            change(changed_KA)
            bodies[there] = changed_KA
            return bodies.ravel()

        return Shift(state=state)

    def two_bodies(state_F: np.ndarray) -> np.ndarray:
        bodies = np.array(state_F, np.float64).reshape(MAX_BODIES, len(Attribute))
        bodies[[body for body in range(MAX_BODIES) if body not in (0, target_body)]] = 0
        return bodies.ravel()

    return {
        "colours": of_bodies(_recolour),
        "shapes": of_bodies(_make_hexagons),
        "size": of_bodies(_shrink),
        "mass": of_bodies(_weigh_down),
        "count": Shift(state=two_bodies),
    }


def _recolour(bodies_KA: np.ndarray) -> None:
    colour_K = bodies_KA[:, Attribute.COLOUR].astype(int)
    bodies_KA[:, Attribute.COLOUR] = np.take(_UNSEEN_COLOURS, colour_K % len(_UNSEEN_COLOURS))


def _make_hexagons(bodies_KA: np.ndarray) -> None:
    bodies_KA[:, Attribute.SHAPE] = SHAPE_NAMES.index("hexagon")


def _shrink(bodies_KA: np.ndarray) -> None:
    bodies_KA[:, Attribute.SIZE] *= 0.75  # larger bodies would lie on each other


def _weigh_down(bodies_KA: np.ndarray) -> None:
    bodies_KA[:, Attribute.MASS] *= 3.0
