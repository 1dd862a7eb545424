"""What a planner decided in situations that a policy can learn from: "mode 2 teaches mode 1".

File letter: N lessons.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cjepa.errors import UserError
from cjepa.tensor_files import load_tensors, write_tensors

LESSONS_FILE = "lessons.pt"
"""Beside the results of `cjepa plan --policy_share`."""


class Lessons(NamedTuple):
    """Situations, and the planner's block of actions in each; in the units of tokenizer and environment."""

    tokens_NSD: Tensor
    proprio_NP: Tensor
    goal_NSD: Tensor
    actions_NA: Tensor


class StoredLessons(NamedTuple):
    """Lessons as a file holds them."""

    lessons: Lessons
    tokenizer_fingerprint: str
    """Of the tokens."""
    identities: list[int]
    """Of the episodes that starts and goals are from, see ``Episodes.identities``."""


def join_lessons(parts: Sequence[Lessons]) -> Lessons:
    """All lessons of several parts, at least one."""
    return Lessons(*(torch.cat(values) for values in zip(*parts, strict=True)))


def write_lessons(path: Path, stored: StoredLessons) -> None:
    """Write a file of lessons, all of it or nothing."""
    write_tensors(path, stored._asdict() | {"lessons": stored.lessons._asdict()})


def read_lessons(paths: Sequence[str | Path]) -> StoredLessons:
    """The lessons of several files, at least one, as of one.

    Raises:
        UserError: a file is missing or not of lessons, or they are of different tokenizers or widths.
    """
    files = [_read(Path(path)) for path in paths]
    for path, one in zip(paths[1:], files[1:], strict=True):
        for name, found, expected in zip(("tokenizer", "widths"), _kind(one), _kind(files[0]), strict=True):
            if found != expected:
                raise UserError(
                    f"{path}: its lessons are of {name} {found}, those of {paths[0]} of {expected}; give lessons of "
                    "one world model's tokens"
                )
    identities = sorted({identity for one in files for identity in one.identities})
    return StoredLessons(join_lessons([one.lessons for one in files]), files[0].tokenizer_fingerprint, identities)


def _read(path: Path) -> StoredLessons:
    if not path.is_file():
        raise UserError(f"{path}: no such file; make lessons with `cjepa plan RUN --prior POLICY --policy_share 0.5`")
    content = load_tensors(path, what="a file of lessons of `cjepa plan --policy_share`")
    try:
        return StoredLessons(**content | {"lessons": Lessons(**content["lessons"])})
    except (TypeError, KeyError):
        raise UserError(f"{path}: not a file of lessons of `cjepa plan --policy_share`") from None


def _kind(stored: StoredLessons) -> tuple[str, list[int]]:
    """What lessons must have in common."""
    return stored.tokenizer_fingerprint, [values.shape[-1] for values in stored.lessons]
