"""Closed-loop planning with a world model, on start/goal pairs that it did not learn from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from cjepa.checkpoints import find_checkpoint
from cjepa.data.store.episodes import Episodes
from cjepa.data.store.shards import open_episodes
from cjepa.envs.base import ObjectEnv
from cjepa.errors import UserError
from cjepa.evaluation.budgets import plan_gigaflops
from cjepa.evaluation.contest import Contest, draw_contest, source_of
from cjepa.evaluation.control import ControlResult, plan_seconds, run_trials
from cjepa.evaluation.goals import check_sub_goals, goal_pixels
from cjepa.evaluation.kept_plans import PlanFiles, keeping_plans
from cjepa.evaluation.pairs import check_proprio, common_to, held_out_from_objectives
from cjepa.evaluation.protocol import GOALS_AS_PUBLISHED, PlanningProtocol, goal_state_of, with_environment
from cjepa.planning.blocks import ActionBlocks
from cjepa.planning.compatibility import check_fits, check_policy
from cjepa.planning.constraints import Constraint
from cjepa.planning.fallbacks import Fallback
from cjepa.planning.hierarchy import Hierarchy, load_high_level
from cjepa.planning.objectives import Objective
from cjepa.planning.planners.base import Planner
from cjepa.planning.priors import PolicyPrior
from cjepa.planning.sub_goals import SubGoals
from cjepa.planning.teaching import TeachingAgent
from cjepa.planning.world_model_agent import WorldModelAgent
from cjepa.policies.base import GoalPolicy
from cjepa.policies.lessons import StoredLessons
from cjepa.policies.loading import load_policy
from cjepa.progress import Progress
from cjepa.tokenizers.base import check_environment
from cjepa.world_models.loading import LoadedWorldModel, load_world_model


class ModelResult(NamedTuple):
    """What came of planning with a world model."""

    contest: Contest
    control: ControlResult
    plan_seconds: np.ndarray
    """Of plans for one environment on its own, in s."""
    plan_gigaflops: float
    """Operations of the world models of all levels in such a plan, in units of 1e9."""
    loaded: LoadedWorldModel
    blocks: ActionBlocks
    goal_distance_N2: np.ndarray | None = None
    """Squared error of tokens to the goal's at start and end of each trial; where there is no other measure."""
    lessons: StoredLessons | None = None
    """What was decided, if it was kept."""


class PlanningModel(NamedTuple):
    """A world model, and an environment whose actions and frames it takes."""

    protocol: PlanningProtocol
    """With the environment of the episodes."""
    file: Episodes
    loaded: LoadedWorldModel
    env: ObjectEnv
    blocks: ActionBlocks


