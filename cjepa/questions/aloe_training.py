"""Training of ALOE on the questions about training episodes, and its answers to others."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from cjepa.arguments import above
from cjepa.checkpoints import RunKind, home_of, load_module, read_checkpoint
from cjepa.configuration.run_config import run_folder
from cjepa.data.store.origins import moved_path
from cjepa.errors import UserError
from cjepa.evaluation.held_out import in_eval_mode
from cjepa.evaluation.measurements import Measurement, OpenProgress
from cjepa.questions.aloe import Aloe, QuestionBatch
from cjepa.questions.files import Question
from cjepa.questions.question_data import QuestionTokens
from cjepa.questions.scores import Given, scores_of
from cjepa.questions.vocabulary import Vocabulary
from cjepa.world_models.episode_training import EpisodeTraining
from cjepa.world_models.normalise import Normaliser

_SAMPLE = 4_000
"""Rows on which the scale of tokens is fitted."""
_UNKNOWN = -1
READING = ("frame_stride", "world_model", "imagined_env_steps")
"""Options of the data that decide which tokens are read; answers take them from the checkpoint."""


class AloeTraining(EpisodeTraining):
    """Cross-entropy of descriptive answers, and of every option being correct.

    Args:
        reader: to train.
        shuffle_slots: whether training draws another order of the slots for every row, the same in all of its frames.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW, on matrices.
        warmup_steps: of the learning rate.
        step_seed: of the order of slots, together with rank and step.
        matrix_lr: peak learning rate of Muon, with which matrices learn; None for AdamW, as all other parameters.

    Raises:
        ValueError: a number is out of its range.
    """

    kind = RunKind(
        "a reader of questions",
        "cjepa fit -c experiments/collide/aloe.yaml",
        "cjepa answer RUN QUESTIONS --episodes TOKENS",
    )
    evaluation = "cjepa.questions.aloe_training:evaluate"

    def __init__(
        self,
        reader: Aloe,
        shuffle_slots: bool = False,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        warmup_steps: int = 100,
        step_seed: int = 0,
        matrix_lr: float | None = None,
    ):
        super().__init__(lr, weight_decay, warmup_steps, step_seed)
        if matrix_lr is not None:
            above(0, matrix_lr=matrix_lr)
        self.save_hyperparameters()
        self.reader, self.shuffle_slots, self.matrix_lr = reader, shuffle_slots, matrix_lr
        self.token_scale = Normaliser(reader.token_dim)
        self.loss_weights = {"answer": 1.0, "option": 1.0}
        self.vocabulary = Vocabulary([], [])
        self.reading: dict[str, Any] = {}
        """``READING`` of the training; the path of the world model is absolute."""
        self.run_folder = ""
        """Where the run was when it was trained, absolute; empty in checkpoints that do not say."""
        self.tokenizer_fingerprint = ""

    def forward(self, batch: QuestionBatch) -> tuple[Tensor, Tensor]:
        """See :class:`Aloe`."""
        return self.reader(self.token_scale(batch.tokens_BFSD), batch.question_BQ, batch.option_BV)

    def loss_terms(self, batch: QuestionBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """``answer`` and ``option``, each the mean over its rows; 0 if the batch has none."""
        if self.shuffle_slots:
            batch = batch._replace(tokens_BFSD=shuffled(batch.tokens_BFSD, generator))
        return self._losses(batch)

    def _losses(self, batch: QuestionBatch) -> dict[str, Tensor]:
        answers_BC, option_B = self(batch)
        known_B = ~batch.is_option_B & (batch.answer_B != _UNKNOWN)
        answer_B = torch.where(known_B, batch.answer_B, _UNKNOWN)
        of_answers = cross_entropy(answers_BC.float(), answer_B, ignore_index=_UNKNOWN, reduction="sum")
        target_B = (batch.answer_B == 1).float()
        of_options = binary_cross_entropy_with_logits(option_B.float(), target_B, reduction="none")
        return {
            "answer": of_answers / known_B.sum().clamp(min=1),
            "option": (of_options * batch.is_option_B).sum() / batch.is_option_B.sum().clamp(min=1),
        }

    def taken(self, batch: QuestionBatch) -> Tensor:
        """The index of each row's answer; of an option 1 if it is taken for correct, else 0: int64 ``(B,)``."""
        answers_BC, option_B = self(batch)
        return torch.where(batch.is_option_B, (option_B > 0).long(), answers_BC.argmax(dim=1))

    def validation_step(self, batch: QuestionBatch, batch_idx: int) -> None:
        """``val/loss``, and the share of right answers and of right options."""
        values = {"val/loss": self.total(self._losses(batch))}
        right_B = (self.taken(batch) == batch.answer_B).float()
        self.log_dict(values, batch_size=len(right_B), on_epoch=True, sync_dist=True, prog_bar=True)
        for name, chosen_B in (("answers", ~batch.is_option_B), ("options", batch.is_option_B)):
            if count := int(chosen_B.sum()):
                self.log(f"val/right_{name}", right_B[chosen_B].mean(), batch_size=count, on_epoch=True, sync_dist=True)

    def describe_objective(self) -> dict[str, Any]:
        """What is optimised, as plain values for ``run.json``."""
        return {"terms": dict(self.loss_weights), "shuffle_slots": self.shuffle_slots, "matrix_lr": self.matrix_lr}

    def on_fit_start(self) -> None:
        """Take the words of the training questions, and fit the scale of tokens, once.

        Raises:
            UserError: the data are no questions, do not fit the reader, or are not those that this checkpoint was
                trained on.
        """
        data = self.trainer.datamodule
        if not isinstance(data, QuestionTokens):
            raise UserError(
                f"AloeTraining is trained on questions, but {type(data).__name__} does not give questions; set "
                "data.class_path to cjepa.questions.question_data.QuestionTokens"
            )
        super().on_fit_start()
        if not self.vocabulary.words:
            self.vocabulary, self.tokenizer_fingerprint = data.vocabulary, data.tokenizer_fingerprint
        self.reading = {name: getattr(data, name) for name in READING}
        if (model := data.world_model) is not None and os.path.exists(model):  # zoo:NAME stays as it is
            self.reading["world_model"] = os.path.abspath(model)
        self.run_folder = str(run_folder(self.trainer).resolve())
        rows = data.training_clips()
        check_reader(self.reader, rows, self.vocabulary)
        self._check_same(data)
        if not bool(self.token_scale.fitted):
            sample = rows.__getitems__(list(range(0, len(rows), -(-len(rows) // _SAMPLE))))
            self.token_scale.fit(sample.tokens_BFSD)

    def on_validation_start(self) -> None:
        """See :meth:`_check_same`."""
        self._check_same(self.trainer.datamodule)

    def on_test_start(self) -> None:
        """See :meth:`_check_same`."""
        self._check_same(self.trainer.datamodule)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        super().on_save_checkpoint(checkpoint)
        kept = {"vocabulary": self.vocabulary._asdict(), "reading": self.reading}
        checkpoint["questions"] = kept | {"tokenizer_fingerprint": self.tokenizer_fingerprint}
        checkpoint["run_folder"] = self.run_folder

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        super().on_load_checkpoint(checkpoint)
        kept = checkpoint["questions"]
        self.vocabulary, self.reading = Vocabulary(**kept["vocabulary"]), kept["reading"]
        self.tokenizer_fingerprint = kept["tokenizer_fingerprint"]
        self.run_folder = checkpoint.get("run_folder", "")

    def _check_same(self, data: QuestionTokens) -> None:
        """Whether words have the numbers that they had in training.

        Raises:
            UserError: they have not, or tokens are of another tokenizer.
        """
        if data.vocabulary != self.vocabulary:
            raise UserError(
                f"data.init_args.questions: the training questions of {data.questions} have other words or answers "
                "than those of this checkpoint; ask it other questions with `cjepa answer`"
            )
        check_tokens(self, data)


def shuffled(tokens_BFSD: Tensor, generator: torch.Generator) -> Tensor:
    """Slots in another order in every row, which is the same in all frames of the row."""
    order_BS = torch.rand(tokens_BFSD.shape[0], tokens_BFSD.shape[2], generator=generator).argsort(dim=1)
    return tokens_BFSD.gather(2, order_BS.to(tokens_BFSD.device)[:, None, :, None].expand_as(tokens_BFSD))


def check_tokens(module: AloeTraining, data: QuestionTokens) -> None:
    """Whether tokens are those of the training's tokenizer.

    Raises:
        UserError: they are not.
    """
    if data.tokenizer_fingerprint != module.tokenizer_fingerprint:
        raise UserError(
            f"{data.path}: tokens of tokenizer {data.tokenizer_fingerprint}, but this reader was trained on those of "
            f"{module.tokenizer_fingerprint}; give tokens of the same tokenizer"
        )


def check_reader(reader: Aloe, rows: Any, vocabulary: Vocabulary) -> None:
    """Whether a reader is as large as its data.

    Raises:
        UserError: an argument has to be changed.
    """
    frames, slots, token_dim = rows.frames, *rows.tokens_NFSD.shape[2:]
    for name, found in {"frames": frames, "slots": slots, "token_dim": token_dim}.items():
        if (given := getattr(reader, name)) != found:
            raise UserError(f"model.init_args.reader.init_args.{name} is {given}, but the data have {found}; set it so")
    question_words, option_words = rows.longest
    least = {"vocabulary": len(vocabulary.words) + 1, "answers": len(vocabulary.answers)}
    least |= {"question_words": question_words, "option_words": option_words}
    for name, found in least.items():
        if (given := getattr(reader, name)) < found:
            raise UserError(
                f"model.init_args.reader.init_args.{name} is {given}, but the data need {found}; set it to {found} or "
                "more"
            )


def is_reader(checkpoint: Path) -> bool:
    """Whether a checkpoint is one of :class:`AloeTraining`."""
    return "questions" in read_checkpoint(checkpoint)


def load_reader(checkpoint: Path) -> AloeTraining:
    """A trained reader, on the CPU, frozen and in eval mode, with its world model's path as it is today.

    Raises:
        UserError: it is no reader, its weights do not fit it, or its world model is gone.
    """
    module = load_module(AloeTraining, read_checkpoint(checkpoint), checkpoint).requires_grad_(False).eval()
    if model := module.reading["world_model"]:
        try:
            module.reading["world_model"] = moved_path(model, module.run_folder, home_of(checkpoint))
        except FileNotFoundError as error:
            raise UserError(f"{checkpoint}: its world model is gone: {error}; move it back, or train again") from None
    return module


@torch.no_grad()
def answers_of(
    module: AloeTraining, data: QuestionTokens, questions: Sequence[Question], progress: OpenProgress
) -> list[Given]:
    """What a reader answers to each question.

    Args:
        module: in eval mode, on the device to use.
        data: set up, with the tokens of the scenes.
        questions: about episodes of the data.
        progress: begins the work.
    """
    rows = data.rows_of(questions, module.vocabulary)
    check_reader(module.reader, rows, module.vocabulary)
    taken: list[int] = []
    with progress("answer", len(rows), "rows") as bar:
        for first in range(0, len(rows), data.batch_size):
            batch = rows.__getitems__(list(range(first, min(first + data.batch_size, len(rows)))))
            found = module.taken(QuestionBatch(*(values.to(module.device) for values in batch))).tolist()
            taken += found
            bar.advance(len(found))
    each = iter(taken)
    return [
        tuple(bool(next(each)) for _ in question.choices) if question.choices else _answer(module, next(each))
        for question in questions
    ]


def _answer(module: AloeTraining, index: int) -> str | None:
    """None for an index that no training question has."""
    return module.vocabulary.answers[index] if index < len(module.vocabulary.answers) else None


def evaluate(
    module: AloeTraining, data: QuestionTokens, split: Literal["val", "test"], progress: OpenProgress
) -> list[Measurement]:
    """Accuracies by type of question, see :func:`~cjepa.questions.scores.scores_of`."""
    questions = data.questions_of(split)
    with in_eval_mode(module):
        given = answers_of(module, data, questions, progress)
    return scores_of(zip(questions, given, strict=True))
