"""Words of a command line that no option takes: most often a list, or a path with spaces, was meant."""

import shlex
from collections.abc import Collection, Sequence

from cjepa.configuration.plain_values import finite_number

_CONFIG = ("-c", "--config")


def stray_word(rest: str, words: Sequence[str], numbers: Collection[str] = ()) -> str:
    """What is wrong with a word that was not taken, and what to type instead.

    Args:
        rest: that word and those after it which were not taken either, with spaces between them.
        words: of the command line, as they were typed.
        numbers: options that take ``1,2,3``.
    """
    for place, word in enumerate(words):
        option, *values = _before(words[:place])
        if values and f"{rest} ".startswith(f"{word} "):
            values += _values(words[place:])
            return f"{option} {' '.join(values)}: {_instead(option, values, numbers)}"
    return f"{rest}: no option takes this word; --help explains the command"


def _before(words: Sequence[str]) -> tuple[str, ...]:
    """The option and its one value that a command line ends with; without a value if it ends otherwise."""
    last = words[-1] if words else ""
    if last.startswith("--") and "=" in last:
        option, _, value = last.partition("=")
        return option, value
    if words[1:] and _is_option(words[-2]) and "=" not in words[-2] and not _is_option(last):
        return words[-2], last
    return ("",)


def _values(words: Sequence[str]) -> list[str]:
    end = next((place for place, word in enumerate(words) if _is_option(word)), len(words))
    return list(words[:end])


def _is_option(word: str) -> bool:
    return word.startswith("--") or word == "-c"


def _instead(option: str, values: Sequence[str], numbers: Collection[str]) -> str:
    if option in _CONFIG:
        return f"type {' '.join(f'{option} {shlex.quote(value)}' for value in values)}"
    if option.removeprefix("--") in numbers:
        return f"type commas between the values: {option} {','.join(value.strip(',') for value in values)}"
    if all(finite_number(value.strip(",")) is not None for value in values):
        return f"type a list in brackets: {option} '[{', '.join(value.strip(',') for value in values)}]'"
    return f"type quotes around a value with spaces: {option} {shlex.quote(' '.join(values))}"
