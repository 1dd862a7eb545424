"""Measure what happens on the table of Collide, with and without an agent; prints the tables of docs/collide.md.

    python tools/measure_collide.py --episodes 1000

Fresh episodes, one process, no files. 1,000 episodes take about a minute.
"""

import argparse
import time
from collections import Counter

import numpy as np

from cjepa.data.recording import run_episode
from cjepa.data.store.episodes import Episode
from cjepa.envs.collide.env import POSITION_TOLERANCE_UNITS, Collide
from cjepa.envs.collide.policy import CollideBehaviour
from cjepa.envs.collide.world import POSITION, TABLE_UNITS, VELOCITY, Attribute
from cjepa.envs.policies import Policy, StillPolicy

WINDOW_ENV_STEPS = 40
Chain = tuple[int, frozenset[int]]
"""The body that was touched last, and all bodies of the chain."""


def record(env: Collide, policy: Policy, episodes: int, env_steps: int, seed: int) -> list[Episode]:
    """Episodes with label images."""
    seeds = [int(np.random.SeedSequence([seed, index]).generate_state(1)[0]) for index in range(episodes)]
    return [run_episode(env, policy, episode_seed, env_steps, with_masks=True) for episode_seed in seeds]


def collisions(contacts: np.ndarray) -> int:
    """How often two bodies begin to touch; contacts (env steps, bodies, bodies)."""
    before = np.concatenate([np.zeros_like(contacts[:1]), contacts[:-1]])
    return int(((contacts == 1) & (before == 0)).sum()) // 2


def longest_chain(contacts: np.ndarray) -> int:
    """Bodies of the longest chain of contacts: i touches j, later j touches k, and so on, each body once; 0 without."""
    chains: set[Chain] = set()
    for pairs in map(np.argwhere, contacts):
        continued = [(chain, j) for i, j in pairs.tolist() for chain in chains if chain[0] == i]
        longer = {(j, bodies | {j}) for (_, bodies), j in continued if j not in bodies}
        chains |= longer | {(j, frozenset((i, j))) for i, j in pairs.tolist()}
    return max((len(bodies) for _, bodies in chains), default=0)


def print_collisions(episodes: list[Episode]) -> None:
    """How many collisions an episode has, and how long its longest chain is."""
    counts = np.array([collisions(episode["contacts"]) for episode in episodes])
    bins = [(0, 0), (1, 2), (3, 4), (5, 6), (7, 9), (10, 14), (15, max(int(counts.max()), 15))]
    shares = [((counts >= low) & (counts <= high)).mean() for low, high in bins]
    print("| collisions in an episode | 0 | " + " | ".join(f"{low}-{high}" for low, high in bins[1:]) + " |")
    print("|---|" + "---|" * len(bins))
    print("| share of episodes | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    lengths = Counter(longest_chain(episode["contacts"]) for episode in episodes)
    shares = [lengths[length] / len(episodes) for length in (0, 2, 3, 4, 5, 6)]
    print("\n| bodies in the longest chain | 0 | 2 | 3 | 4 | 5 | 6 | 3 or more |\n|---|---|---|---|---|---|---|---|")
    print("| share of episodes | " + " | ".join(f"{share:.1%}" for share in [*shares, sum(shares[2:])]) + " |")


def print_bodies(episodes: list[Episode]) -> None:
    """Who rests, enters and leaves."""
    objects = np.concatenate([episode["objects"].swapaxes(0, 1) for episode in episodes])  # bodies, env steps, A
    objects = objects[objects[:, 0, Attribute.PRESENT] > 0]
    on_table = ((objects[..., POSITION] > 0) & (objects[..., POSITION] < TABLE_UNITS)).all(axis=-1)
    first, last = on_table[:, 0], on_table[:, -1]
    lines = {
        "at rest in the first row": (objects[:, 0, VELOCITY] == 0).all(axis=-1),
        "off the table in the first row, on it later": ~first & on_table.any(axis=1),
        "on the table in some row, off it in the last": on_table.any(axis=1) & ~last,
        "never on the table": ~on_table.any(axis=1),
    }
    print("\n| bodies, by their centres | share | n |\n|---|---|---|")
    for name, chosen in lines.items():
        print(f"| {name} | {chosen.mean():.1%} | {len(chosen):,} bodies |")
    touching = np.concatenate([episode["contacts"].any(axis=(1, 2)) for episode in episodes])
    print(f"| env steps with a contact | {touching.mean():.1%} | {len(touching):,} rows |")


def print_agent(episodes: list[Episode], target_body: int) -> None:
    """What the behaviour policy does to the target body."""
    touching = np.concatenate([episode["contacts"][1:, 0] for episode in episodes])
    places = [episode["objects"][:, :, POSITION] for episode in episodes]
    moved = np.concatenate([place[WINDOW_ENV_STEPS:] - place[:-WINDOW_ENV_STEPS] for place in places])
    moved = np.linalg.norm(moved, axis=-1)
    print("\n| with an agent | share | n |\n|---|---|---|")
    for name, touched in (("any body", touching.any(axis=1)), ("the target body", touching[:, target_body])):
        print(f"| env steps in which the agent touches {name} | {touched.mean():.1%} | {len(touched):,} rows |")
    share = (moved[:, target_body] >= POSITION_TOLERANCE_UNITS).mean()
    print(f"| pairs of rows that are no success to begin with | {share:.1%} | {len(moved):,} pairs |")
    print(f"\n| over {WINDOW_ENV_STEPS} env steps, units | 10 % | 50 % | 90 % | n |\n|---|---|---|---|---|")
    for name, body in (("agent", 0), ("target body", target_body)):
        low, middle, high = np.percentile(moved[:, body], [10, 50, 90])
        print(f"| displacement of the {name} | {low:.1f} | {middle:.1f} | {high:.1f} | {len(moved):,} windows |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--env_steps", type=int, default=64, help="length of an episode")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started = time.process_time()
    episodes = record(Collide(), StillPolicy(), given.episodes, given.env_steps, given.seed)
    rate = given.episodes * given.env_steps / (time.process_time() - started)
    print_collisions(episodes)
    print_bodies(episodes)
    env = Collide(agent=True, num_bodies=[3, 4])
    print_agent(record(env, CollideBehaviour(), given.episodes, given.env_steps, given.seed), env.target_body)
    print(f"\n{rate:,.0f} frames in a second of one core: physics, 64 px pixels and label images")


if __name__ == "__main__":
    main()
