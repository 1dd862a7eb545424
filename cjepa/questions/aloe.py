"""ALOE (Ding et al., arXiv 2012.08508): one transformer over object tokens and words answers questions.

Sizes by default as in SlotFormer's version for slots (Wu et al., arXiv 2210.05861).

File letters: F frames; Q words of a question, V words of an option; E entries of the sequence; C answers; H width.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from cjepa.arguments import at_least
from cjepa.world_models.transformer import Block

_ROLES = 2
"""A word belongs to the question or to the option."""
_HEAD_DIM = 128


class QuestionBatch(NamedTuple):
    """Descriptive questions, and single options of the other ones."""

    tokens_BFSD: Tensor
    """Of the scene, in the tokenizer's units."""
    question_BQ: Tensor
    """Indices into the vocabulary, 0 where there is no word."""
    option_BV: Tensor
    """The same for the option."""
    answer_B: Tensor
    """Index of the answer, -1 for one that training did not have; of an option 1 if it is correct, else 0."""
    is_option_B: Tensor
    """bool."""


class Aloe(nn.Module):
    """The tokens of all frames, the words of a question and of one option, and a summary entry in one sequence.

    Every entry sees every other one. Every place in the sequence has its own learned embedding.

    Args:
        token_dim: D.
        slots: S.
        frames: F.
        vocabulary: number of words, absent ones included.
        answers: number of answers C to descriptive questions.
        question_words: most words of a question.
        option_words: most words of an option.
        dim: width of the transformer.
        depth: layers.
        num_heads: of the attention; divides ``dim``.
        mlp_dim: hidden width of the layers' MLPs.
        word_dim: width of a word's embedding.
        dropout: on both branches of every layer.
        joined_frames: successive frames of a slot that make one entry, which then shows how the slot moves and makes
            the sequence shorter; divides ``frames``.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        token_dim: int = 128,
        slots: int = 7,
        frames: int = 25,
        vocabulary: int = 82,
        answers: int = 22,
        question_words: int = 20,
        option_words: int = 12,
        dim: int = 144,
        depth: int = 12,
        num_heads: int = 8,
        mlp_dim: int = 512,
        word_dim: int = 14,
        dropout: float = 0.1,
        joined_frames: int = 1,
    ):
        super().__init__()
        at_least(1, token_dim=token_dim, slots=slots, frames=frames, vocabulary=vocabulary, answers=answers)
        at_least(1, question_words=question_words, option_words=option_words, word_dim=word_dim)
        at_least(1, dim=dim, depth=depth, num_heads=num_heads, mlp_dim=mlp_dim, joined_frames=joined_frames)
        if dim % num_heads:
            raise ValueError(f"num_heads is {num_heads}, which does not divide dim {dim}")
        if frames % joined_frames:
            raise ValueError(f"joined_frames is {joined_frames}, which does not divide frames {frames}")
        self.token_dim, self.slots, self.frames, self.joined_frames = token_dim, slots, frames, joined_frames
        self.vocabulary, self.answers = vocabulary, answers
        self.question_words, self.option_words = question_words, option_words
        self.embed_token = nn.Linear(joined_frames * token_dim, dim)
        self.embed_word = nn.Embedding(vocabulary, word_dim)
        self.project_word = nn.Linear(word_dim + _ROLES, dim)
        self.summary = nn.Parameter(torch.zeros(1, 1, dim))
        self.place_of_token = nn.Parameter(0.02 * torch.randn(frames // joined_frames, slots, dim))
        self.place_of_word = nn.Parameter(0.02 * torch.randn(1, question_words + option_words, dim))
        self.place_of_summary = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        self.blocks = nn.ModuleList(Block(dim, num_heads, mlp_dim, dropout) for _ in range(depth))
        self.answer_head = _head(dim, answers)
        self.option_head = _head(dim, 1)

    def forward(self, tokens_BFSD: Tensor, question_BQ: Tensor, option_BV: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of all answers ``(B, C)``, and of the option being correct ``(B,)``; one of them is meant.

        Args:
            tokens_BFSD: normalised.
            question_BQ: as in :class:`QuestionBatch`; Q is at most ``question_words``.
            option_BV: likewise, at most ``option_words``.
        """
        joined = rearrange(tokens_BFSD, "b (f joined) s d -> b f s (joined d)", joined=self.joined_frames)
        objects_BEH = (self.embed_token(joined) + self.place_of_token).flatten(1, 2)
        of_question = self._words(question_BQ, role=0, first_place=0)
        of_option = self._words(option_BV, role=1, first_place=self.question_words)
        summary_BEH = (self.summary + self.place_of_summary).expand(len(tokens_BFSD), -1, -1)
        # the summary comes last because a block can leave out all but its last entries
        sequence_BEH = torch.cat([objects_BEH, of_question, of_option, summary_BEH], dim=1)
        there_BE = torch.ones(sequence_BEH.shape[:2], dtype=torch.bool, device=sequence_BEH.device)
        words_BW = torch.cat([question_BQ, option_BV], dim=1)
        there_BE[:, objects_BEH.shape[1] : -1] = words_BW > 0
        visible_B11E = there_BE[:, None, None]
        for block in self.blocks[:-1]:
            sequence_BEH = block(sequence_BEH, visible_B11E)
        summary_BH = self.blocks[-1](sequence_BEH, visible_B11E, needed=1)[:, 0]
        return self.answer_head(summary_BH), self.option_head(summary_BH)[:, 0]

    def _words(self, index_BW: Tensor, role: int, first_place: int) -> Tensor:
        embedded = self.embed_word(index_BW)
        flags = embedded.new_zeros(_ROLES)
        flags[role] = 1.0
        flagged = torch.cat([embedded, flags.expand(*index_BW.shape, -1)], dim=-1)
        return self.project_word(flagged) + self.place_of_word[:, first_place : first_place + index_BW.shape[1]]


def _head(dim: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(dim, _HEAD_DIM), nn.ReLU(), nn.Linear(_HEAD_DIM, outputs))
