"""Command lines as a user types them."""

import shlex
from pathlib import Path


def as_typed(*words: object) -> str:
    """The words as one line that a shell takes apart into the same words, such as paths with spaces or YAML lists."""
    return shlex.join(map(str, words))


def repeatable(*words: object) -> str:
    """:func:`as_typed` without the machine's folders: relative to the current one if possible, else the last name."""
    return as_typed(*(_without_machine(str(word)) for word in words))


def _without_machine(word: str) -> str:
    head, equals, value = word.rpartition("=")
    path = Path(value)
    if not path.is_absolute():
        return word
    short = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path.name
    return f"{head}{equals}{short}"