def evaluate_model(
    protocol: PlanningProtocol,
    checkpoint: Path,
    planner: Planner,
    objective: Objective,
    history_blocks: int,
    num_recorded: int,
    device: torch.device | str,
    progress: Progress,
    constraints: Sequence[Constraint] = (),
    fallback: Fallback | None = None,
    goal_image: Path | None = None,
    prior: Path | None = None,
    sub_goals: SubGoals | None = None,
    hierarchy: Hierarchy | None = None,
    policy_share: float | None = None,
    kept: PlanFiles | None = None,
) -> ModelResult:
    """Closed-loop planning with a world model, on episodes that it was not trained on.

    Args:
        protocol: trials and control loop.
        checkpoint: of the world model.
        planner: of action blocks.
        objective: of predicted futures.
        history_blocks: frames that a plan starts from.
        num_recorded: the first so many trials are filmed.
        device: of world model and tokenizer.
        progress: advanced by env steps done, of ``budget_env_steps``.
        constraints: of plans, besides the environment's bounds.
        fallback: acts instead of plans that should not be executed.
        goal_image: a picture of the goal of all trials. If the protocol names no state of it, success is unknown.
        prior: checkpoint of a policy, at whose plan every search starts. Pairs are then from episodes that were held
            out from its training too.
        sub_goals: to aim at before the goals; success is that of the goals.
        hierarchy: the high level that proposes what every plan aims at. Pairs are then from episodes that were held out
            from its training too.
        policy_share: keep what is decided, and let the policy act in this share of the blocks; None keeps nothing.
        kept: where plans are kept until the evaluation is finished, and read if an earlier run was killed.

    Raises:
        UserError: goal, policy or world model do not fit each other or the environment, the episodes are another
            version of those that one of them was trained on, or the protocol contradicts itself.
    """
    seeing = {"goal_image": goal_image, "prior": prior, "sub_goals": sub_goals}
    _check_goal(protocol, [name for name, value in seeing.items() if value is not None])
    control_loop = replace(protocol.control_loop(), fallback=fallback)
    protocol, file, loaded, env, blocks = open_model(protocol, checkpoint, device)
    dynamics, tokenizer = loaded.dynamics, loaded.tokenizer
    if history_blocks > dynamics.history_blocks:
        raise UserError(
            f"history_blocks is {history_blocks}, expected 1..{dynamics.history_blocks}: {checkpoint} was trained with "
            f"{dynamics.history_blocks}"
        )
    sources = [("world model", source_of(protocol, file, loaded.lineage, checkpoint))]
    objectives, first_guess, high_level = [(objective, loaded.lineage)], None, None
    if prior is not None:
        policy, lineage = _policy_for(loaded, prior)
        first_guess = PolicyPrior(policy.to(device))
        sources.append(("policy", source_of(protocol, file, lineage, prior)))
        if policy_share is not None and file.fingerprint == lineage.get("episodes_fingerprint"):
            raise UserError(
                f"--policy_share: {prior} was trained on {file.path}, whose other episodes are held out; give "
                "--episodes that `cjepa collect` made with another seed"
            )
    if hierarchy is not None:
        high_level, lineage = load_high_level(hierarchy, loaded, device)
        sources.append(("high level", source_of(protocol, file, lineage, find_checkpoint(hierarchy.run))))
        objectives.append((hierarchy.objective, lineage))
    if not protocol.published_protocol:  # which holds nothing out
        sources += held_out_from_objectives(file, objectives, protocol.split)
    goal_state, goal_pixels_YXC = goal_state_of(protocol, file), None
    if goal_image is not None:
        goal_pixels_YXC = goal_pixels(goal_image, tokenizer, env, "--goal_image")
        goal_state = np.full_like(env.get_state(), np.nan) if goal_state is None else goal_state
    if sub_goals is not None:
        check_sub_goals(sub_goals, protocol, file, tokenizer, env)
    contest = draw_contest(protocol, file, common_to(file, sources), goal_state)
    check_proprio(dynamics, file, env, str(checkpoint))
    is_known = goal_state is None or np.isfinite(goal_state).all()
    options = (protocol.horizon_blocks, env.goal_proprio if is_known else (), history_blocks, constraints)
    options += (first_guess, high_level, loaded.lineage)
    parts = (dynamics, tokenizer, planner, objective, blocks, *options)
    if policy_share is None:
        agent = WorldModelAgent(*parts)
    else:
        agent = TeachingAgent(*parts, policy_share=policy_share, seed=protocol.agent_seed)
    trials = (protocol.make_env, contest.pairs.trials, protocol.budget_env_steps, protocol.agent_seed)
    with keeping_plans(kept, agent, progress) as keeping:
        extra = (num_recorded, keeping.progress, goal_pixels_YXC, sub_goals)
        control = keeping.timed(run_trials(agent, control_loop, *trials, *extra))
    lessons = None
    if isinstance(agent, TeachingAgent):  # before the plans that are only timed
        taken_from = sorted({file.identities[episode] for episode in contest.pairs.episodes})
        lessons = StoredLessons(agent.lessons, loaded.tokenizer_fingerprint, taken_from)
    agent.aim(control.goals)
    distances = [] if control.measured else [agent.goal_distance(seen) for seen in (control.starts, control.ends)]
    distance_N2 = torch.stack(distances, dim=1).numpy() if distances else None
    seconds = plan_seconds(agent, control.starts, control.goals)
    operations = plan_gigaflops(agent, control.starts, control.goals)
    return ModelResult(contest, control, seconds, operations, loaded, blocks, distance_N2, lessons)


def open_model(protocol: PlanningProtocol, checkpoint: Path, device: torch.device | str) -> PlanningModel:
    """A world model on a device, with the environment of a protocol.

    Raises:
        UserError: not a world model, or it does not fit the environment.
    """
    file = open_episodes(protocol.episodes)
    protocol = with_environment(protocol, file)
    loaded = load_world_model(checkpoint)
    loaded.dynamics.to(device), loaded.tokenizer.to(device)
    env = protocol.make_env()
    check_environment(loaded.tokenizer, protocol.env_id, protocol.episodes)
    blocks = ActionBlocks.of(env, protocol.frame_stride)
    check_fits(loaded.dynamics, env, blocks, str(checkpoint))
    return PlanningModel(protocol, file, loaded, env, blocks)


def _check_goal(protocol: PlanningProtocol, seeing: Sequence[str]) -> None:
    """Check the options that need a goal to look at against the protocol's goals.

    Raises:
        UserError: they do not go together.
    """
    if "goal_image" in seeing and protocol.published_protocol:
        raise UserError(f"--goal_image: {GOALS_AS_PUBLISHED}")
    if protocol.goal_text is not None and seeing:
        raise UserError(f"--{seeing[0]}: it needs a goal that can be seen; leave out --goal_text")


def _policy_for(model: LoadedWorldModel, checkpoint: Path) -> tuple[GoalPolicy, Mapping[str, Any]]:
    """The policy of a checkpoint if it fits a world model, and its lineage."""
    loaded = load_policy(checkpoint)
    check_policy(loaded.policy, model.dynamics, str(checkpoint))
    if loaded.tokenizer_fingerprint != model.tokenizer_fingerprint:
        raise UserError(
            f"--prior {checkpoint}: it was trained on tokens of tokenizer {loaded.tokenizer_fingerprint}, but those of "
            f"the world model are of {model.tokenizer_fingerprint}; train the policy on the tokens of the world model"
        )
    return loaded.policy, loaded.lineage
