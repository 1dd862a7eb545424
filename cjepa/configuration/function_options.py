"""A function called with a command line: its arguments, and the fields of its dataclasses, are the options."""

import inspect
import re
from argparse import ArgumentError
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, get_args, get_origin

from docstring_parser import parse  # what jsonargparse reads the other arguments' help with
from jsonargparse import ActionYesNo, ArgumentParser

from cjepa.configuration.class_paths import asks_for_help, folders_of, import_choices
from cjepa.configuration.mapping_options import gathered
from cjepa.configuration.parser_messages import named, one_line, with_key
from cjepa.configuration.yaml_files import given_configs, read_yaml
from cjepa.errors import UserError

_UNBRACKETED = re.compile(r"(?!null$|None$|--)[^\[{\s].*")
"""``25,50,75,100``, or one number; what is wrong with another text is wrong with the list's value, not with a list."""


def call(
    function: Callable,
    positional: Collection[str],
    words: list[str],
    prog: str,
    description: str,
    say: Callable[[str], None] | None = None,
    only_options: bool = False,
) -> Any:
    """What a function returns for a command line.

    Args:
        function: with types and a docstring; a name that Python keeps for itself ends with an underscore.
        positional: names of arguments that are words of their own.
        words: the command line, without the program and the verb.
        prog: program and verb.
        description: for ``--help``.
        say: shows a line; of a function with an argument of this name.
        only_options: read the words, but do not call the function; None is returned.

    Raises:
        UserError: a constructor refuses what it is given, or a config has one value where a list is expected.
        argparse.ArgumentError: the words do not fit the function.
    """
    kinds = _kinds(function, positional)
    parser = _parser(function, kinds, prog, description)
    if asks_for_help(words):
        signatures = [kinds.parameters, *(inspect.signature(bundle).parameters for bundle in kinds.bundles.values())]
        options = [
            entry.annotation for taken in signatures for name, entry in taken.items() if name not in kinds.bundles
        ]
        import_choices(sorted(set().union(*map(folders_of, options))))
    _check_lists(words, kinds, prog)
    typed, words = words, _with_brackets(_with_flag_values(gathered(words, kinds.mappings), kinds.flags), kinds.numbers)
    try:
        config = parser.parse_args(words)
    except ArgumentError as error:
        raise named(error, parser.get_defaults().keys(), positional, typed, kinds.numbers) from error.__cause__
    if only_options:
        return None
    try:
        made = parser.instantiate(config)
    except ValueError as error:  # what a constructor refuses
        raise UserError(with_key(one_line(str(error)), config)) from error
    arguments = {key: value for key, value in vars(made).items() if key != "config"}
    for name, bundle in kinds.bundles.items():
        arguments[name] = bundle(**{field.name: arguments.pop(field.name) for field in fields(bundle)})
    arguments = {f"{key}_" if f"{key}_" in kinds.keywords else key: value for key, value in arguments.items()}
    return function(**arguments, **({"say": say} if "say" in kinds.parameters else {}))


class _Kinds(NamedTuple):
    """Arguments of a function by how they are given."""

    parameters: Mapping[str, inspect.Parameter]
    """All of them."""
    positional: Collection[str]
    keywords: list[str]
    """Those that Python keeps for itself: ``from_`` is --from."""
    lists: list[str]
    """--name WORD..."""
    mappings: list[str]
    bundles: dict[str, type]
    """Dataclasses, whose fields are options of the command."""
    flags: dict[str, bool]
    """--name and --no_name, with their defaults; also those of bundles."""
    numbers: list[str]
    """--name 1,2,3 or a list in YAML; also those of bundles."""


def _kinds(function: Callable, positional: Collection[str]) -> _Kinds:
    parameters = inspect.signature(function).parameters
    keywords = [name for name in parameters if name.endswith("_")]
    lists = [name for name, entry in parameters.items() if entry.annotation == list[str] | None]
    mappings = [name for name, entry in parameters.items() if str(entry.annotation).startswith("dict[")]
    bundles = {name: entry.annotation for name, entry in parameters.items() if is_dataclass(entry.annotation)}
    signatures = (function, *bundles.values())
    flags, numbers = dict(_flags(*signatures)), list(_number_lists(*signatures))
    return _Kinds(parameters, positional, keywords, lists, mappings, bundles, flags, numbers)


