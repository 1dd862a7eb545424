"""`cjepa answer`: questions about held-out episodes, answered from tokens and rollouts."""

import time
from pathlib import Path

from jsonargparse.typing import PositiveInt

from cjepa.command_result import CommandResult
from cjepa.commands.evaluations import evaluated_run, new_results_folder
from cjepa.devices import chosen_device
from cjepa.evaluation.interventions.laboratory import SceneProtocol
from cjepa.progress import ProgressBar
from cjepa.questions.aloe_card import answer_with_aloe
from cjepa.questions.aloe_training import is_reader
from cjepa.questions.card import answer_questions
from cjepa.questions.files import read_questions
from cjepa.reporting.answers import answer_table, write_answers
from cjepa.reporting.pivot import as_text
from cjepa.shell import as_typed


def answer_command(
    run: str,
    questions: str,
    episodes: str,
    scenes: PositiveInt = 200,
    val_scenes: PositiveInt = 100,
    model_name: str | None = None,
    out: str | None = None,
    device: str = "auto",
) -> CommandResult:
    """Answer questions about held-out episodes: with a fixed symbolic reader and a world model, or with a trained ALOE.

    Args:
        run: folder of a world-model run or of a run of ALOE, or a checkpoint.
        questions: file of `cjepa questions`; for ALOE also one of CLEVRER.
        episodes: episode file that the questions are about; for ALOE the tokens of these episodes.
        scenes: number of test episodes, at most.
        val_scenes: number of validation episodes, on which the symbolic reader's probes are fitted, at most.
        model_name: name in the results; default: the run's folder.
        out: folder for results; default: RUN/answer.
        device: PyTorch device of the models, such as cpu or cuda; auto uses cuda if there is a GPU.
    """
    used = chosen_device(device)
    asked = read_questions(Path(questions))
    checkpoint, name, results = evaluated_run(run, model_name, out, "answer")
    protocol = SceneProtocol(episodes, scenes=scenes, val_scenes=val_scenes, horizon_blocks=1)
    started = time.time()
    with new_results_folder(results, "answer") as folder:
        answer = answer_with_aloe if is_reader(checkpoint) else answer_questions
        answers = answer(checkpoint, protocol, asked, used, ProgressBar)
        seconds = time.time() - started
        rows = write_answers(
            answers, folder, name=name, checkpoint=checkpoint, questions=asked, protocol=protocol, seconds=seconds
        )
    lines = [f"episodes: {answers.account}", f"{folder}/results.json"]
    return CommandResult(lines, as_text(answer_table(rows)), as_typed("cjepa", "report", folder))
