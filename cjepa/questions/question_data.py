"""Questions with the tokens of their scenes, as a DataModule; the split of the token file is that of the questions.

File letters: N scenes; F frames; R rows, each a descriptive question or one option; Q and V as in :mod:`.aloe`.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from cjepa.arguments import at_least
from cjepa.data.clip_windows import as_is
from cjepa.data.splits import SPLIT_SEED
from cjepa.data.token_clips import TokenClips
from cjepa.errors import UserError
from cjepa.questions.aloe import QuestionBatch
from cjepa.questions.files import Question, check_source, read_questions
from cjepa.questions.scene_tokens import Frames, open_imagination, read_scenes
from cjepa.questions.vocabulary import Vocabulary

Split = Literal["train", "val", "test"]


class QuestionRows(Dataset):
    """Descriptive questions, and the options of all others, in the order of the questions.

    Args:
        questions: to ask.
        episodes: that they are about, sorted.
        tokens_NFSD: of these episodes: of all frames, or of the imagined ones and as many shown ones.
        frames: that one row has: the last ones for predictive questions, the first ones for all others (as SlotFormer).
        starts: row of the token file at which each episode starts.
        vocabulary: of the training questions.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        episodes: np.ndarray,
        tokens_NFSD: Tensor,
        frames: int,
        starts: np.ndarray,
        vocabulary: Vocabulary,
    ):
        self.tokens_NFSD, self.frames = tokens_NFSD, frames
        options = [(question, option) for question in questions for option in question.choices or (None,)]
        words = [vocabulary.words_of(question.text) for question, _ in options]
        self._question_RQ = _padded(words)
        self._option_RV = _padded([[] if option is None else vocabulary.words_of(option.text) for _, option in options])
        answers = [vocabulary.answer_of(asked) if one is None else int(one.correct) for asked, one in options]
        self._answer_R = torch.tensor(answers)
        self._is_option_R = torch.tensor([option is not None for _, option in options])
        self._scene_R = torch.from_numpy(np.searchsorted(episodes, [question.episode for question, _ in options]))
        first = [tokens_NFSD.shape[1] - frames if question.kind == "predictive" else 0 for question, _ in options]
        self._first_R = torch.tensor(first)
        self.starts = starts[self._scene_R.numpy()]

    @property
    def longest(self) -> tuple[int, int]:
        """Most words of a question, and of an option."""
        return self._question_RQ.shape[1], self._option_RV.shape[1]

    def __len__(self) -> int:
        return len(self._answer_R)

    def __getitems__(self, indices: list[int]) -> QuestionBatch:
        """A whole batch at once."""
        row_B = torch.as_tensor(indices)
        frame_BF = self._first_R[row_B][:, None] + torch.arange(self.frames)
        return QuestionBatch(
            self.tokens_NFSD[self._scene_R[row_B][:, None], frame_BF].float(),
            self._question_RQ[row_B],
            self._option_RV[row_B],
            self._answer_R[row_B],
            self._is_option_R[row_B],
        )


