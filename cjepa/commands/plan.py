"""`cjepa plan`: closed-loop planning with a world model."""

import time
from pathlib import Path

from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, PositiveFloat, PositiveInt

from cjepa.checkpoints import find_checkpoint
from cjepa.command_result import CommandResult
from cjepa.commands.certify import certified, check_certified, search_folders
from cjepa.commands.evaluations import evaluated_run, kept_plans, new_results_folder
from cjepa.commands.parts import Evaluated, command_result, evaluate_all, title
from cjepa.devices import chosen_device
from cjepa.errors import UserError
from cjepa.evaluation.planning import evaluate_model
from cjepa.evaluation.protocol import PlanningProtocol
from cjepa.planning.constraints import Constraint
from cjepa.planning.fallbacks import Fallback
from cjepa.planning.hierarchy import Hierarchy
from cjepa.planning.objectives import Objective
from cjepa.planning.planners.base import Planner
from cjepa.planning.planners.smaller import search_size
from cjepa.planning.sub_goals import SubGoals
from cjepa.policies.lessons import LESSONS_FILE, write_lessons
from cjepa.progress import ProgressBar
from cjepa.reporting.plan import model_agents, write_model_result


def plan_command(
    run: str,
    protocol: PlanningProtocol,
    planner: Planner,
    objective: Objective,
    constraints: list[Constraint] | None = None,
    fallback: Fallback | None = None,
    goal_image: str | None = None,
    prior: str | None = None,
    sub_goals: SubGoals | None = None,
    hierarchy: Hierarchy | None = None,
    policy_share: ClosedUnitInterval | None = None,
    history_blocks: PositiveInt = 1,
    num_videos: NonNegativeInt = 5,
    model_name: str | None = None,
    out: str | None = None,
    device: str = "auto",
    resume: bool = True,
    certify: bool = False,
    certify_margin: PositiveFloat = 0.1,
) -> CommandResult:
    """Closed-loop planning on held-out start/goal pairs; repeat the command to resume an interrupted run.

    Args:
        run: folder of a world-model run, or a checkpoint.
        protocol: trials and control loop.
        planner: searches action blocks, by class_path.
        objective: compares predicted futures with the goal, by class_path.
        constraints: of plans, by class_path, in the order of their projections; the environment's bounds always hold.
        fallback: acts instead of plans that should not be executed, by class_path; none by default.
        goal_image: picture of the goal of all trials, for models that look at pictures. With goal_state it is what the
            model is shown of that state; without, success is unknown and the remaining distance of tokens is reported.
        prior: run or checkpoint of a policy (`cjepa fit -c experiments/pusht/policy.yaml`), at whose plan every search
            starts. Pairs are then from episodes that were held out from its training too.
        sub_goals: states or images to aim at before the goal, one after the other; success is that of the goal.
        hierarchy: a second level, which searches macro-actions over long blocks and proposes what every plan aims at
            (experiments/pusht/plan_hierarchy.yaml).
        policy_share: keep what is decided as lessons for the prior's policy, in lessons.pt beside the results, and let
            that policy act in this share of the blocks, 0 to 1 (experiments/studies/dagger.yaml). Give episodes that
            the policy was not trained on; default: no lessons.
        history_blocks: frames that a plan starts from, one per block; with 1 every plan tokenizes its frame on its own,
            with more the tokenizer follows the objects through the whole trial.
        num_videos: number of trials with a video, from the first.
        model_name: name in the results; default: the run's folder.
        out: folder for results and videos; default: RUN/plan, or RUN/certify.
        device: PyTorch device of world model and tokenizer, such as cpu or cuda; auto uses cuda if there is a GPU.
        resume: reuse the plans of an interrupted run of this command; the results are those of a run in one go.
        certify: find the smallest search whose success is not below that of the given planner: half of its candidates,
            a quarter and so on are tried on pairs of validation episodes, until one may lose more than certify_margin.
        certify_margin: difference of success that certify accepts as none; the lower end of the 95 % interval of the
            paired difference must not be below it.
    """
    asked = dict(locals())
    used = chosen_device(device)
    first_guess = None if prior is None else find_checkpoint(prior)
    checkpoint, name, results = evaluated_run(run, model_name, out, "certify" if certify else "plan")
    goal = None if goal_image is None else Path(goal_image)
    if policy_share is not None:
        check_teaching(prior, protocol, certify)
    if goal is not None and protocol.goal_offsets:
        raise UserError("--goal_image: a given goal has no distance in episodes; leave out --goal_offsets")
    if protocol.shift is not None and (goal is not None or sub_goals is not None):
        raise UserError("--shift: goals and sub-goals that are given do not change with it; leave them out")
    macro = None if hierarchy is None else find_checkpoint(hierarchy.run)
    files = [checkpoint, first_guess, macro, goal, *map(Path, (sub_goals and sub_goals.images) or ())]

    def evaluate(protocol: PlanningProtocol, part: Path, planner: Planner = planner) -> Evaluated:
        started, called = time.time(), f"{name}, {search_size(planner)}" if certify else name
        kept = kept_plans(results, asked | {"device": used, "protocol": protocol, "planner": planner}, files)
        with ProgressBar(title("plan", part, results), protocol.budget_env_steps, "env steps") as bar:
            parts = (planner, objective, history_blocks)
            extra = (constraints or (), fallback, goal, first_guess, sub_goals, hierarchy, policy_share, kept)
            result = evaluate_model(protocol, checkpoint, *parts, num_videos, used, bar, *extra)
        rows = write_model_result(
            result,
            part,
            name=called,
            checkpoint=checkpoint,
            planner=planner,
            objective=objective,
            constraints=constraints or (),
            fallback=fallback,
            goal_image=goal_image,
            prior=first_guess,
            sub_goals=sub_goals,
            hierarchy=hierarchy,
            policy_share=policy_share,
            history_blocks=history_blocks,
            seconds=time.time() - started,
        )
        if result.lessons is not None:
            write_lessons(part / LESSONS_FILE, result.lessons)
        return Evaluated(rows, result.contest, model_agents(result, called))

    if certify:
        if goal is not None:
            raise UserError("--certify compares success, which a goal picture does not tell; leave out --goal_image")
        check_certified(protocol)
        with new_results_folder(results, "plan", resume, ("certificate.json", *search_folders(planner))):
            return certified(protocol, planner, certify_margin, results, evaluate)
    with new_results_folder(results, "plan", resume, tuple(protocol.parts())):
        evaluated = evaluate_all(protocol, results, evaluate)
    return command_result(evaluated, protocol, results)


def check_teaching(prior: str | None, protocol: PlanningProtocol, certify: bool) -> None:
    """Whether a policy can be taught like this.

    Raises:
        UserError: there is no policy; several blocks of a plan are executed, of which it could learn only the first; or
            the command is for something else.
    """
    if prior is None:
        raise UserError(
            "--policy_share: no policy; give a run of `cjepa fit -c experiments/pusht/policy.yaml` with --prior"
        )
    if protocol.execute_blocks != 1:
        raise UserError("--policy_share: a lesson is about one block; give --execute_blocks 1")
    if certify or protocol.published_protocol:
        raise UserError("--policy_share is for lessons; leave out --certify and --published_protocol")
