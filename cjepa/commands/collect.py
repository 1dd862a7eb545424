"""`cjepa collect`: episodes of a policy in an environment."""

from pathlib import Path
from typing import Any

from jsonargparse.typing import NonNegativeInt, PositiveInt

from cjepa.command_result import CommandResult
from cjepa.commands.options import next_fit
from cjepa.counts import number_of
from cjepa.data.collect import Collection, collect
from cjepa.data.counterfactuals import (
    CounterfactualCollection,
    check_counterfactuals,
    collect_counterfactuals,
    counterfactuals_path,
)
from cjepa.data.workers import default_workers
from cjepa.envs.collide.policy import CollideBehaviour  # noqa: F401  (what is imported can be given by its bare name)
from cjepa.envs.policies import Policy
from cjepa.envs.pusht.policy import PushTBehaviour  # noqa: F401
from cjepa.progress import ProgressBar


def collect_command(
    env_id: str,
    policy: Policy,
    out: str,
    episodes: PositiveInt = 100,
    episode_env_steps: PositiveInt = 60,
    seed: NonNegativeInt = 0,
    env_kwargs: dict[str, Any] | None = None,
    workers: NonNegativeInt = 0,
    masks: bool = True,
    twins: NonNegativeInt = 0,
    resume: bool = True,
) -> CommandResult:
    """Record episodes of a policy into an HDF5 file; repeat the command to resume an interrupted run.

    Args:
        env_id: Gymnasium id of the environment.
        policy: policy, by class_path. Policies that need torch need their full path, such as
            cjepa.planning.demonstrators.simulator_mpc.SimulatorMPC.
        out: episode file to make.
        episodes: number of episodes.
        episode_env_steps: env steps per episode.
        seed: determines every byte, for any number of workers.
        env_kwargs: arguments of the environment.
        workers: number of processes; 0 uses all cores.
        masks: store label images too.
        twins: counterfactuals per episode, each with one random intervention, into NAME.twins.h5 beside NAME.h5.
        resume: reuse the finished episodes of an interrupted run; an existing file is never replaced.
    """
    job = Collection(env_id, policy, episodes, episode_env_steps, seed, env_kwargs or {}, masks)
    env = job.make_env()
    if twins:
        check_counterfactuals(env, twins)
    attributes = {
        "env_id": env_id,
        "env_kwargs": env_kwargs or {},
        "env_steps_per_second": env.env_steps_per_second,
        "body_names": list(env.body_names),
        "attribute_names": list(env.attribute_names),
        "policy": type(policy).__name__,
        "policy_kwargs": {k: v for k, v in vars(policy).items() if not k.startswith("_")},
        "seed": seed,
    }
    with ProgressBar("collect", episodes * episode_env_steps, "frames") as bar:
        file = collect(job, Path(out), attributes, workers or default_workers(), bar, resume)
    size = f"{number_of(len(file), 'episode')}, {number_of(file.env_steps, 'env step')}"
    lines = [f"{out}: {size}, fingerprint {file.fingerprint} ({bar.rate})"]
    if twins:
        lines.append(
            _collect_counterfactuals(CounterfactualCollection(file, twins, seed), workers or default_workers(), resume)
        )
    return CommandResult(lines, next_command=next_fit(attributes, "tokenizer.yaml", out))


def _collect_counterfactuals(job: CounterfactualCollection, workers: int, resume: bool) -> str:
    out = counterfactuals_path(job.factual.path)
    with ProgressBar("counterfactuals", job.per_episode * job.factual.env_steps, "frames") as bar:
        file = collect_counterfactuals(job, out, workers, bar, resume)
    size = f"{number_of(len(file), 'counterfactual episode')}, {number_of(file.env_steps, 'env step')}"
    return f"{out}: {size}, fingerprint {file.fingerprint} ({bar.rate})"
