"""Agents that need no model, on the same pairs as models: chance, and the planner on the simulator itself."""

from dataclasses import replace
from typing import NamedTuple

from cjepa.data.store.shards import open_episodes
from cjepa.data.workers import parallel_map
from cjepa.devices import cpu_threads
from cjepa.errors import UserError
from cjepa.evaluation.planning.contest import Contest, draw_contest
from cjepa.evaluation.planning.control import ControlResult, run_trials
from cjepa.evaluation.planning.kept_plans import PlanFiles, keeping_plans
from cjepa.evaluation.planning.pairs import Pair, held_out_by_seed
from cjepa.evaluation.planning.protocol import PlanningProtocol, goal_state_of, with_environment
from cjepa.evaluation.planning.published import trained_on
from cjepa.evaluation.planning.searches import SearchProgress
from cjepa.planning.agents import RandomAgent, SimulatorAgent
from cjepa.planning.blocks import ActionBlocks
from cjepa.planning.planners.base import Planner
from cjepa.progress import NoProgress, Progress


class BaselineResults(NamedTuple):
    """What came of the agents that need no model."""

    contest: Contest
    random: ControlResult
    simulator: list[ControlResult]
    """One trial each; empty without a search."""


def evaluate_baselines(
    protocol: PlanningProtocol,
    planner: Planner | None,
    split_seed: int | None,
    workers: int,
    progress: Progress,
    kept: PlanFiles | None = None,
) -> BaselineResults:
    """Random actions, and the planner on the simulator itself.

    Args:
        protocol: trials and control loop.
        planner: of action blocks; None for random actions alone.
        split_seed: of the split that the pairs are drawn from; None for all episodes.
        workers: processes; results do not depend on their number.
        progress: advanced by each trial on the simulator.
        kept: where plans are kept until the evaluation is finished, and read if an earlier run was killed.

    Raises:
        UserError: the protocol contradicts itself, or the episodes do not fit it.
    """
    control_loop = protocol.control_loop()
    file = open_episodes(protocol.episodes)
    protocol = with_environment(protocol, file)
    if not protocol.published_protocol:
        source = held_out_by_seed(file, split_seed, protocol.split)
    elif split_seed is None:
        raise UserError("--split_seed null: --published_protocol draws from training episodes; give their seed")
    else:
        source = trained_on(file, {}, {"split_seed": split_seed})
    contest = draw_contest(protocol, file, source, goal_state_of(protocol, file))
    agent = RandomAgent(ActionBlocks.of(protocol.make_env(), protocol.frame_stride), protocol.horizon_blocks)
    trials = (protocol.make_env, contest.pairs.trials, protocol.budget_env_steps, protocol.agent_seed)
    by_chance = run_trials(agent, control_loop, *trials, 0, NoProgress())
    # one task per trial: results then do not depend on the number of workers
    tasks = [
        (protocol, planner, pair, protocol.agent_seed + index, kept and replace(kept, part=f"trial{index}"))
        for index, pair in enumerate(() if planner is None else contest.pairs.trials)
    ]
    simulated = []
    with parallel_map(_simulator_trial, tasks, workers) as finished:
        for result in finished:
            simulated.append(result)
            progress.advance(1)
    return BaselineResults(contest, by_chance, simulated)


def _simulator_trial(task: tuple[PlanningProtocol, Planner, Pair, int, PlanFiles | None]) -> ControlResult:
    protocol, planner, pair, seed, kept = task
    env = protocol.make_env()
    agent = SimulatorAgent(env, planner, ActionBlocks.of(env, protocol.frame_stride), protocol.horizon_blocks)
    trial = (protocol.make_env, [pair], protocol.budget_env_steps, seed, 0)
    unseen = SearchProgress(NoProgress(), protocol.budget_env_steps, protocol.budget_env_steps)
    # each worker has a core of its own
    with cpu_threads(1), keeping_plans(kept, agent, unseen) as keeping:
        return keeping.timed(run_trials(agent, protocol.control_loop(), *trial, unseen))
