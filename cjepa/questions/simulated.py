"""The true story of a Collide episode: from what was recorded, and from simulating again without a body."""

from collections.abc import Sequence

import numpy as np

from cjepa.data.store.episodes import Episode
from cjepa.envs.collide.drawing import COLOUR_NAMES
from cjepa.envs.collide.world import MATERIAL_NAMES, SHAPE_NAMES, TABLE_UNITS, Attribute
from cjepa.envs.interventions import Intervention, InterventionEnv
from cjepa.questions.stories import Event, Story

COLUMNS = ("state", "action", "objects", "contacts")
"""Of an episode that a story is made from."""
SAME_COLLISION_ENV_STEPS = 4
"""Two contacts of the same bodies within this time are one collision: bodies may roll along each other."""
_WORDS = {
    "color": (Attribute.COLOUR, COLOUR_NAMES),
    "shape": (Attribute.SHAPE, SHAPE_NAMES),
    "material": (Attribute.MATERIAL, MATERIAL_NAMES),
}


def true_story(env: InterventionEnv, episode: Episode, removal_env_step: int, seen_env_steps: int) -> Story:
    """What happens in an episode, would happen without each of its bodies, and happens after what is shown.

    Args:
        env: a simulator like the one that the episode was recorded in.
        episode: with the ``COLUMNS``.
        removal_env_step: at which bodies are removed in counterfactuals.
        seen_env_steps: frames that are shown; the rest is the future.
    """
    objects_TOF, on_TO = episode["objects"], on_table(episode["objects"])
    bodies = np.flatnonzero(on_TO[:seen_env_steps].any(axis=0)).tolist()
    events = events_of(on_TO, episode["contacts"].astype(bool))
    past = {name: episode[name][: removal_env_step + 1] for name in COLUMNS}
    action_TA = episode["action"][removal_env_step : seen_env_steps - 1]
    env.set_state(past["state"][-1])
    return Story(
        {body: _words(objects_TOF[0, body]) for body in bodies},
        [event for event in events if event.env_step < seen_env_steps],
        [event for event in events if event.env_step >= seen_env_steps],
        {body: _without(env, past, action_TA, body) for body in env.free_bodies()},
    )


def on_table(objects_TOF: np.ndarray) -> np.ndarray:
    """Bodies whose centre is on the table, bool ``(..., O)``."""
    place = objects_TOF[..., Attribute.X : Attribute.ANGLE]
    return ((place > 0) & (place < TABLE_UNITS)).all(axis=-1) & (objects_TOF[..., Attribute.PRESENT] > 0)


def events_of(on_TO: np.ndarray, touching_TOO: np.ndarray) -> list[Event]:
    """Events in order of time.

    Args:
        on_TO: bodies on the table at every env step, bool.
        touching_TOO: which bodies touched since the env step before, bool, symmetric; those of the first are not read.
    """
    came_TO, went_TO = on_TO[1:] & ~on_TO[:-1], on_TO[:-1] & ~on_TO[1:]
    found = [Event("enter", int(step) + 1, (int(body),)) for step, body in np.argwhere(came_TO)]
    found += [Event("exit", int(step) + 1, (int(body),)) for step, body in np.argwhere(went_TO)]
    last: dict[tuple[int, int], int] = {}
    both_TOO = touching_TOO & on_TO[:, :, None] & on_TO[:, None]
    for step, one, other in np.argwhere(np.triu(both_TOO[1:], k=1)).tolist():
        if step + 1 - last.get((one, other), -np.inf) > SAME_COLLISION_ENV_STEPS:
            found.append(Event("collision", step + 1, (one, other)))
        last[one, other] = step + 1
    return sorted(found, key=lambda event: event.env_step)


def _words(row_F: np.ndarray) -> dict[str, str]:
    return {name: names[int(row_F[attribute])] for name, (attribute, names) in _WORDS.items()}


def _without(env: InterventionEnv, past: Episode, action_TA: Sequence[np.ndarray], body: int) -> list[Event]:
    """Events after the last row of ``past``. A contact that goes on since then is no new collision here either."""
    removal_env_step = len(past["state"]) - 1
    env.set_state(past["state"][-1])
    env.intervene(Intervention("remove", body, removal_env_step))
    objects, contacts = [*past["objects"][:-1], env.objects()], list(past["contacts"])
    for action in action_TA:
        env.advance(action)
        objects.append(env.objects())
        contacts.append(env.contacts())
    events = events_of(on_table(np.stack(objects)), np.stack(contacts).astype(bool))
    return [event for event in events if event.env_step > removal_env_step]
