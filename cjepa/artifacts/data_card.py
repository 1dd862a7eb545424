"""What episodes contain, in numbers that can be compared between data sets: a data card."""

import json
from typing import Any, NamedTuple

import numpy as np

from cjepa.counts import number_of
from cjepa.data.clip_windows import evenly_spread
from cjepa.data.store.episodes import DamagedEpisode, Episode, Episodes
from cjepa.envs import make_env
from cjepa.envs.base import ObjectEnv
from cjepa.errors import UserError

WINDOW_ENV_STEPS = 25
"""From start to goal in the evaluation protocol of Push-T."""
_COLUMNS = ("action", "state", "objects", "contacts")
_EPISODES, _ENV_STEPS = 300, 100_000  # at most; more episodes hardly change the numbers
_CELLS = 8  # of x, y and angle each
_PERCENTS = (10, 50, 90)


class _Bodies(NamedTuple):
    """Bodies of one kind, pooled; arrays over all rows where a body is present."""

    place_2: np.ndarray
    velocity_2: np.ndarray
    angle: np.ndarray | None
    moved: np.ndarray
    """Distance over :data:`WINDOW_ENV_STEPS`, over windows of one episode."""
    turned_degrees: np.ndarray | None


def data_card(episodes: Episodes) -> dict[str, Any]:
    """Statistics of actions, bodies, contacts and pairs; those that the columns and the environment allow.

    Large data sets are sampled: ``episodes`` of ``of_episodes``, evenly spread; ``env_steps`` counts their rows.

    Args:
        episodes: of any environment; of an environment that cannot be made here, only actions are described.

    Returns:
        Plain values. ``action_mean``, ``action_std``: per dimension. ``NAME_place_std``: of x and y. ``NAME_speed``:
        mean. ``NAME_velocity_std``: of vx and vy. ``NAME_angle_std``: radians, of angles in [0, 2 pi).
        ``NAME_displacement`` and ``NAME_rotation_degrees``: 10, 50 and 90 % over 25 env steps. ``NAME_pose_coverage``:
        share of 8 x 8 x 8 cells of x, y and angle that were visited. ``contact_share``: of env steps, any two bodies.
        ``trivial_pairs``: share of states that pass the environment's success test for the state 25 env steps later.
        NAME is ``agent`` or that of the only other body, or ``bodies``: all others together.
    """
    chosen = _chosen(episodes)
    rows, damaged = _read(episodes, chosen)
    card: dict[str, Any] = {"episodes": len(rows), "of_episodes": len(episodes)}
    card["env_steps"] = sum(len(next(iter(episode.values()))) for episode in rows)
    if damaged:
        card["damaged_episodes"] = damaged
    if not card["env_steps"]:
        return card
    env = _environment(episodes)
    return card | _of_actions(rows) | _of_bodies(rows, env) | _of_contacts(rows) | _of_pairs(rows, env)


def card_lines(card: dict[str, Any]) -> list[str]:
    """The card as lines for people."""
    episodes, env_steps = number_of(card["of_episodes"], "episode"), number_of(card["env_steps"], "env step")
    sampled = f"{card['episodes']:,} of {episodes}, {env_steps}"
    lines = [f"data card ({sampled}; displacements, rotations and pairs over {WINDOW_ENV_STEPS} env steps):"]
    for name, value in list(card.items())[3:]:
        lines.append(f"  {name}: {', '.join(f'{number:.3g}' for number in np.atleast_1d(value))}")
    return lines


def _chosen(episodes: Episodes) -> list[int]:
    """Indices of the episodes to read, evenly spread."""
    filled = np.flatnonzero(episodes.lengths)
    if not len(filled):
        return []
    most = max(1, min(_EPISODES, int(_ENV_STEPS / episodes.lengths[filled].mean())))
    return evenly_spread(filled, most).tolist()


def _read(episodes: Episodes, chosen: list[int]) -> tuple[list[Episode], int]:
    """The small columns of episodes, and how many episodes are damaged."""
    columns = [name for name in _COLUMNS if name in episodes.columns]
    rows, damaged = [], 0
    for index in chosen if columns else ():
        try:
            rows.append(episodes.episode(index, columns))
        except DamagedEpisode:
            damaged += 1
    return rows, damaged


def _environment(episodes: Episodes) -> ObjectEnv | None:
    """The environment of the episodes, where it is known and can be made here."""
    env_id, env_kwargs = episodes.attributes.get("env_id"), episodes.attributes.get("env_kwargs", "{}")
    try:
        return make_env(env_id, json.loads(env_kwargs)) if env_id else None
    except (UserError, json.JSONDecodeError):
        return None


