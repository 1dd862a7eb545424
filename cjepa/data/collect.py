"""Run a policy in an environment and store the episodes; any number of workers gives the same bytes."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cjepa.counts import number_of
from cjepa.data.recording import run_episode
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episodes import Episode
from cjepa.data.store.parts import ResumableWriter, complete_file, write_part
from cjepa.data.workers import parallel_map
from cjepa.envs import make_env
from cjepa.envs.base import ObjectEnv
from cjepa.envs.policies import Policy
from cjepa.progress import Progress


@dataclass(frozen=True)
class Collection:
    """What to collect; one value says everything that decides the bytes."""

    env_id: str
    policy: Policy
    episodes: int
    episode_env_steps: int
    seed: int
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    with_masks: bool = True

    def make_env(self) -> ObjectEnv:
        """A fresh simulator."""
        return make_env(self.env_id, self.env_kwargs)


def collect(
    job: Collection,
    out: Path,
    attributes: dict[str, Any],
    workers: int,
    progress: Progress,
    resume: bool = True,
) -> EpisodeFile:
    """Collect episodes into ``out``; nothing is done if this very job has made it already.

    Args:
        job: what to collect.
        out: the episode file to make.
        attributes: provenance to store besides the job's own.
        workers: processes; 1 stays in this one.
        progress: advanced by the env steps of each episode; its note counts those with a contact.
        resume: use the episodes that an interrupted run finished.

    Raises:
        UserError: ``out`` is of another job or is being made by another process, or cannot be written.
    """
    record = partial(_record, job)
    return make_episodes(record, job.episodes, out, attributes, _identity(job), workers, progress, resume)


def make_episodes(
    record: Callable[[int], Episode],
    num_episodes: int,
    out: Path,
    attributes: dict[str, Any],
    identity: str,
    workers: int,
    progress: Progress,
    resume: bool,
) -> EpisodeFile:
    """As :func:`collect`, for episodes of any kind.

    Args:
        record: an episode by its index; a function of a module or a partial of one, so that other processes find it.
        num_episodes: how many.
        out: the episode file to make.
        attributes: provenance.
        identity: all that decides the bytes of an episode, besides its index.
        workers: processes; 1 stays in this one.
        progress: advanced by the env steps of each episode; its note counts those with a contact.
        resume: use the episodes that an interrupted run finished.

    Raises:
        UserError: ``out`` is of another job or is being made by another process, or cannot be written.
    """
    if file := complete_file(out, identity, num_episodes, resume):
        return file
    contacts = 0
    with ResumableWriter(out, "cjepa-episodes", attributes, identity, resume) as writer:
        tasks = {index: (record, index, writer.part(index)) for index in range(num_episodes) if not writer.has(index)}
        with parallel_map(_make_part, list(tasks.values()), workers) as finished:
            for index in range(num_episodes):
                if index in tasks:
                    next(finished)
                touching = writer.append_part(index)["contacts"].any(axis=(1, 2))
                contacts += int(touching.sum())
                progress.advance(len(touching), index in tasks, number_of(contacts, "contact"))
    return EpisodeFile(out)


def _make_part(task: tuple[Callable[[int], Episode], int, Path]) -> None:
    record, index, path = task
    write_part(path, record(index))


def _record(job: Collection, index: int) -> Episode:
    # SeedSequence keeps neighbouring (seed, episode) pairs apart
    seed = int(np.random.SeedSequence([job.seed, index]).generate_state(1)[0])
    return run_episode(job.make_env(), job.policy, seed, job.episode_env_steps, job.with_masks)


def _identity(job: Collection) -> str:
    """All that decides the bytes of an episode; what a policy keeps under a private name is state, not an option."""
    options = {name: value for name, value in vars(job.policy).items() if not name.startswith("_")}
    policy = (type(job.policy).__qualname__, options)
    values = (job.env_id, job.env_kwargs, policy, job.episode_env_steps, job.seed, job.with_masks)
    return json.dumps(values, sort_keys=True, default=repr)
