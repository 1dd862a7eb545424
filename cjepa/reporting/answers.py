"""Answers to questions as files: rows with intervals, and a record."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cjepa.evaluation.interventions.laboratory import SceneProtocol
from cjepa.files import write_json
from cjepa.questions.card import Answers
from cjepa.questions.files import TYPES, QuestionFile
from cjepa.reporting.pivot import Table, pivot
from cjepa.reporting.records import evaluated_model, result_row, write_run_record
from cjepa.reporting.tables import Row

METRICS = [f"{of}_accuracy@{kind}" for kind in TYPES for of in ("question", "option")]
"""Of answers, in the order of tables."""


def write_answers(
    answers: Answers,
    folder: Path,
    *,
    name: str,
    checkpoint: Path,
    questions: QuestionFile,
    protocol: SceneProtocol,
    seconds: float,
) -> list[Row]:
    """Write ``results.json`` and ``run.json``; returns the rows.

    Args:
        answers: of all readers.
        folder: to write into.
        name: of the model.
        checkpoint: of the model.
        questions: that were asked.
        protocol: of the episodes.
        seconds: wall time of the evaluation.
    """
    common = {"tokens": answers.tokens, "token_dim": answers.token_dim, "seed": protocol.seed, "run": folder.name}
    scores = [(reader or name, found) for reader, measured in answers.scores.items() for found in measured]
    rows = [result_row(**found._asdict() | common, model=model) for model, found in scores]
    write_run_record(
        folder,
        model=evaluated_model(name, checkpoint),
        objective={},
        data={"path": protocol.episodes, "fingerprint": answers.fingerprint, "questions": str(questions.path)},
        evaluation=asdict(protocol) | answers.how | {"held_out": answers.account},
        actions={},
        uncertainty=["95 % Wilson over questions, with the design effect of episodes"],
        seconds=seconds,
    )
    write_json(folder / "results.json", rows)  # last: a folder that has it is done
    return rows


def answer_table(rows: Sequence[Row]) -> Table:
    """One row per reader, one column per type and score."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    found = {row["metric"] for row in rows}
    return pivot(rows, models, [metric for metric in METRICS if metric in found], "Questions")
