"""Measure a policy and the drift of restored runs on Push-T; prints the tables of docs/push-t.md.

    python tools/measure_push_t.py --episodes 100
    python tools/measure_push_t.py --episodes 100 --policy simulator-mpc

Fresh episodes, one process, no files. 100 episodes take a few seconds, those of simulator-mpc two minutes.
"""

import argparse
from typing import NamedTuple

import numpy as np

from cjepa.data.recording import run_episode
from cjepa.data.store.episodes import Episode
from cjepa.envs.policies import Policy
from cjepa.envs.pusht.drawing import TABLE_PX
from cjepa.envs.pusht.env import PushT
from cjepa.envs.pusht.policy import PushTBehaviour
from cjepa.planning.demonstrators.simulator_mpc import SimulatorMPC, block_middle

WINDOW_ENV_STEPS = 25
WALL_PX = 60.0
DRIFT_WALL_PX = 80.0
MIN_CONTACT_SHARE = 0.2  # of the env steps of an episode that counts as contact-rich
RESTORED_STATES = 100
POLICIES = {"behaviour": PushTBehaviour, "simulator-mpc": SimulatorMPC}


class Measured(NamedTuple):
    """One line of a table."""

    what: str
    values: np.ndarray
    unit: str


def collect(policy: Policy, episodes: int, env_steps: int, seed: int) -> tuple[list[Episode], list[bool]]:
    """Episodes without label images, the same as ``cjepa collect`` makes; for each goal that ended, was it reached."""
    env = PushT(image_size=64)
    recorded, goals = [], []
    for index in range(episodes):
        episode_seed = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
        recorded.append(run_episode(env, policy, episode_seed, env_steps, with_masks=False))
        goals += policy.goals_reached if isinstance(policy, SimulatorMPC) else ()
    return recorded, goals


def motion(episodes: list[Episode]) -> list[Measured]:
    """How far block and agent get in all windows of 25 env steps."""
    starts = np.concatenate([episode["state"][:-WINDOW_ENV_STEPS] for episode in episodes])
    ends = np.concatenate([episode["state"][WINDOW_ENV_STEPS:] for episode in episodes])
    turn = np.abs((ends[:, 4] - starts[:, 4] + np.pi) % (2 * np.pi) - np.pi)
    return [
        Measured("displacement of the block's origin", np.linalg.norm(ends[:, 2:4] - starts[:, 2:4], axis=1), "px"),
        Measured("rotation of the block", np.degrees(turn), "degrees"),
        Measured("displacement of the agent", np.linalg.norm(ends[:, :2] - starts[:, :2], axis=1), "px"),
    ]


def shares(episodes: list[Episode]) -> list[Measured]:
    """Per row: contact during the env step before it; the block's middle close to a wall, its origin past one."""
    contact = np.concatenate([episode["contacts"][1:, 0, 1] for episode in episodes])
    state = np.concatenate([episode["state"] for episode in episodes])
    off_table = ((state[:, 2:4] < 0) | (state[:, 2:4] > TABLE_PX)).any(axis=1)
    return [
        Measured("env steps with contact of agent and block", contact, "share"),
        Measured(f"rows with the block's middle within {WALL_PX:.0f} px of a wall", near_wall(state, WALL_PX), "share"),
        Measured("rows with the block's origin off the table", off_table, "share"),
    ]


def drift(episodes: int, env_steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance (px) of the block from the original run, 25 env steps after a state was restored elsewhere.

    The states come from contact-rich episodes, at most one an episode, at a random env step. Also returned: whether
    the block's middle came within 80 px of a wall during those env steps of the original run.
    """
    original, restored, policy = PushT(), PushT(), PushTBehaviour()
    rng = np.random.default_rng(seed)
    distance: list[float] = []
    at_wall: list[bool] = []
    for index in range(20 * episodes):
        if len(distance) == RESTORED_STATES:
            break
        policy.reset(np.random.default_rng([seed, 1, index]))
        original.set_state(policy.start_state(original))
        states, actions, contacts = [], [], []
        for _ in range(env_steps):
            states.append(original.get_state())
            actions.append(policy.act(original))
            original.advance(actions[-1])
            contacts.append(original.contacts()[0, 1])
        if np.mean(contacts) < MIN_CONTACT_SHARE:
            continue
        start = int(rng.integers(1, env_steps - WINDOW_ENV_STEPS))
        stop = start + WINDOW_ENV_STEPS
        restored.set_state(states[start])
        for action in actions[start:stop]:
            restored.advance(action)
        distance.append(float(np.linalg.norm(restored.get_state()[2:4] - states[stop][2:4])))
        at_wall.append(bool(near_wall(np.array(states[start : stop + 1]), DRIFT_WALL_PX).any()))
    return np.array(distance), np.array(at_wall)


def near_wall(states: np.ndarray, within_px: float) -> np.ndarray:
    """Whether the block's middle is closer to a wall; states (rows, 7), bool (rows,)."""
    middle = block_middle(states)
    return (np.minimum(middle, TABLE_PX - middle) < within_px).any(axis=1)


def print_drift(distance: np.ndarray, at_wall: np.ndarray) -> None:
    """The table of what :func:`drift` returns."""
    print(f"\n| px after {WINDOW_ENV_STEPS} env steps | median | 90 % | max | over 20 px | n |")
    print("|---|---|---|---|---|---|")
    all_states = np.ones_like(at_wall)
    groups = {"all": all_states, "block away from the walls": ~at_wall, "block within 80 px of a wall": at_wall}
    for name, chosen in groups.items():
        part = distance[chosen]
        median, high = np.percentile(part, [50, 90])
        far = int((part > 20).sum())
        print(f"| {name} | {median:.2f} | {high:.2f} | {part.max():.2f} | {far} | {len(part)} states |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--env_steps", type=int, default=60, help="length of an episode")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--policy", choices=POLICIES, default="behaviour", help="drift is measured with behaviour only")
    given = parser.parse_args()
    episodes, goals = collect(POLICIES[given.policy](), given.episodes, given.env_steps, given.seed)

    print("| what | share | n |\n|---|---|---|")
    for line in shares(episodes):
        print(f"| {line.what} | {line.values.mean():.1%} | {len(line.values):,} rows |")
    if goals:
        print(f"| goals reached, of those that ended | {np.mean(goals):.1%} | {len(goals)} goals |")
    print(f"\n| over {WINDOW_ENV_STEPS} env steps | 10 % | 50 % | 90 % | n |\n|---|---|---|---|---|")
    for line in motion(episodes):
        low, middle, high = np.percentile(line.values, [10, 50, 90])
        print(f"| {line.what}, {line.unit} | {low:.1f} | {middle:.1f} | {high:.1f} | {len(line.values):,} windows |")
    if given.policy == "behaviour":
        print_drift(*drift(given.episodes, given.env_steps, given.seed))


if __name__ == "__main__":
    main()
