"""Command lines as a user types them."""

import shlex


def as_typed(*words: object) -> str:
    """The words as one line that a shell takes apart into the same words, such as paths with spaces or YAML lists."""
    return shlex.join(map(str, words))
