"""The verbs that make data without a model: collect, convert; quick to start, since neither needs torch."""

from pathlib import Path
from typing import Any

from jsonargparse.typing import NonNegativeInt, PositiveInt

from cjepa.command_result import CommandResult, experiments_of
from cjepa.data.collect import Collection, collect
from cjepa.data.converters.base import convert, open_source
from cjepa.data.counterfactuals import TwinCollection, check_twins, collect_twins, twins_path
from cjepa.data.workers import default_workers
from cjepa.envs.collide.policy import CollideBehaviour  # noqa: F401  (what is imported can be given by its bare name)
from cjepa.envs.policies import Policy
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
    """Record episodes of a policy into an HDF5 file; run again after a kill and it goes on where it was.

    Args:
        env_id: Gymnasium id of the environment.
        policy: behaviour policy, by class_path. One that needs torch is given by its full path:
            cjepa.planning.demonstrators.simulator_mpc.SimulatorMPC.
        out: episode file to make.
        episodes: how many.
        episode_env_steps: length of each.
        seed: decides every byte, whatever the number of workers.
        env_kwargs: of the environment.
        workers: processes, 0 for all cores.
        masks: store label images too.
        twins: simulate every episode so many times again with one thing changed, into NAME.twins.h5 beside NAME.h5.
        resume: use the episodes that an interrupted run of this command finished; an existing file is never replaced.
    """
    job = Collection(env_id, policy, episodes, episode_env_steps, seed, env_kwargs or {}, masks)
    env = job.make_env()
    if twins:
        check_twins(env, twins)
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
    touching = 0  # env steps with a contact
    with ProgressBar("collect", episodes * episode_env_steps, "frames") as bar:

        def on_progress(env_steps: int, contacts: int, new: bool) -> None:
            nonlocal touching
            touching += contacts
            bar.advance(env_steps, new, f"{touching:,} contacts")

        file = collect(job, Path(out), attributes, workers or default_workers(), on_progress, resume)
    size = f"{len(file)} episodes, {file.env_steps} env steps"
    lines = [f"{out}: {size}, fingerprint {file.fingerprint} ({bar.rate})"]
    if twins:
        lines.append(_collect_twins(TwinCollection(file, twins, seed), workers or default_workers(), resume))
    return CommandResult(
        lines,
        next_command=f"cjepa fit -c {experiments_of(attributes)}/tokenizer.yaml --data.init_args.path {out}",
    )


def _collect_twins(job: TwinCollection, workers: int, resume: bool) -> str:
    out = twins_path(job.factual.path)
    with ProgressBar("twins", job.twins * job.factual.env_steps, "frames") as bar:
        file = collect_twins(job, out, workers, lambda env_steps, _, new: bar.advance(env_steps, new), resume)
    return f"{out}: {len(file)} twins, {file.env_steps} env steps, fingerprint {file.fingerprint} ({bar.rate})"


def convert_command(src: str, dst: str, from_: str, image_size: NonNegativeInt = 0, camera: str = "") -> CommandResult:
    """Write other people's data into an episode file, or their tokens into a token file.

    Args:
        src: file or folder of the source.
        dst: file to make; an existing file is never replaced.
        from_: format of the source. clevrer: a folder with CLEVRER's videos, annotations and questions.
            cjepa-slots: the slots' pickle of the official C-JEPA release, or a folder with it and its *_meta.pkl files.
            dino-wm: the train or val folder of DINO-WM's Push-T. lerobot: a LeRobot dataset, version 2.x or 3.0.
            swm-hdf5, swm-lance, swm-video: a dataset of stable-worldmodel in one of its formats.
        image_size: side of the square frames to make; 0 keeps the source's size.
        camera: for lerobot, which of several cameras becomes pixels.
    """
    out = Path(dst)
    source = open_source(from_, Path(src), {"image_size": image_size, "camera": camera})
    with ProgressBar("convert", source.total_frames, "frames") as bar:
        file = convert(source, out, bar.advance)
    lines = [f"{out}: {len(file)} episodes, {file.env_steps} frames, fingerprint {file.fingerprint} ({bar.rate})"]
    if extra := source.extra_file(out):
        lines.append(str(extra))
    if source.left_out:
        lines.append(f"left out: {', '.join(source.left_out)}")
    if "tokens" not in file.columns:
        return CommandResult(lines, next_command=f"cjepa inspect {out}")
    width = f"--model.init_args.predictor.init_args.token_dim {file.attributes['token_dim']}"
    following = f"cjepa fit -c experiments/pusht/cjepa.yaml --data.init_args.path {out} {width}"
    return CommandResult(lines, next_command=following)
