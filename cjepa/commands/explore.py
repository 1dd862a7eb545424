"""`cjepa explore`: a local web page that compares a world model with its simulator."""

from collections.abc import Callable
from contextlib import suppress

from jsonargparse.typing import NonNegativeInt, PositiveInt

from cjepa.checkpoints import find_checkpoint
from cjepa.command_result import CommandResult
from cjepa.commands.evaluations import model_name_of
from cjepa.data.store.shards import open_episodes
from cjepa.envs.interventions import InterventionEnv
from cjepa.errors import UserError
from cjepa.evaluation.notebook import SceneLab
from cjepa.evaluation.planning.protocol import PlanningProtocol, with_environment
from cjepa.explorer.plans import PlansExplorer
from cjepa.explorer.server import App, Explorer, address_of, listen, open_server, serve
from cjepa.explorer.table import TableExplorer
from cjepa.planning.objectives import LeastStepMSE, Objective
from cjepa.planning.planners.base import Planner
from cjepa.planning.planners.icem import ICEM
from cjepa.progress import ProgressBar

_RECOMMENDED = {"num_samples": 128, "num_elites": 16, "initial_std": 0.25}
"""As in experiments/pusht/plan_best.yaml."""


def explore_command(
    run: str,
    episodes: str,
    scenes: PositiveInt = 20,
    horizon_blocks: PositiveInt | None = None,
    planner: Planner | None = None,
    objective: Objective | None = None,
    host: str = "127.0.0.1",
    port: NonNegativeInt = 8642,
    *,
    say: Callable[[str], None],
) -> CommandResult:
    """A web page that is served until Ctrl-C.

    Where the environment has interventions, such as Collide, one changes an object; elsewhere, such as in Push-T, one
    sees what a planner tries.

    Args:
        run: folder of a world-model run, or a checkpoint.
        episodes: episode file; episodes held out from training are shown.
        scenes: number of scenes, or of pairs of a start and a goal, to choose from.
        horizon_blocks: blocks that are predicted, unless the page asks for others; default: 10, of plans 5.
        planner: searches action blocks, by class_path; default: the recommended iCEM.
        objective: compares predicted futures with the goal, by class_path; default: LeastStepMSE.
        host: address that the server binds to; others than 127.0.0.1 open the page to the network, without a password.
        port: of the server; 0 for any that is free.
        say: shows a line of progress.
    """
    with listen(host, port) as listening:  # first: a port in use is known before a model is loaded
        explorer = _explorer(run, episodes, scenes, horizon_blocks, planner, objective)
        with open_server(App(explorer, host), host, listening) as server:
            say(f"from {explorer.about()['held_out']}")
            say(f"{address_of(server)} (Ctrl-C ends it)")
            serve(server)
    return CommandResult([])


def _explorer(
    run: str,
    episodes: str,
    scenes: int,
    horizon_blocks: int | None,
    planner: Planner | None,
    objective: Objective | None,
) -> Explorer:
    """The page that fits the environment of the episodes, after its first answer."""
    checkpoint = find_checkpoint(run)
    name = model_name_of(checkpoint)
    protocol = with_environment(PlanningProtocol(episodes, pairs=scenes), open_episodes(episodes))
    explorer: Explorer
    if isinstance(protocol.make_env(), InterventionEnv):
        with ProgressBar("encode", 2 * scenes, "scenes") as bar:
            explorer = TableExplorer(SceneLab(run, episodes, scenes, horizon_blocks or 10, bar), name)
    else:
        search = planner or ICEM(**_RECOMMENDED), objective or LeastStepMSE(proprio_weight=1.0)
        explorer = PlansExplorer(protocol, checkpoint, name, *search, horizon_blocks or 5)
    with suppress(UserError):  # which the page will show
        explorer.answer({})  # the first answer takes longer than those that follow
    return explorer
