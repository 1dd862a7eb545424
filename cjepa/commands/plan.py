"""`cjepa plan`: closed-loop planning with a world model."""

import time
from dataclasses import replace
from pathlib import Path

from jsonargparse.typing import NonNegativeInt, OpenUnitInterval

from cjepa.command_result import CommandResult
from cjepa.commands.certify import certified, check_certified, search_folders
from cjepa.commands.evaluations import evaluated_run, kept_plans, new_results_folder
from cjepa.commands.parts import Evaluated, command_result, evaluate_all, title
from cjepa.data.workers import default_workers
from cjepa.devices import chosen_device
from cjepa.errors import UserError
from cjepa.evaluation.planning.action_stack import ActionStack
from cjepa.evaluation.planning.models import evaluate_model
from cjepa.evaluation.planning.protocol import PlanningProtocol
from cjepa.planning.planners.base import Planner
from cjepa.planning.planners.smaller import search_size
from cjepa.policies.lessons import LESSONS_FILE, write_lessons
from cjepa.progress import ProgressBar
from cjepa.reporting.plan import model_agents, write_model_result


def plan_command(
    run: str,
    protocol: PlanningProtocol,
    stack: ActionStack,
    num_videos: NonNegativeInt = 5,
    model_name: str | None = None,
    out: str | None = None,
    device: str = "auto",
    workers: NonNegativeInt = 1,
    resume: bool = True,
    certify: bool = False,
    certify_margin: OpenUnitInterval = 0.1,
) -> CommandResult:
    """Closed-loop planning on held-out start/goal pairs; repeat the command to resume an interrupted run.

    Args:
        run: folder of a world-model run, or a checkpoint.
        protocol: trials and control loop.
        stack: the planner, and all that guides it.
        num_videos: number of trials with a video: the first success, the first failure, the second success and so on.
        model_name: name in the results; default: the run's folder.
        out: folder for results and videos; default: RUN/plan, or RUN/certify.
        device: PyTorch device of world model and tokenizer, such as cpu or cuda; auto uses cuda if there is a GPU.
        workers: number of processes for the environments; 0 uses all cores. More pay where a simulator is slow, which
            that of Push-T is not; results do not depend on their number.
        resume: reuse the plans of an interrupted run of this command; the results are those of a run in one go.
        certify: find the smallest search whose success is not below that of the given planner: half of its candidates,
            a quarter and so on are tried on pairs of validation episodes, until one may lose more than certify_margin.
        certify_margin: loss of success, between 0 and 1, that certify accepts as none; the lower end of the 95 %
            interval of the paired difference must not be below minus this.
    """
    asked = dict(locals())
    used, stack = chosen_device(device), stack.resolved()
    checkpoint, name, results = evaluated_run(run, model_name, out, "certify" if certify else "plan")
    if certify and stack.policy_share is not None:
        raise UserError("--policy_share is for lessons; leave out --certify")
    stack.check(protocol)
    files = [checkpoint, *stack.files()]

    def evaluate(protocol: PlanningProtocol, part: Path, planner: Planner = stack.planner) -> Evaluated:
        started, called = time.time(), f"{name}, {search_size(planner)}" if certify else name
        tried = replace(stack, planner=planner)
        kept = kept_plans(results, asked | {"device": used, "protocol": protocol, "stack": tried}, files)
        with ProgressBar(title("plan", part, results), protocol.budget_env_steps, "env steps") as bar:
            result = evaluate_model(
                protocol, checkpoint, tried, num_videos, used, bar, kept, workers or default_workers()
            )
        said = {"name": called, "checkpoint": checkpoint, "stack": tried, "seconds": time.time() - started}
        rows = write_model_result(result, part, **said)
        if result.lessons is not None:
            write_lessons(part / LESSONS_FILE, result.lessons)
        return Evaluated(rows, result.contest, model_agents(result, called))

    if certify:
        if stack.goal_image is not None:
            raise UserError("--certify compares success, which a goal picture does not tell; leave out --goal_image")
        check_certified(protocol)
        folders = ("certificate.json", *search_folders(stack.planner))
        with new_results_folder(results, "plan", resume, folders):
            return certified(protocol, stack.planner, certify_margin, results, evaluate)
    with new_results_folder(results, "plan", resume, tuple(protocol.parts())):
        evaluated = evaluate_all(protocol, results, evaluate)
    return command_result(evaluated, protocol, results)
