"""The command line: finds the verb, loads only what it needs, prints what comes back.

Nothing else in the package prints. Exit codes: 0 done, 1 a check failed, 2 the call is wrong, 130 interrupted.
"""

import argparse
import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import NamedTuple

from cjepa import interrupts
from cjepa.command_result import OUTCOME_FILE, CommandResult
from cjepa.errors import UserError, memory_ran_out
from cjepa.quiet import silence_lightning


class Verb(NamedTuple):
    """A command: what it does, and which of its arguments are positional."""

    help: str
    positional: tuple[str, ...] = ()


class Refusal(NamedTuple):
    """What a command that did not work ends with."""

    exit_code: int
    line: str


_LESS_MEMORY = "give smaller numbers for what is computed at once, such as num_samples of a planner or batch_size"
VERBS = {  # of one word or two; `NAME` is `NAME_command` in commands/NAME.py, `bench NAME` is in bench/NAME.py
    "collect": Verb("record episodes of a policy in an environment"),
    "inspect": Verb("show what a file or folder contains", ("path",)),
    "verify": Verb("verify checksums and completeness", ("path",)),
    "preview": Verb("draw pictures and a video of a few random episodes", ("path",)),
    "convert": Verb("convert another project's data into an episode or token file", ("src", "dst")),
    "questions": Verb("make a question file about Collide episodes, in CLEVRER's format", ("episodes",)),
    "tokenize": Verb("encode the frames of an episode file as tokens", ("run", "episodes")),
    "plan": Verb("plan held-out pairs in closed loop with a world model", ("run",)),
    "plan-baselines": Verb("baselines on the same pairs: random actions, CEM on the simulator"),
    "intervene": Verb("compare influence graphs and counterfactuals of a world model with the simulator", ("run",)),
    "answer": Verb("answer questions about held-out episodes with a world model", ("run", "questions")),
    "explore": Verb("serve a local web page: change an object, see model beside simulator", ("run",)),
    "study": Verb("run the stages of a study YAML; table of results, report", ("study",)),
    "sweep": Verb("run an experiment over values of its options and seeds; rank by validation", ("experiment",)),
    "compare": Verb("compare runs, or the models of a study: differences with intervals, curves", ("runs",)),
    "report": Verb("write or update the HTML report of a run or a study", ("folder",)),
    "export": Verb("write weights (safetensors), config and model card to share", ("run",)),
    "import-official": Verb("turn released weights of the published C-JEPA code into a model of ours", ("ckpt",)),
    "bench loader": Verb("time clips per second, compared with other readers"),
    "bench tokenize": Verb("time frames per second and memory of every tokenizer"),
    "bench planner": Verb("time one plan, compared with the published search"),
    "bench train": Verb("time training steps per second, compared with PyTorch's own layers"),
    "init": Verb("copy the experiments' YAML files into a folder, where only a wheel is installed", ("folder",)),
    "info": Verb("show versions and devices, for bug reports"),
}
_PYTHONS_ABSTRACT = re.compile(r"Can't instantiate abstract class (\w+) with(?:out an .*?for)? abstract methods? (.*)")
_ADD_METHODS = "add what its base class asks for"
RESUMABLE = ("collect", "tokenize", "plan", "plan-baselines", "study", "sweep")
LIGHTNING_VERBS = {
    "fit": "train a tokenizer or a world model",
    "validate": "compute validation metrics of a run: `cjepa validate RUN`",
    "test": "compute all metrics of a run on test episodes, with intervals: `cjepa test RUN`",
    "predict": "write predictions of a run on test episodes to predictions.pt: `cjepa predict RUN`",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command line and return the exit code."""
    # Threads that spin while they wait make two-core machines crawl as soon as anything else runs on them.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # of what Lightning calls
    argv = sys.argv[1:] if argv is None else argv
    group = next((f"{argv[0]} " for verb in VERBS if argv and verb.startswith(f"{argv[0]} ")), "")
    if argv[bool(group) :] in ([], ["-h"], ["--help"]):
        _say(_overview(group))
        return 0
    outcome_file = os.environ.pop(OUTCOME_FILE, None)
    with interrupts.passed_on():
        return _run(argv) if outcome_file is None else _run_stage(argv, outcome_file)


def _run(argv: list[str]) -> int:
    """Run a command that a user has typed."""
    try:
        done = execute(argv)
        _show(done)
    except SystemExit:  # after --help
        _reader_has_gone()
        raise
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            return 0
        refusal = _refusal(error)
        if refusal is None:
            raise
        print(f"cjepa {argv[0]}: error: {refusal.line}", file=sys.stderr)
        return refusal.exit_code
    except KeyboardInterrupt as interrupt:
        resumable = "; repeat the command to continue" if argv[0] in RESUMABLE else ""
        resumable = f"; to continue, type: {interrupt}" if str(interrupt) else resumable
        print(f"cjepa {argv[0]}: interrupted{resumable}", file=sys.stderr)
        return 130
    return int(done.failed)


def _run_stage(argv: list[str], outcome_file: str) -> int:
    """Run a stage of a study: what it would show at its end goes into a file that the study reads."""
    from cjepa.files import write_json

    code, error, trace = 0, "", ""
    try:
        done = execute(argv)
        if done.failed:
            code, error = 1, " ".join(done.lines)
    except KeyboardInterrupt:
        return 130
    except Exception as problem:
        refusal = _refusal(problem)
        if refusal is None:  # a bug: the study's user gets one line, the rest goes into a file
            refusal = Refusal(1, f"{type(problem).__name__}: {_one_line(problem)}")
            trace = traceback.format_exc()
        code, error = refusal
    write_json(outcome_file, {"error": error, "traceback": trace})
    return code


def execute(argv: list[str]) -> CommandResult:
    """Run one command line without catching errors."""
    from cjepa.configuration.class_paths import look_in_current_folder
    from cjepa.configuration.moved import current, teach_parsers

    teach_parsers()
    look_in_current_folder()
    argv = current(argv)
    _check_configs(argv)
    words = 2 if len(argv) > 1 and " ".join(argv[:2]) in VERBS else 1
    verb, rest = " ".join(argv[:words]), argv[words:]
    if verb in LIGHTNING_VERBS:
        silence_lightning()
        return _lightning(verb, rest)
    if verb not in VERBS:
        raise UserError(f"no such command {verb!r}; `cjepa --help` lists them")
    silence_lightning()
    group, _, name = verb.replace("-", "_").rpartition(" ")
    function = getattr(importlib.import_module(f"cjepa.{group or 'commands'}.{name}"), f"{name}_command")
    return _call(function, VERBS[verb], f"cjepa {verb}", rest)


def _check_configs(argv: list[str]) -> None:
    """The parsers' own messages about a file that is not YAML do not name the file."""
    from pathlib import Path

    from cjepa.configuration.yaml_files import read_yaml

    values = [after for word, after in zip(argv, argv[1:], strict=False) if word in ("-c", "--config")]
    values += [word.partition("=")[2] for word in argv if word.startswith(("-c=", "--config="))]
    for value in values:
        if len(value) < 1000 and Path(value).is_file():  # it may also be YAML itself
            read_yaml(value)


def _call(function: Callable, verb: Verb, prog: str, rest: list[str]) -> CommandResult:
    from docstring_parser import parse  # what jsonargparse reads the other arguments' help with
    from jsonargparse import ActionYesNo, ArgumentParser

    from cjepa.configuration.mapping_options import gathered
    from cjepa.configuration.parser_messages import one_line

    parser = ArgumentParser(prog=prog, description=verb.help, exit_on_error=False)
    parser.add_argument("-c", "--config", action="config", help="YAML with any of these arguments; may be repeated")
    documented = {entry.arg_name: entry.description for entry in parse(function.__doc__).params}
    parameters = inspect.signature(function).parameters
    for name in verb.positional:
        several = {"nargs": "+"} if parameters[name].annotation == list[str] else {}
        parser.add_argument(name, type=str, help=documented[name], **several)
    shows = {"say": _say} if "say" in parameters else {}  # for a command that shows lines before its end
    keywords = [name for name in parameters if name.endswith("_")]
    for name in keywords:  # an option that Python keeps for itself: `from_` is --from
        parser.add_argument(f"--{name[:-1]}", type=str, required=True, help=documented[name])
    lists = [name for name, entry in parameters.items() if entry.annotation == list[str] | None]
    for name in lists:  # --name WORD...
        parser.add_argument(f"--{name}", type=str, nargs="+", metavar="NAME", help=documented[name])
    bundles = {name: entry.annotation for name, entry in parameters.items() if is_dataclass(entry.annotation)}
    flags = dict(_flags(function, *bundles.values()))
    skipped = {*verb.positional, *keywords, *lists, *flags, *shows, *bundles}
    parser.add_function_arguments(function, as_group=False, skip=skipped)
    for bundle in bundles.values():  # its fields are options of the command
        parser.add_class_arguments(bundle, as_group=False, skip=flags.keys() & inspect.signature(bundle).parameters)
        documented |= {entry.arg_name: entry.description for entry in parse(bundle.__doc__).params}
    for name, default in flags.items():  # --name and --no_name
        parser.add_argument(f"--{name}", action=ActionYesNo, nargs="?", default=default, help=documented[name])
    mappings = [name for name, entry in parameters.items() if str(entry.annotation).startswith("dict[")]
    config = parser.parse_args(_with_flag_values(gathered(rest, mappings), flags))
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


def _lightning(verb: str, rest: list[str]) -> CommandResult:
    from cjepa.lightning_cli import CJEPACLI

    return CJEPACLI([verb, *rest]).result()


def _say(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:
        _reader_has_gone()


def _reader_has_gone() -> bool:
    """Whether the program that read our output has ended, as `head` does; what is still written then goes nowhere."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _show(done: CommandResult) -> None:
    if done.table:
        widths = [max(map(len, column)) for column in zip(*done.table, strict=True)]
        for row in done.table:
            _say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for line in done.lines:
        _say(line)
    if done.next_command:
        _say(f"next: {done.next_command}")


def _overview(group: str) -> str:
    rows = {**{name: verb.help for name, verb in VERBS.items()}, **LIGHTNING_VERBS}
    lines = [f"  {name:<16}{text}" for name, text in rows.items() if name.startswith(group)]
    return "\n".join(
        [
            "usage: cjepa COMMAND [-c FILE]... [--key value]...",
            "",
            "Object-centric world models: pixels to object tokens, latent interventions, planning.",
            "",
            *lines,
            "",
            "`cjepa COMMAND --help` explains one; start with `cjepa study experiments/studies/quickstart.yaml`.",
        ]
    )


def _refusal(error: Exception) -> Refusal | None:
    """What a user is told of an error; None for a bug."""
    if memory_ran_out(error):
        asked = re.search(r"allocate ([\d.]+ \w+)", str(error))
        when = f" when {asked[1]} more were needed" if asked else ""
        return Refusal(1, f"memory ran out{when}; {_LESS_MEMORY}")
    if isinstance(error, UserError | argparse.ArgumentError | OSError):
        return Refusal(getattr(error, "exit_code", 2), _one_line(error))
    return None


def _one_line(error: Exception) -> str:
    from cjepa.configuration.class_paths import HOW_TO_FIND
    from cjepa.configuration.parser_messages import one_line

    line = " ".join(str(error).split())
    if unknown := re.search(r"given class_path '([\w.]+)': (No module named '[\w.]+')", line):
        return f"{unknown[1]}: {unknown[2]}; {HOW_TO_FIND}"
    if isinstance(error, argparse.ArgumentError):
        line = one_line(str(error))
    abstract = re.search(r"but ([\w.]+)\.(\w+) is abstract", line)  # jsonargparse does not say which methods it lacks
    if abstract:
        missing = getattr(importlib.import_module(abstract[1]), abstract[2]).__abstractmethods__
        return f"{line}: it lacks {', '.join(sorted(missing))}; {_ADD_METHODS}"
    return _PYTHONS_ABSTRACT.sub(rf"\1 is abstract: it lacks \2; {_ADD_METHODS}", line)


if __name__ == "__main__":
    sys.exit(main())
