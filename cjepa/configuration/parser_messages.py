"""What jsonargparse says of a wrong value, in one line: the whole key, what was expected, what was given.

Its own text is a tree of many lines that shows every type that was tried, and repeats all values around the wrong one.
"""

import importlib
import re
from argparse import ArgumentError
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from inspect import isclass
from typing import NamedTuple

from jsonargparse import ArgumentParser, Namespace

from cjepa.configuration.stray_words import stray_word

_KEY = re.compile(r'(?:Validation failed: )?Parser key "(.+?)":\s*(.*)', re.DOTALL)
_CLASS = re.compile(r"Problem with given class_path '(.+?)':\s*(.*)", re.DOTALL)
_CALLABLE = re.compile(r"Type .*? expects a function or a callable class: (.*)", re.DOTALL)
_UNION = "Does not validate against any of the Union"
_EXPECTED = re.compile(
    r"(?:Expected an? (?!instantiatable)|Not a valid subclass of )(.+?)(?:\. Got value: (.*)| Subclass types .*|$)"
)
_ABSTRACT = "class, but is abstract"
"""Of a class in a union: jsonargparse leaves out its name, which the given value has."""
_GIVEN_CLASS = re.compile(r"(?:.*?class_path'?[:,]? ?(?:val)?=? ?')?([\w.]+)")
_CLASS_PATH = re.compile(r"Expected a dot import path string: (.*)")
_MISSING = re.compile(r"the following arguments are required: (.*)")
_OPTION = re.compile(r"Option '(.+)' is not accepted")
_NOT_AN_OPTION = re.compile(r"unrecognized arguments: --([\w.-]+)(?:[ =].*)?")
_NO_VALUE = re.compile(r"argument (-[^\s/]+)(?:/\S+)*: expected (?:at least )?one argument")
_STRAY = re.compile(r"unrecognized arguments: (.+)")
_NO_OPTION = re.compile(r"(?:Subcommand '\w+' does not accept o|Group '(\w+)' does not accept o|O)ption '([\w.]+)'.*")
_NO_ATTRIBUTE = re.compile(r"module '([\w.]+)' has no attribute '(\w+)'")
_LIGHTNING = "lightning."
"""Options without a class are checked against the base class, which is of Lightning."""
_OTHER_COMMAND = "; is the -c file for another command? Its first lines show one that takes it"
_CLASS_KEYS = ("class_path", "init_args")
_NUMBER = re.compile(r"Not of type (\w+): (?:invalid literal .*?: )?(.*?) ?(?:does not conform.*|int\(\) argument.*)?")
_NUMBERS = {
    "PositiveInt": "an integer above 0",
    "NonNegativeInt": "an integer, 0 or more",
    "OpenUnitInterval": "a number between 0 and 1",
    "ClosedUnitInterval": "a number from 0 to 1",
}
_ARGUMENT = re.compile(r"(\w+) is (.*?), expected ")
"""What a constructor says of an argument, without where that is in the config."""
_NONE = "NoneType"
_GIVEN = "Given value: "
_PART = re.compile(r"NestedArg\(key='\w+', val='?(.*?)'?\)")
"""How jsonargparse shows what was given for a part of a value, such as --planner.class_path."""
_LONGEST = 80
"""Characters of a value."""


class _Line(NamedTuple):
    indent: int
    text: str


def one_line(message: str) -> str:
    """A message of jsonargparse in one line; other texts stay as they are, but for their line ends.

    Args:
        message: of an ``ArgumentError``, or of a ``ValueError`` when classes are made.
    """
    if not (_KEY.match(message) or message.startswith(_UNION)):
        return " ".join(message.split())
    lines = [_Line(len(line) - len(line.lstrip()), line.strip()) for line in message.splitlines() if line.strip()]
    return _explained(lines, "", "").removeprefix(": ")  # what constructors refuse comes without a key


