"""A function called with a command line: its arguments, and the fields of its dataclasses, are the options."""

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from docstring_parser import parse  # what jsonargparse reads the other arguments' help with
from jsonargparse import ActionYesNo, ArgumentParser

from cjepa.configuration.class_paths import asks_for_help, folders_of, import_choices
from cjepa.configuration.mapping_options import gathered
from cjepa.configuration.parser_messages import one_line
from cjepa.errors import UserError


def call(
    function: Callable,
    positional: Collection[str],
    words: list[str],
    prog: str,
    description: str,
    say: Callable[[str], None] | None = None,
) -> Any:
    """What a function returns for a command line.

    Args:
        function: with types and a docstring; a name that Python keeps for itself ends with an underscore.
        positional: names of arguments that are words of their own.
        words: the command line, without the program and the verb.
        prog: program and verb.
        description: for ``--help``.
        say: shows a line; of a function with an argument of this name.

    Raises:
        UserError: a constructor refuses what it is given.
        argparse.ArgumentError: the words do not fit the function.
    """
    parser = ArgumentParser(prog=prog, description=description, exit_on_error=False)
    parser.add_argument("-c", "--config", action="config", help="YAML with any of these arguments; may be repeated")
    documented = {entry.arg_name: entry.description for entry in parse(function.__doc__).params}
    parameters = inspect.signature(function).parameters
    for name in positional:
        several = {"nargs": "+"} if parameters[name].annotation == list[str] else {}
        parser.add_argument(name, type=str, help=documented[name], **several)
    shows = {"say": say} if "say" in parameters else {}  # for a command that shows lines before its end
    keywords = [name for name in parameters if name.endswith("_")]
    for name in keywords:  # an option that Python keeps for itself: `from_` is --from
        parser.add_argument(f"--{name[:-1]}", type=str, required=True, help=documented[name])
    lists = [name for name, entry in parameters.items() if entry.annotation == list[str] | None]
    for name in lists:  # --name WORD...
        parser.add_argument(f"--{name}", type=str, nargs="+", metavar="NAME", help=documented[name])
    bundles = {name: entry.annotation for name, entry in parameters.items() if is_dataclass(entry.annotation)}
    flags = dict(_flags(function, *bundles.values()))
    skipped = {*positional, *keywords, *lists, *flags, *shows, *bundles}
    parser.add_function_arguments(function, as_group=False, skip=skipped)
    for bundle in bundles.values():  # its fields are options of the command
        parser.add_class_arguments(bundle, as_group=False, skip=flags.keys() & inspect.signature(bundle).parameters)
        documented |= {entry.arg_name: entry.description for entry in parse(bundle.__doc__).params}
    for name, default in flags.items():  # --name and --no_name
        parser.add_argument(f"--{name}", action=ActionYesNo, nargs="?", default=default, help=documented[name])
    mappings = [name for name, entry in parameters.items() if str(entry.annotation).startswith("dict[")]
    if asks_for_help(words):
        signatures = [parameters, *(inspect.signature(bundle).parameters for bundle in bundles.values())]
        options = [entry.annotation for taken in signatures for name, entry in taken.items() if name not in bundles]
        import_choices(sorted(set().union(*map(folders_of, options))))
    config = parser.parse_args(_with_flag_values(gathered(words, mappings), flags))
    try:
        config = parser.instantiate(config)
    except ValueError as error:  # what a constructor refuses
        raise UserError(one_line(str(error))) from error
    arguments = {key: value for key, value in vars(config).items() if key != "config"}
    for name, bundle in bundles.items():
        arguments[name] = bundle(**{field.name: arguments.pop(field.name) for field in fields(bundle)})
    arguments = {f"{key}_" if f"{key}_" in keywords else key: value for key, value in arguments.items()}
    return function(**arguments, **shows)


def _flags(*signatures: Callable) -> Iterator[tuple[str, bool]]:
    """Options that are on or off, with their defaults."""
    for signature in signatures:
        for name, entry in inspect.signature(signature).parameters.items():
            if entry.annotation is bool:
                yield name, entry.default


def _with_flag_values(words: list[str], flags: Iterable[str]) -> list[str]:
    """``--flag`` to ``--flag=true`` unless its value follows: it would take the next word, a path perhaps, as value."""
    bare = {f"--{prefix}{flag}" for flag in flags for prefix in ("", "no_")}
    following = [*words, ""][1:]
    return [
        f"{word}=true" if word in bare and after.lower() not in ("true", "false", "yes", "no") else word
        for word, after in zip(words, following, strict=True)
    ]