def _of_actions(rows: list[Episode]) -> dict[str, Any]:
    if "action" not in rows[0]:
        return {}
    action = np.concatenate([episode["action"] for episode in rows]).astype(np.float64)
    return {"action_mean": action.mean(axis=0).tolist(), "action_std": action.std(axis=0).tolist()}


def _of_bodies(rows: list[Episode], env: ObjectEnv | None) -> dict[str, Any]:
    names, attributes = (env.body_names, env.attribute_names) if env else ((), ())
    if "objects" not in rows[0] or rows[0]["objects"].shape[1:] != (len(names), len(attributes)):
        return {}
    if not {"x", "y", "vx", "vy"} <= set(attributes):
        return {}
    others = [body for body, name in enumerate(names) if name != "agent"]
    kinds = {"agent": [body for body, name in enumerate(names) if name == "agent"]}
    kinds[names[others[0]] if len(others) == 1 else "bodies"] = others
    facts: dict[str, Any] = {}
    for kind, members in kinds.items():
        bodies = _pooled(rows, members, attributes) if members else None
        if bodies and len(bodies.place_2):
            facts |= {f"{kind}_{name}": value for name, value in _of_kind(bodies, kind, env).items()}
    return facts


def _of_kind(bodies: _Bodies, kind: str, env: ObjectEnv) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "place_std": bodies.place_2.std(axis=0).tolist(),
        "speed": float(np.linalg.norm(bodies.velocity_2, axis=1).mean()),
        "velocity_std": bodies.velocity_2.std(axis=0).tolist(),
    }
    if len(bodies.moved):
        facts["displacement"] = np.percentile(bodies.moved, _PERCENTS).tolist()
    if bodies.angle is None or kind == "agent":
        return facts
    facts["angle_std"] = float(bodies.angle.std())
    if len(bodies.moved):
        facts["rotation_degrees"] = np.percentile(bodies.turned_degrees, _PERCENTS).tolist()
    if env.table is not None:
        facts["pose_coverage"] = _coverage(bodies.place_2, bodies.angle, env.table)
    return facts


def _pooled(rows: list[Episode], members: list[int], attributes: tuple[str, ...]) -> _Bodies:
    def column(values: np.ndarray, *names: str) -> np.ndarray:
        return values[..., [attributes.index(name) for name in names]]

    def present(values: np.ndarray) -> np.ndarray:
        return column(values, "present")[..., 0] > 0 if "present" in attributes else np.ones(values.shape[:2], bool)

    every = [episode["objects"][:, members].astype(np.float64) for episode in rows]
    there = np.concatenate([values[present(values)] for values in every])
    starts, ends = (np.concatenate(part) for part in zip(*map(_window, every), strict=True))
    both = present(starts) & present(ends)
    starts, ends = starts[both], ends[both]
    moved = np.linalg.norm(column(ends, "x", "y") - column(starts, "x", "y"), axis=-1)
    angle = turned = None
    if "angle" in attributes:
        angle = column(there, "angle")[:, 0] % (2 * np.pi)
        turn = column(ends, "angle")[:, 0] - column(starts, "angle")[:, 0]
        turned = np.degrees(np.abs((turn + np.pi) % (2 * np.pi) - np.pi))
    return _Bodies(column(there, "x", "y"), column(there, "vx", "vy"), angle, moved, turned)


def _coverage(place_2: np.ndarray, angle: np.ndarray, table: tuple[float, float]) -> float:
    """Share of the cells of a grid over the table and all angles that are visited."""
    ranges = [table, table, (0.0, 2 * np.pi)]
    counts, _ = np.histogramdd(np.column_stack([place_2, angle]), _CELLS, ranges)
    return float((counts > 0).mean())


def _of_contacts(rows: list[Episode]) -> dict[str, Any]:
    if "contacts" not in rows[0]:
        return {}
    # a row tells the contacts of the env step before it: the first row knows of none
    touching = np.concatenate([episode["contacts"][1:].any(axis=(1, 2)) for episode in rows])
    return {"contact_share": float(touching.mean())} if len(touching) else {}


def _of_pairs(rows: list[Episode], env: ObjectEnv | None) -> dict[str, Any]:
    if env is None or "state" not in rows[0] or rows[0]["state"].shape[1:] != env.get_state().shape:
        return {}
    windows = zip(*(_window(episode["state"].astype(np.float64)) for episode in rows), strict=True)
    starts, goals = (np.concatenate(part) for part in windows)
    return {"trivial_pairs": float(env.is_success(starts, goals).mean())} if len(starts) else {}


def _window(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one episode, and those 25 env steps later; none of a shorter episode."""
    return values[: max(len(values) - WINDOW_ENV_STEPS, 0)], values[WINDOW_ENV_STEPS:]
