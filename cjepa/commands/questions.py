"""`cjepa questions`: questions about Collide episodes, in CLEVRER's format."""

from collections import Counter
from pathlib import Path

from jsonargparse.typing import NonNegativeInt

from cjepa.command_result import CommandResult
from cjepa.counts import number_of
from cjepa.data.store.shards import open_episodes
from cjepa.data.workers import default_workers
from cjepa.progress import ProgressBar
from cjepa.questions.files import TYPES
from cjepa.questions.generate import QuestionProtocol, make_questions


def questions_command(
    episodes: str, out: str, protocol: QuestionProtocol, workers: NonNegativeInt = 0
) -> CommandResult:
    """Make a question file about Collide episodes; answers come from the simulator.

    Args:
        episodes: episode file of cjepa/Collide-v0.
        out: JSON file to make.
        protocol: what is asked.
        workers: number of processes; 0 uses all cores.
    """
    file = open_episodes(episodes)
    with ProgressBar("questions", len(file), "episodes") as bar:
        scenes = make_questions(file, protocol, Path(out), workers or default_workers(), bar)
    counts = Counter(question["question_type"] for scene in scenes for question in scene["questions"])
    asked = ", ".join(f"{counts[kind]} {kind}" for kind in TYPES)
    return CommandResult([f"{out}: {asked} questions about {number_of(len(scenes), 'episode')}"])
