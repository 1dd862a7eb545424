"""`cjepa explore`: a local web page that compares a world model with its simulator."""

from collections.abc import Callable

from jsonargparse.typing import PositiveInt

from cjepa.checkpoints import find_checkpoint
from cjepa.command_result import CommandResult
from cjepa.commands.options import model_name_of
from cjepa.evaluation.notebook import SceneLab
from cjepa.explorer.server import App, open_server
from cjepa.explorer.table import TableExplorer
from cjepa.progress import ProgressBar


def explore_command(
    run: str,
    episodes: str,
    scenes: PositiveInt = 20,
    horizon_blocks: PositiveInt = 10,
    host: str = "127.0.0.1",
    port: int = 8642,
    *,
    say: Callable[[str], None],
) -> CommandResult:
    """A web page to explore interventions; it is served until Ctrl-C.

    Args:
        run: folder of a world-model run, or a checkpoint.
        episodes: episode file of an environment with interventions; episodes held out from training are shown.
        scenes: number of scenes to choose from, spread evenly over the test episodes.
        horizon_blocks: blocks that are predicted, unless the page asks for more or fewer.
        host: address that the server binds to; others than 127.0.0.1 open the page to the network, without a password.
        port: of the server; 0 for any that is free.
        say: shows a line of progress.
    """
    with ProgressBar("encode", 2 * scenes, "scenes") as bar:
        lab = SceneLab(run, episodes, scenes, horizon_blocks, bar)
    explorer = TableExplorer(lab, model_name_of(find_checkpoint(run)))
    explorer.answer({})  # the first answer takes longer than those that follow
    server = open_server(App(explorer, host), host, port)
    say(f"scenes from {lab.lab.account}")
    say(f"http://{host}:{server.port}/ (Ctrl-C ends it)")
    serve(server)
    return CommandResult([])


def serve(server) -> None:
    """Answer until interrupted."""
    with server:
        server.serve_forever()
