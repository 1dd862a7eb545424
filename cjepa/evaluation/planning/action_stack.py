"""What turns a world model into actions: the parts of a planning evaluation besides its trials."""

from dataclasses import dataclass, replace
from pathlib import Path

from jsonargparse.typing import ClosedUnitInterval, PositiveInt

from cjepa.checkpoints import find_checkpoint
from cjepa.errors import UserError
from cjepa.evaluation.planning.protocol import GOALS_AS_PUBLISHED, PlanningProtocol
from cjepa.planning.constraints import Constraint
from cjepa.planning.fallbacks import Fallback
from cjepa.planning.hierarchy import Hierarchy
from cjepa.planning.objectives import Objective
from cjepa.planning.planners.base import Planner
from cjepa.planning.sub_goals import SubGoals


@dataclass(frozen=True)
class ActionStack:
    """The planner, and all that guides its search or overrules it.

    Args:
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
            (experiments/pusht/plan_hierarchy.yaml). Pairs are then from episodes that were held out from its training
            too.
        policy_share: keep what is decided as lessons for the prior's policy, in lessons.pt beside the results, and let
            that policy act in this share of the blocks, 0 to 1 (experiments/studies/dagger.yaml). Give episodes that
            the policy was not trained on; default: no lessons.
        history_blocks: frames that a plan starts from, one per block; with 1 every plan tokenizes its frame on its own,
            with more the tokenizer follows the objects through the whole trial.
    """

    planner: Planner
    objective: Objective
    constraints: list[Constraint] | None = None
    fallback: Fallback | None = None
    goal_image: str | None = None
    prior: str | None = None
    sub_goals: SubGoals | None = None
    hierarchy: Hierarchy | None = None
    policy_share: ClosedUnitInterval | None = None
    history_blocks: PositiveInt = 1

    def resolved(self) -> "ActionStack":
        """With the prior's checkpoint in place of its run, in which a training may go on.

        Raises:
            UserError: there is none in the run.
        """
        return self if self.prior is None else replace(self, prior=str(find_checkpoint(self.prior)))

    def files(self) -> list[Path]:
        """All that it reads.

        Raises:
            UserError: a run has no checkpoint.
        """
        runs = [self.prior, self.hierarchy and self.hierarchy.run]
        pictures = [self.goal_image, *((self.sub_goals and self.sub_goals.images) or ())]
        return [find_checkpoint(run) for run in runs if run] + [Path(picture) for picture in pictures if picture]

    def check(self, protocol: PlanningProtocol) -> None:
        """Check it against the trials.

        Raises:
            UserError: it needs other goals, or another control loop, than they have.
        """
        if self.policy_share is not None:
            self._check_teaching(protocol)
        if self.goal_image is not None and protocol.goal_offsets:
            raise UserError("--goal_image: a given goal has no distance in episodes; leave out --goal_offsets")
        if protocol.shift is not None and (self.goal_image is not None or self.sub_goals is not None):
            raise UserError("--shift: goals and sub-goals that are given do not change with it; leave them out")
        if self.goal_image is not None and protocol.goal_state is None and protocol.against is not None:
            raise UserError("--against compares success, which a goal picture does not tell; give its --goal_state too")
        if self.goal_image is not None and protocol.published_protocol:
            raise UserError(f"--goal_image: {GOALS_AS_PUBLISHED}")
        seeing = [name for name in ("goal_image", "prior", "sub_goals") if getattr(self, name) is not None]
        if protocol.goal_text is not None and seeing:
            raise UserError(f"--{seeing[0]}: it needs a goal that can be seen; leave out --goal_text")

    def _check_teaching(self, protocol: PlanningProtocol) -> None:
        if self.prior is None:
            raise UserError(
                "--policy_share: no policy; give a run of `cjepa fit -c experiments/pusht/policy.yaml` with --prior"
            )
        if protocol.execute_blocks != 1:
            raise UserError("--policy_share: a lesson is about one block; give --execute_blocks 1")
        if protocol.published_protocol:
            raise UserError("--policy_share is for lessons; leave out --published_protocol")
