"""The true influence graph of a window: who touched whom, closed in time, from the simulator's log of contacts.

Body j influences body i if j touched i, or touched a body that later touched i, and so on. Each contact on the shortest
such path is a hop. Contacts of one env step count in either order, since the log does not order them.
"""

from collections.abc import Callable

import numpy as np


def contact_hops(contacts_WTOO: np.ndarray) -> np.ndarray:
    """Fewest hops from the body of a column to the body of a row, int ``(W, O, O)``; 0 where there is no path.

    Args:
        contacts_WTOO: whether the body of a row was touched by that of a column, and can be moved by it, during each
            env step of W windows.
    """
    windows, env_steps, bodies, _ = contacts_WTOO.shape
    never = bodies  # a shortest path has fewer hops than there are bodies
    itself_OO = np.eye(bodies, dtype=bool)
    hops_WOO = np.broadcast_to(np.where(itself_OO, 0, never), (windows, bodies, bodies))
    for touched_WOO in np.moveaxis(contacts_WTOO.astype(bool), 1, 0):
        hops_WOO = _chained(hops_WOO, lambda hops, touched=touched_WOO: np.where(touched[..., None], hops + 1, never))
    return np.where((hops_WOO == never) | itself_OO, 0, hops_WOO)


def closest_approach(place_WTO2: np.ndarray) -> np.ndarray:
    """How near influence has to jump from the body of a column to the body of a row, ``(W, O, O)``.

    Of all paths that follow time it is the smallest of their longest jump, in the units of the places. Contacts of a
    graph that is closed in time then are pairs below the distance at which bodies touch.

    Args:
        place_WTO2: tracks of the bodies, NaN where there is none.
    """
    gap_WTOO = np.linalg.norm(place_WTO2[:, :, :, None] - place_WTO2[:, :, None], axis=-1)
    gap_WTOO = np.where(np.isnan(gap_WTOO), np.inf, gap_WTOO)
    bodies = gap_WTOO.shape[-1]
    reach_WOO = np.broadcast_to(np.where(np.eye(bodies, dtype=bool), 0.0, np.inf), gap_WTOO[:, 0].shape)
    for gap_WOO in np.moveaxis(gap_WTOO, 1, 0):
        reach_WOO = _chained(reach_WOO, lambda reach, gap=gap_WOO: np.maximum(gap[..., None], reach))
    return reach_WOO


def _chained(reached_WOO: np.ndarray, step: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The cost of reaching a row from a column, with chains of any length within one moment.

    Args:
        reached_WOO: the cost so far.
        step: of reaching every row by way of every other body, ``(W, row, by way of, column)``, from that cost.
    """
    for _ in range(reached_WOO.shape[-1] - 1):
        closer_WOO = np.minimum(reached_WOO, step(reached_WOO[:, None]).min(axis=2))
        if np.array_equal(closer_WOO, reached_WOO):
            break
        reached_WOO = closer_WOO
    return reached_WOO