class QuestionTokens(TokenClips):
    """Questions about the episodes of a token file, for :class:`~cjepa.questions.aloe_training.AloeTraining`.

    A row of a batch is a descriptive question, or a question with one of its options. It has the shown frames of its
    scene. With a world model, predictive questions have as many frames up to the end of what the model imagines.

    Args:
        path: token file, or folder or glob of several.
        questions: file of `cjepa questions`, of CLEVRER, or of `cjepa convert`, about the same episodes.
        frame_stride: env steps from a frame to the next.
        world_model: run folder, checkpoint or zoo:NAME of the model that imagines what comes after the shown frames.
        imagined_env_steps: after the last shown frame; 0 without a world model.
        batch_size: rows per batch.
        val_rows: rows in validation, spread evenly.
        split_seed: of the split by episode; use that of the world model.
        shuffle_seed: of the order of training batches.

    Raises:
        ValueError: a number is out of its range, or one of world model and imagined env steps is given alone.
    """

    def __init__(
        self,
        path: str,
        questions: str,
        *,
        frame_stride: int = 5,
        world_model: str | None = None,
        imagined_env_steps: int = 0,
        batch_size: int = 64,
        val_rows: int = 2048,
        split_seed: int = SPLIT_SEED,
        shuffle_seed: int = 0,
    ):
        super().__init__(
            path, frame_stride=frame_stride, batch_size=batch_size, split_seed=split_seed, shuffle_seed=shuffle_seed
        )
        at_least(0, imagined_env_steps=imagined_env_steps)
        at_least(1, val_rows=val_rows)
        if imagined_env_steps if world_model is None else imagined_env_steps < frame_stride:
            raise ValueError(
                f"data.init_args.imagined_env_steps is {imagined_env_steps}; expected {frame_stride} (frame_stride) or "
                "more with a world_model, 0 without"
            )
        self.questions, self.world_model, self.imagined_env_steps = questions, world_model, imagined_env_steps
        self.val_rows = val_rows

    def setup(self, stage: str) -> None:
        """Open tokens, questions and world model.

        Raises:
            UserError: they do not fit each other.
        """
        super().setup(stage)
        self.asked = read_questions(Path(self.questions))
        check_source(self.asked, self.file)
        seen = self.asked.source.get("seen_env_steps") or int(self.file.lengths[self.file.lengths > 0].min())
        self.frames = Frames(seen, self.frame_stride, self.imagined_env_steps // self.frame_stride)
        if not len(self.frames.shown):
            raise UserError(
                f"data.init_args.frame_stride is {self.frame_stride}, but only {seen} env steps are shown; set it to "
                f"{seen} or less"
            )
        self.imagination = None if self.world_model is None else open_imagination(self.world_model, self)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Of the training questions; not needed by a reader that has learned its own.

        Raises:
            UserError: there are none.
        """
        return Vocabulary.of(self.questions_of("train"))

    def questions_of(self, split: Split) -> list[Question]:
        """Those about the episodes of a split.

        Raises:
            UserError: there are none.
        """
        return self.questions_about(self.splits[split], f"{split} episodes by split_seed {self.split_seed}")

    def questions_about(self, episodes: np.ndarray, what: str) -> list[Question]:
        """Those about some episodes.

        Args:
            episodes: their indices, int.
            what: they are, for the error.

        Raises:
            UserError: there is no question about them.
        """
        chosen = set(episodes.tolist())
        found = [question for question in self.asked.questions if question.episode in chosen]
        if not found:
            raise UserError(f"{self.questions} has no question about the {len(chosen)} {what} of {self.path}")
        return found

    def rows_of(self, questions: Sequence[Question], vocabulary: Vocabulary) -> QuestionRows:
        """Questions about episodes of the file, as a dataset."""
        episodes = np.unique([question.episode for question in questions])
        tokens_NFSD = read_scenes(self, episodes, self.frames, self.imagination)
        starts = self.file.offsets[episodes]
        return QuestionRows(questions, episodes, tokens_NFSD, len(self.frames.shown), starts, vocabulary)

    def training_clips(self) -> QuestionRows:
        """Those of the training episodes; read once."""
        if not hasattr(self, "_training"):
            self._training = self.rows_of(self.questions_of("train"), self.vocabulary)
        return self._training

    def held_out_clips(self, split: str, blocks: int | None = None) -> QuestionRows:
        """Those of a held-out split."""
        return self.rows_of(self.questions_of(split), self.vocabulary)

    def held_out_dataloader(self, split: str, blocks: int | None = None) -> DataLoader:
        """At most ``val_rows`` rows of :meth:`held_out_clips`, evenly spread, the same ones every time."""
        rows = self.held_out_clips(split)
        chosen = list(range(0, len(rows), -(-len(rows) // self.val_rows)))
        return DataLoader(rows, batch_size=self.batch_size, sampler=chosen, collate_fn=as_is)


def _padded(words: Sequence[Sequence[int]]) -> Tensor:
    """int64 ``(R, longest)``, at least one word wide, 0 behind the last word."""
    return pad_sequence([torch.tensor([*one, *[0] * (not one)]) for one in words], batch_first=True)
