"""Episodes as rows: row t holds the frame and the action taken from it."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from cjepa.data.store.episodes import Episode
from cjepa.envs.base import ObjectEnv
from cjepa.envs.interventions import Intervention, InterventionEnv, check_intervention
from cjepa.envs.policies import Policy


def run_episode(env: ObjectEnv, policy: Policy, seed: int, env_steps: int, with_masks: bool) -> Episode:
    """One episode of exactly ``env_steps`` rows."""
    policy.reset(np.random.default_rng(seed))
    state = policy.start_state(env)
    env.reset(seed=seed, options=None if state is None else {"state": state})
    return _record(env, (policy.act(env) for _ in range(env_steps)), with_masks)


def resimulate(
    env: InterventionEnv,
    start_state: np.ndarray,
    actions: np.ndarray,
    interventions: Sequence[Intervention] = (),
    with_masks: bool = True,
) -> Episode:
    """The same episode with something changed: the true counterfactual.

    Rows before the first intervention, and all rows without one, are bit-equal to the original's.

    Args:
        env: made with the same options as the original's.
        start_state: the first row of its ``state``.
        actions: its ``action`` (env steps, action_dim).
        interventions: what is changed; those of one env step in the order given.
        with_masks: with label images.

    Raises:
        UserError: an intervention makes no sense, or its body is not there at that env step.
    """
    for intervention in interventions:
        check_intervention(intervention, len(actions))
    env.reset(options={"state": start_state})

    return _record(env, _intervened(env, actions, interventions), with_masks)


def _intervened(
    env: InterventionEnv, actions: np.ndarray, interventions: Sequence[Intervention]
) -> Iterator[np.ndarray]:
    for env_step, action in enumerate(actions):
        for intervention in interventions:
            if intervention.env_step == env_step:
                env.intervene(intervention)
        yield action


def _record(env: ObjectEnv, actions: Iterable[np.ndarray], with_masks: bool) -> Episode:
    """Rows from where ``env`` is; each action is asked for when its row is due."""
    rows: dict[str, list[np.ndarray]] = {}
    for action in actions:
        for name, value in {**_row(env, with_masks), "action": action}.items():
            rows.setdefault(name, []).append(value)
        env.advance(action)
    return {name: np.stack(values) for name, values in rows.items()}


def _row(env: ObjectEnv, with_masks: bool) -> Episode:
    row = {
        "pixels": env.render_pixels(),
        "proprio": env.proprio(),
        "state": env.get_state().astype(np.float32),
        "objects": env.objects(),
        "contacts": env.contacts(),
    }
    return {**row, "masks": env.render_labels()} if with_masks else row
