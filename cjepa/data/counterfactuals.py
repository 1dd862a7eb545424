"""Counterfactuals: recorded episodes simulated again with one intervention."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cjepa.data.collect import make_episodes
from cjepa.data.recording import resimulate
from cjepa.data.store.episode_file import Episode, EpisodeFile
from cjepa.data.store.shards import TWINS
from cjepa.envs import make_env
from cjepa.envs.base import ObjectEnv
from cjepa.envs.interventions import KINDS, Intervention, InterventionEnv
from cjepa.errors import UserError
from cjepa.progress import Progress

SHARE_COLLIDING = 0.8
"""Share of interventions on a body that later touches another, if there is one."""


@dataclass(frozen=True)
class TwinCollection:
    """What twins to make; one value says everything that decides the bytes.

    Args:
        factual: file of the recorded episodes.
        twins: how many of each episode.
        seed: of the interventions.
    """

    factual: EpisodeFile
    twins: int
    seed: int

    def make_env(self) -> ObjectEnv:
        """A simulator like the one that the episodes were recorded in."""
        return make_env(self.factual.attributes["env_id"], json.loads(self.factual.attributes["env_kwargs"]))


def twins_path(episodes: Path) -> Path:
    """Where the twins of an episode file are: ``NAME.twins.h5`` beside ``NAME.h5``."""
    return episodes.with_suffix(TWINS)


def collect_twins(job: TwinCollection, out: Path, workers: int, progress: Progress, resume: bool = True) -> EpisodeFile:
    """An episode file of twins, ``job.twins`` in a row for each recorded episode, which interrupted runs resume.

    Besides the columns of the recorded episodes it has, the same in every row of a twin, ``twin_episode`` (int32, which
    recorded episode), ``twin_kind`` (uint8, index into the attribute ``twin_kinds``), ``twin_body`` (int32),
    ``twin_env_step`` (int32: rows before it are bit-equal to the recorded ones) and ``twin_value`` (float32 (2,), zeros
    where the kind has none).

    Args:
        job: which twins.
        out: the file to make.
        workers: processes; 1 stays in this one.
        progress: advanced by the env steps of each twin; its note counts those with a contact.
        resume: use the twins that an interrupted run finished.

    Raises:
        UserError: the environment has no interventions, the episodes are too short or cannot be simulated again, or
            ``out`` is of another job.
    """
    factual = job.factual
    check_twins(job.make_env(), job.twins)
    kept = ("env_id", "env_kwargs", "env_steps_per_second", "body_names", "attribute_names")
    attributes = {name: factual.attributes[name] for name in kept}
    attributes |= {"twin_kinds": list(KINDS), "twins": job.twins, "seed": job.seed}
    attributes |= {"episodes_path": str(factual.path), "episodes_fingerprint": factual.fingerprint}
    identity = json.dumps(["twins", factual.fingerprint, job.twins, job.seed])
    count = len(factual) * job.twins
    return make_episodes(partial(_record, job), count, out, attributes, identity, workers, progress, resume)


def check_twins(env: ObjectEnv, twins: int) -> None:
    """Check that each episode of ``env`` can have this number of counterfactuals.

    Raises:
        UserError: they cannot.
    """
    if twins < 1:
        raise UserError(f"twins is {twins}, expected 1 or more per episode")
    if not isinstance(env, InterventionEnv):
        raise UserError(
            f"{type(env).__name__} has no interventions, so counterfactuals cannot be simulated; leave out --twins"
        )


def draw_intervention(env: InterventionEnv, factual: Episode, rng: np.random.Generator) -> Intervention:
    """Something to change in an episode: any kind, in its first half but not in its first row, on a body that is seen.

    Bodies that touch another one in that row or later are chosen in ``SHARE_COLLIDING`` of the cases.
    """
    env_steps = len(factual["state"])
    for env_step in 1 + rng.permutation(max(env_steps // 2 - 1, 0)):
        env.set_state(factual["state"][env_step])
        bodies = env.free_bodies()
        if bodies:
            break
    else:
        raise UserError(f"an episode of {env_steps} env steps has no body to intervene on in its first half")
    later = factual["contacts"][env_step:].any(axis=(0, 2))
    colliding = [body for body in bodies if later[body]]
    body = int(rng.choice(colliding if colliding and rng.uniform() < SHARE_COLLIDING else bodies))
    kind = KINDS[rng.integers(len(KINDS))]
    return Intervention(kind, body, int(env_step), env.sensible_value(kind, body, rng))


def _record(job: TwinCollection, index: int) -> Episode:
    """Twin ``index % twins`` of episode ``index // twins``."""
    env, episode = job.make_env(), index // job.twins
    columns = [name for name in ("state", "action", "contacts", "masks") if name in job.factual.columns]
    factual = job.factual.episode(episode, columns)
    intervention = draw_intervention(env, factual, np.random.default_rng([job.seed, index]))
    twin = resimulate(env, factual["state"][0], factual["action"], [intervention], "masks" in factual)
    before = slice(intervention.env_step)
    if not np.array_equal(twin["state"][before], factual["state"][before]):
        raise UserError(
            f"{job.factual.path}: episode {episode} gives other states when simulated again, so another version "
            f"recorded it; record it again with `cjepa collect`"
        )
    values = {
        "twin_episode": np.int32(episode),
        "twin_kind": np.uint8(KINDS.index(intervention.kind)),
        "twin_body": np.int32(intervention.body),
        "twin_env_step": np.int32(intervention.env_step),
        "twin_value": np.float32(intervention.value or (0, 0)),
    }
    return twin | {name: np.repeat(value[None], len(twin["state"]), axis=0) for name, value in values.items()}