def named(
    error: ArgumentError,
    options: Iterable[str],
    positional: Collection[str] = (),
    words: Sequence[str] = (),
    numbers: Collection[str] = (),
) -> ArgumentError:
    """An error in the words of a command line: what to type that is missing, and what was meant by a misspelt option.

    Args:
        error: of a parser.
        options: all that the parser takes, with dots.
        positional: those of them that are words without ``--``.
        words: as they were typed.
        numbers: options that take ``1,2,3``.
    """
    message = " ".join(str(error).split())
    if (match := _KEY.match(str(error))) and match[1] in numbers:
        line = f"{one_line(str(error))}; type commas between values, as in --{match[1]} 1,2"
        return ArgumentError(None, line)
    if match := _NO_VALUE.fullmatch(message):
        return ArgumentError(None, f"{match[1]}: no value; --help explains it")
    if match := _MISSING.fullmatch(message):
        names = [name.rpartition(".")[2] for name in match[1].split(", ")]
        words = [name.upper() if name in positional else f"--{name}" for name in names]
        return ArgumentError(None, f"missing: {', '.join(words)}; --help explains {'them' if words[1:] else 'it'}")
    if match := _NOT_AN_OPTION.fullmatch(message):
        return ArgumentError(None, f"--{match[1]}: no such option{meant(match[1], options, '--')}")
    if match := _STRAY.fullmatch(message):
        return ArgumentError(None, stray_word(match[1], words, numbers))
    if match := _NO_OPTION.fullmatch(message):
        key = ".".join(filter(None, match.groups()))
        options = list(options)
        known = key.partition(".")[0] in {option.partition(".")[0] for option in options}
        return ArgumentError(None, f"{key}: no such option{meant(key, options) or ('' if known else _OTHER_COMMAND)}")
    return error


def with_key(line: str, config: Namespace) -> str:
    """A constructor's line about an argument, with the whole key if one place of the config has this value."""
    if not (match := _ARGUMENT.match(line)):
        return line
    name, value = match.groups()
    keys = [key for key, given in config.items() if key.endswith(f".init_args.{name}") and str(given) == value]
    return line.replace(name, keys[0], 1) if len(keys) == 1 else line


def meant(typed: str, options: Iterable[str], dashes: str = "") -> str:
    """The option that is nearest to what was typed, or the one whose first part is; empty where none is near."""
    whole = {option.lower(): option for option in options}
    first = {option.partition(".")[0].lower(): option.partition(".")[0] for option in whole.values()}
    head, dot, _ = typed.partition(".")
    if found := get_close_matches(typed.lower(), whole, 1, 0.8):
        found = whole[found[0]]
    elif found := get_close_matches(head.lower(), first, 1, 0.8 if dot else 0.6):
        found = first[found[0]]
    return f"; did you mean {dashes}{found}?" if found and found != head else ""


def _options_of(class_path: str) -> list[str]:
    """Arguments of a class that has been imported before."""
    module, _, name = class_path.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    parser = ArgumentParser(exit_on_error=False)
    if not isclass(found):
        return []
    parser.add_class_arguments(found, fail_untyped=False)
    return list(parser.get_defaults().keys())


def _explained(lines: Sequence[_Line], key: str, owner: str) -> str:
    """The fault that the lines tell of.

    Args:
        lines: one node of the tree, or several of which the first one is not the fault.
        key: to the value that they are about, from the root.
        owner: class path of what has the value; empty at the root.
    """
    if not lines:
        return f"{key}: not valid"
    first, rest = lines[0].text.removeprefix("- "), lines[1:]
    if first.startswith("Expected a path but") and rest:  # a config file might have been meant
        return _explained(rest, key, owner)
    if match := _KEY.match(first):
        part = match[1] if not owner else f"init_args.{match[1]}"
        return _explained(_with(match[2], rest), f"{key}.{part}".lstrip("."), owner)
    if match := _CLASS.match(first):
        return _explained(_with(match[2], rest), key, match[1])
    if match := _CALLABLE.match(first):
        return _explained(_with(match[1], rest), key, owner)
    if first.startswith(_UNION):
        return _of_union(rest, key, owner)
    text = " ".join([first, *(line.text for line in rest)])
    return _fault(text, key, owner)