def _check_lists(words: list[str], kinds: _Kinds, prog: str) -> None:
    """Whether configs give lists for what takes several words; the parser's own message names neither file nor option.

    The YAML of a training has an ``experiment``, and so has `cjepa sweep`.
    """
    several = [*kinds.lists, *(name for name in kinds.positional if kinds.parameters[name].annotation == list[str])]
    for file in given_configs(words) if several else ():
        config = read_yaml(file)
        for name in several:
            if not isinstance(config.get(name), list | None):
                raise UserError(f"{file}: {name} is {config[name]!r}, expected a list; -c takes options of `{prog}`")


def _parser(function: Callable, kinds: _Kinds, prog: str, description: str) -> ArgumentParser:
    """With an option for every argument but ``say``, and its docstring's words as help."""
    documented = {
        entry.arg_name: entry.description
        for described in (function, *kinds.bundles.values())
        for entry in parse(described.__doc__).params
    }
    parser = ArgumentParser(prog=prog, description=description, exit_on_error=False)
    parser.add_argument("-c", "--config", action="config", help="YAML with any of these arguments; may be repeated")
    for name in kinds.positional:
        several = {"nargs": "+"} if kinds.parameters[name].annotation == list[str] else {}
        parser.add_argument(name, type=str, help=documented[name], **several)
    for name in kinds.keywords:
        parser.add_argument(f"--{name[:-1]}", type=str, required=True, help=documented[name])
    for name in kinds.lists:
        parser.add_argument(f"--{name}", type=str, nargs="+", metavar="NAME", help=documented[name])
    skipped = {*kinds.positional, *kinds.keywords, *kinds.lists, *kinds.flags, *kinds.bundles, "say"}
    parser.add_function_arguments(function, as_group=False, skip=skipped & set(kinds.parameters))
    for bundle in kinds.bundles.values():
        skipped = kinds.flags.keys() & inspect.signature(bundle).parameters
        parser.add_class_arguments(bundle, as_group=False, skip=skipped)
    for name, default in kinds.flags.items():
        parser.add_argument(f"--{name}", action=ActionYesNo, nargs="?", default=default, help=documented[name])
    return parser


def _flags(*signatures: Callable) -> Iterator[tuple[str, bool]]:
    """Options that are on or off, with their defaults."""
    for signature in signatures:
        for name, entry in inspect.signature(signature).parameters.items():
            if entry.annotation is bool:
                yield name, entry.default


def _number_lists(*signatures: Callable) -> Iterator[str]:
    """Options that take several numbers."""
    for signature in signatures:
        for name, entry in inspect.signature(signature).parameters.items():
            kinds = [entry.annotation, *get_args(entry.annotation)]
            items = [item for kind in kinds if get_origin(kind) is list for item in get_args(kind)]
            if any(inspect.isclass(item) and issubclass(item, int | float) for item in items):
                yield name


def _with_brackets(words: list[str], names: Collection[str]) -> list[str]:
    """``--name 1,2,3`` as the list that YAML takes, ``--name=[1,2,3]``."""
    options, joined = {f"--{name}" for name in names}, []
    for word in words:
        option, equals, text = word.partition("=")
        if joined and joined[-1] in options and _UNBRACKETED.fullmatch(word):
            joined[-1] += f"=[{word}]"
        elif equals and option in options and _UNBRACKETED.fullmatch(text):
            joined.append(f"{option}=[{text}]")
        else:
            joined.append(word)
    return joined


def _with_flag_values(words: list[str], flags: Iterable[str]) -> list[str]:
    """``--flag`` to ``--flag=true`` unless its value follows: it would take the next word, a path perhaps, as value."""
    bare = {f"--{prefix}{flag}" for flag in flags for prefix in ("", "no_")}
    following = [*words, ""][1:]
    return [
        f"{word}=true" if word in bare and after.lower() not in ("true", "false", "yes", "no") else word
        for word, after in zip(words, following, strict=True)
    ]
