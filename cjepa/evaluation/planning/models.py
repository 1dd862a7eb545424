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
from cjepa.evaluation.planning.action_stack import ActionStack
from cjepa.evaluation.planning.contest import Contest, draw_contest, source_of
from cjepa.evaluation.planning.control import ControlResult, plan_seconds, run_trials
from cjepa.evaluation.planning.films import Imagined, imagine_films
from cjepa.evaluation.planning.goals import check_sub_goals, goal_pixels
from cjepa.evaluation.planning.kept_plans import PlanFiles, keeping_plans
from cjepa.evaluation.planning.pairs import PairSource, check_proprio, common_to, held_out_from_objectives
from cjepa.evaluation.planning.protocol import PlanningProtocol, goal_state_of, with_environment
from cjepa.evaluation.planning.searches import SearchProgress
from cjepa.planning.blocks import ActionBlocks
from cjepa.planning.compatibility import check_fits, check_policy
from cjepa.planning.fallbacks import Fallback
from cjepa.planning.hierarchy import HighLevel, load_high_level
from cjepa.planning.priors import PolicyPrior
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
    fallback: Fallback | None = None
    """That was used, fitted to the model."""
    imagined: Sequence[list[Imagined]] = ()
    """What was expected in each film of ``control``, plan by plan."""


class PlanningModel(NamedTuple):
    """A world model, and an environment whose actions and frames it takes."""

    protocol: PlanningProtocol
    """With the environment of the episodes."""
    file: Episodes
    loaded: LoadedWorldModel
    env: ObjectEnv
    blocks: ActionBlocks


class _Guides(NamedTuple):
    """What of an action stack had to be loaded."""

    prior: PolicyPrior | None
    high_level: HighLevel | None
    source: PairSource
    """Episodes for the pairs, that neither they, nor the world model, nor objectives and fallback learned from."""


def evaluate_model(
    protocol: PlanningProtocol,
    checkpoint: Path,
    stack: ActionStack,
    num_recorded: int,
    device: torch.device | str,
    progress: Progress,
    kept: PlanFiles | None = None,
    workers: int = 1,
) -> ModelResult:
    """Closed-loop planning with a world model, on episodes that it was not trained on.

    Args:
        protocol: trials and control loop.
        checkpoint: of the world model.
        stack: that has been checked against the protocol.
        num_recorded: so many trials are filmed, successes and failures in turn.
        device: of world model and tokenizer.
        progress: advanced by env steps done, of ``budget_env_steps``.
        kept: where plans are kept until the evaluation is finished, and read if an earlier run was killed.
        workers: processes that share the environments; results do not depend on their number.

    Raises:
        UserError: goal, policy or world model do not fit each other or the environment, the episodes are another
            version of those that one of them was trained on, or the protocol contradicts itself.
    """
    control_loop = protocol.control_loop()
    model = open_model(protocol, checkpoint, device)
    protocol, file, loaded, env, blocks = model
    longest = loaded.dynamics.history_blocks
    if stack.history_blocks > longest:
        raise UserError(
            f"history_blocks is {stack.history_blocks}, expected 1..{longest}: {checkpoint} was trained with {longest}"
        )
    guides = _load_guides(model, checkpoint, stack, device)
    goal_state, goal_pixels_YXC = _given_goal(model, stack)
    contest = draw_contest(protocol, file, guides.source, goal_state)
    check_proprio(loaded.dynamics, file, env, str(checkpoint))
    agent = _agent(model, stack, guides)
    fallback = stack.fallback and stack.fallback.for_agent(agent, loaded.lineage)
    control_loop = replace(control_loop, fallback=fallback)
    trials = (protocol.make_env, contest.pairs.trials, protocol.budget_env_steps, protocol.agent_seed)
    plan_env_steps = control_loop.execute_blocks * blocks.frame_stride
    searching = SearchProgress(progress, plan_env_steps, protocol.budget_env_steps)
    with keeping_plans(kept, agent, searching) as keeping:
        extra = (num_recorded, searching, goal_pixels_YXC, stack.sub_goals, workers)
        control = keeping.timed(run_trials(agent, control_loop, *trials, *extra))
    lessons = None
    if isinstance(agent, TeachingAgent):  # before the plans that are only timed
        taken_from = sorted({file.identities[episode] for episode in contest.pairs.episodes})
        lessons = StoredLessons(agent.lessons, loaded.tokenizer_fingerprint, taken_from)
    imagined = imagine_films(agent, env, control.films, control.goals, control.actions, control.plans)
    distance_N2 = None if control.measured else _goal_distances(agent, control)
    seconds = plan_seconds(agent, control.starts, control.goals)
    operations = plan_gigaflops(agent, control.starts, control.goals)
    return ModelResult(contest, control, seconds, operations, loaded, blocks, distance_N2, lessons, fallback, imagined)


