"""Counterfactuals: recorded episodes simulated again with one thing changed.

Files call them twins, by the columns ``twin_*`` and the suffix ``.twins.h5``.
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cjepa.data.collect import make_episodes
from cjepa.data.recording import resimulate
from cjepa.data.store.attributes import from_json
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episodes import Episode
from cjepa.data.store.origins import stored_path
from cjepa.data.store.shards import COUNTERFACTUALS
from cjepa.envs import make_env
from cjepa.envs.base import ObjectEnv
from cjepa.envs.interventions import KINDS, Intervention, InterventionEnv
from cjepa.errors import UserError
from cjepa.progress import Progress

SHARE_COLLIDING = 0.8
"""Share of interventions on a body that later touches another, if there is one."""


@dataclass(frozen=True)
class CounterfactualCollection:
    """Which counterfactuals to make; one value says everything that decides the bytes.

    Args:
        factual: file of the recorded episodes.
        per_episode: how many of each episode.
        seed: of the interventions.
    """

    factual: EpisodeFile
    per_episode: int
    seed: int

    def make_env(self) -> ObjectEnv:
        """A simulator like the one that the episodes were recorded in."""
        return make_env(
            self.factual.attributes["env_id"], from_json(self.factual.path, self.factual.attributes, "env_kwargs")
        )


def counterfactuals_path(episodes: Path) -> Path:
    """Where the counterfactuals of an episode file are: ``NAME.twins.h5`` beside ``NAME.h5``."""
    return episodes.with_suffix(COUNTERFACTUALS)


def collect_counterfactuals(
    job: CounterfactualCollection, out: Path, workers: int, progress: Progress, resume: bool = True
) -> EpisodeFile:
    """An episode file of counterfactuals, ``job.per_episode`` in a row for each recorded one; interrupted runs resume.

    Besides the columns of the recorded episodes it has, the same in every row of an episode, ``twin_episode`` (int32,
    which recorded episode), ``twin_kind`` (uint8, index into the attribute ``twin_kinds``), ``twin_body`` (int32),
    ``twin_env_step`` (int32: rows before it are bit-equal to the recorded ones) and ``twin_value`` (float32 (2,), zeros
    where the kind has none).

    Args:
        job: which counterfactuals.
        out: the file to make.
        workers: processes; 1 stays in this one.
        progress: advanced by the env steps of each episode; its note counts those with a contact.
        resume: use the episodes that an interrupted run finished.

    Raises:
        UserError: the environment has no interventions, the episodes are too short or cannot be simulated again, or
            ``out`` is of another job.
    """
    factual = job.factual
    check_counterfactuals(job.make_env(), job.per_episode)
    kept = ("env_id", "env_kwargs", "env_steps_per_second", "body_names", "attribute_names")
    attributes = {name: factual.attributes[name] for name in kept}
    attributes |= {"twin_kinds": list(KINDS), "twins": job.per_episode, "seed": job.seed}
    attributes |= {"episodes_path": stored_path(factual.path, out), "episodes_fingerprint": factual.fingerprint}
    identity = json.dumps(["twins", factual.fingerprint, job.per_episode, job.seed])
    count = len(factual) * job.per_episode
    return make_episodes(partial(_record, job), count, out, attributes, identity, workers, progress, resume)


def check_counterfactuals(env: ObjectEnv, per_episode: int) -> None:
    """Check that episodes of ``env`` can have ``per_episode`` counterfactuals each.

    Raises:
        UserError: they cannot.
    """
    if per_episode < 1:
        raise UserError(f"twins is {per_episode}, expected 1 or more per episode")
    if not isinstance(env, InterventionEnv):
        raise UserError(
            f"{type(env).__name__} has no interventions, so counterfactuals cannot be simulated; leave out --twins"
        )


def draw_intervention(env: InterventionEnv, factual: Episode, rng: np.random.Generator) -> Intervention:
    """Something to change in an episode: any kind, in its first half but not in its first row, on a body that is seen.

    Bodies that touch another one in that row or later are chosen in ``SHARE_COLLIDING`` of the cases.

    Raises:
        UserError: there is no such body.
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


def _record(job: CounterfactualCollection, index: int) -> Episode:
    """Counterfactual ``index % per_episode`` of episode ``index // per_episode``."""
    env, episode = job.make_env(), index // job.per_episode
    columns = [name for name in ("state", "action", "contacts", "masks") if name in job.factual.columns]
    factual = job.factual.episode(episode, columns)
    intervention = draw_intervention(env, factual, np.random.default_rng([job.seed, index]))
    counterfactual = resimulate(env, factual["state"][0], factual["action"], [intervention], "masks" in factual)
    before = slice(intervention.env_step)
    if not np.array_equal(counterfactual["state"][before], factual["state"][before]):
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
    env_steps = len(counterfactual["state"])
    return counterfactual | {name: np.repeat(value[None], env_steps, axis=0) for name, value in values.items()}