def _with(text: str, rest: Sequence[_Line]) -> list[_Line]:
    return [_Line(0, text), *rest] if text else list(rest)


def _of_union(lines: Sequence[_Line], key: str, owner: str) -> str:
    """The fault of the one type that was meant, as far as can be told; else all types that would do."""
    items = _errors(lines)
    if not items:
        return f"{key}: not valid"
    given = next((line.text for line in lines if line.text.startswith(_GIVEN)), "").removeprefix(_GIVEN)
    for item in items:
        if item[0].text.endswith(_ABSTRACT) and (match := _GIVEN_CLASS.match(given)):
            return f"{key}: {item[0].text.removeprefix('- ').replace(' is abstract', f' {match[1]} is abstract')}"
        if _is_specific(item[0].text.removeprefix("- ")):
            line = _explained(item, key, owner)
            return f"{line}, got {_short(given)}" if given and line.endswith(tuple(_NUMBERS.values())) else line
    names = [_expected(" ".join(line.text for line in item).removeprefix("- ")) for item in items]
    names = list(dict.fromkeys(name for name in names if name != _NONE)) or ["null"]
    return f"{key}: expected {' or '.join(names)}, got {_short(given)}"


def _errors(lines: Sequence[_Line]) -> list[list[_Line]]:
    """The lines of each error under ``Errors:``, which stand further to the right."""
    start = next((number for number, line in enumerate(lines) if line.text == "Errors:"), len(lines) - 1)
    inside = [line for line in lines[start + 1 :] if line.indent > lines[start].indent]
    items: list[list[_Line]] = []
    for line in inside:
        if line.indent == inside[0].indent:
            items.append([])
        items[-1].append(line)
    return items


def _is_specific(text: str) -> bool:
    """Whether a type was meant: its class was found, and something within it is wrong."""
    return not (_EXPECTED.match(text) or _CLASS_PATH.match(text))


def _expected(text: str) -> str:
    if _CLASS_PATH.match(text):
        return "a class path"
    match = _EXPECTED.match(text)
    return _name(match[1]) + (" (class_path and init_args)" if text.startswith("Not a valid") else "")


def _fault(text: str, key: str, owner: str) -> str:
    if match := _MISSING.fullmatch(text):
        return f"{key}: {owner} needs {match[1]}"
    if match := _OPTION.fullmatch(text):
        if not owner:
            return f"{key}: no option {match[1]}"
        if owner.startswith(_LIGHTNING):
            return f"{key}.class_path is missing; this YAML changes another: give that one first, as its head says"
        return f"{key}.init_args.{match[1]}: {owner} has no such option{meant(match[1], _options_of(owner))}"
    if match := _NOT_AN_OPTION.fullmatch(text):
        return f"{key}.{match[1]}: no such option{meant(match[1], _CLASS_KEYS)}"
    if match := _NO_ATTRIBUTE.fullmatch(text):
        return f"{key}: {text}{meant(match[2], vars(importlib.import_module(match[1])))}"
    if match := _NUMBER.fullmatch(text):
        return f"{key}: expected {_NUMBERS.get(match[1], match[1])}" + (f", got {_short(match[2])}" if match[2] else "")
    if match := _CLASS_PATH.match(text):
        return f"{key}: expected a class path, got {_short(match[1])}"
    if match := _EXPECTED.match(text):
        value = re.split(r"\. Got value: | Subclass types expect", match[2] or "")[0]
        return f"{key}: expected {_expected(text)}" + (f", got {_short(value)}" if value else "")
    return f"{key}: {text}"


def _name(kind: str) -> str:
    """A type as people say it: ``<class 'int'>`` is int, a Literal is the list of its values."""
    if match := re.fullmatch(r"typing\.Literal\[(.*)\]", kind):
        return f"one of {match[1]}"
    kind = kind.removeprefix("<class '").removesuffix("'>").rpartition(".")[2]
    return "a list in brackets" if kind in ("list", "tuple") else kind


def _short(value: str) -> str:
    value = _PART.sub(r"\1", value)
    return value if len(value) <= _LONGEST else f"{value[: _LONGEST - 3]}..."