def _given_goal(model: PlanningModel, stack: ActionStack) -> tuple[np.ndarray | None, np.ndarray | None]:
    """State and picture of the goal of all trials; None for what the episodes decide. Sub-goals are looked at too."""
    protocol, file, loaded, env, _ = model
    goal_state, goal_pixels_YXC = goal_state_of(protocol, file), None
    if stack.goal_image is not None:
        goal_pixels_YXC = goal_pixels(Path(stack.goal_image), loaded.tokenizer, env, "--goal_image")
        goal_state = np.full_like(env.get_state(), np.nan) if goal_state is None else goal_state
    if stack.sub_goals is not None:
        check_sub_goals(stack.sub_goals, protocol, file, loaded.tokenizer, env)
    return goal_state, goal_pixels_YXC


def _goal_distances(agent: WorldModelAgent, control: ControlResult) -> np.ndarray:
    """Of start and end of each trial, ``(N, 2)``."""
    agent.aim(control.goals)  # with sub-goals, it may have aimed elsewhere
    return torch.stack([agent.goal_distance(seen) for seen in (control.starts, control.ends)], dim=1).numpy()


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


def _load_guides(model: PlanningModel, checkpoint: Path, stack: ActionStack, device: torch.device | str) -> _Guides:
    protocol, file, loaded = model.protocol, model.file, model.loaded
    sources = [("world model", source_of(protocol, file, loaded.lineage, checkpoint))]
    learners, prior, high_level = [(stack.objective, loaded.lineage)], None, None
    if stack.prior is not None:
        policy_checkpoint = find_checkpoint(stack.prior)
        policy, lineage = _policy_for(loaded, policy_checkpoint)
        prior = PolicyPrior(policy.to(device))
        sources.append(("policy", source_of(protocol, file, lineage, policy_checkpoint)))
        if stack.policy_share is not None and file.fingerprint == lineage.get("episodes_fingerprint"):
            raise UserError(
                f"--policy_share: {policy_checkpoint} was trained on {file.path}, whose other episodes are held out; "
                "give --episodes that `cjepa collect` made with another seed"
            )
    if stack.hierarchy is not None:
        high_level, lineage = load_high_level(stack.hierarchy, loaded, device)
        sources.append(("high level", source_of(protocol, file, lineage, find_checkpoint(stack.hierarchy.run))))
        learners.append((stack.hierarchy.objective, lineage))
    if stack.fallback is not None:
        learners.append((stack.fallback, loaded.lineage))
    if not protocol.published_protocol:  # which holds nothing out
        sources += held_out_from_objectives(file, learners, protocol.split)
    return _Guides(prior, high_level, common_to(file, sources))


def _agent(model: PlanningModel, stack: ActionStack, guides: _Guides) -> WorldModelAgent:
    protocol, loaded = model.protocol, model.loaded
    parts = (loaded.dynamics, loaded.tokenizer, stack.planner, stack.objective, model.blocks, protocol.horizon_blocks)
    guiding = (stack.constraints or (), guides.prior, guides.high_level)
    parts += (model.env.goal_proprio, stack.history_blocks, *guiding, loaded.lineage)
    if stack.policy_share is None:
        return WorldModelAgent(*parts)
    return TeachingAgent(*parts, policy_share=stack.policy_share, seed=protocol.agent_seed)


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
